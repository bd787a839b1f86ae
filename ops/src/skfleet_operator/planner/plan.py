"""The plan: from evidence and ask to fleet, day and cost, as one document."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

from skfleet import declared
from skfleet.documents import Document
from skfleet_operator.planner import prices, queueing, sizing
from skfleet_operator.planner.day import Day, Simulation
from skfleet_operator.planner.evidence import Measured
from skfleet_operator.planner.prices import Cost, Prices
from skfleet_operator.planner.queueing import Point, Station
from skfleet_operator.planner.sizing import Ask, Size, Vm

_FAR = 2  # times the measured number of VMs, above which what they share may tell
_CLOSE = 0.15  # how near the queue should come to what was measured


class FittedStep(msgspec.Struct, frozen=True, kw_only=True):
    """A measured step beside the queue's figure. `rate`: of one VM."""

    rate: float
    p90_ms: float
    fitted_p90_ms: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The VM as it was measured, and the queue that it is planned as."""

    run: str
    vms: int
    vcpus: int
    service_ms: float  # of a vCPU for one request, as it queues
    capacity: float  # requests a second at which a VM's queue grows for ever
    spread: float
    alone_p90_ms: float  # without a queue
    cpu_ms: float  # of the VM's CPU for one request
    cpu_measured: bool
    steps: list[FittedStep]
    off: float  # mean of |fitted / measured − 1| of the steps


class Plan(Document, frozen=True, kw_only=True):
    """`plan --json`."""

    rps: float
    p90_ms: float
    survive: str
    holds: bool  # the simulated day kept the p90
    good_asked: float  # share of minutes, slo.yml's slices_target
    fleet: Size
    day: Day
    cost: Cost | None
    evidence: Evidence
    against: list[FittedStep]  # another run, which the queue was not fitted to
    doubts: list[str]


def make(
    ask: Ask,
    measured: Measured,
    repository: Path,
    seed: int = 1,
    table: Prices | None = None,
    machine_type: str = "",
    against: Measured | None = None,
) -> Plan:
    """The whole of it. Raises ConfigurationError for what cannot be, with what to do."""
    if table is not None:
        machine_type, price = prices.choose(table.vms, machine_type, "--prices")
        prices.same_vcpus(machine_type, price, measured.vcpus)
    station = queueing.fit(measured.points, measured.vcpus, measured.not_held)
    vm = Vm.of(measured, station)
    size = sizing.plan(ask, measured, vm)
    promised = declared.load(repository)
    drain_s = promised.edge.timeouts.drain_s
    day = Simulation(ask, size, vm, drain_s, seed)()
    asked = promised.slo.objectives.latency.slices_target
    seen = evidence(measured, vm)
    return Plan(
        rps=ask.rps,
        p90_ms=ask.p90_ms,
        survive=str(ask.survive),
        holds=day.good >= asked,
        good_asked=asked,
        fleet=size,
        day=day,
        cost=prices.cost(table, machine_type, day.vm_hours, day.requests) if table else None,
        evidence=seen,
        against=beside(station, against.points) if against else [],
        doubts=_doubts(measured, station, size, seen),
    )


def evidence(measured: Measured, vm: Vm) -> Evidence:
    """What the plan goes by."""
    station = vm.station
    steps = beside(station, measured.points)
    return Evidence(
        run=measured.run,
        vms=measured.vms,
        vcpus=measured.vcpus,
        service_ms=1000 * station.servers / station.capacity,
        capacity=station.capacity,
        spread=station.spread,
        alone_p90_ms=station.percentile(0.0),
        cpu_ms=1000 * vm.cpu_s,
        cpu_measured=measured.cpu_s is not None,
        steps=steps,
        off=sum(abs(s.fitted_p90_ms / s.p90_ms - 1) for s in steps) / len(steps),
    )


def beside(station: Station, points: Sequence[Point]) -> list[FittedStep]:
    """What the queue says, beside what was measured."""
    return [
        FittedStep(
            rate=point.rate,
            p90_ms=point.quantiles[90],
            fitted_p90_ms=station.percentile(point.rate),
        )
        for point in points
    ]


def _doubts(measured: Measured, station: Station, size: Size, seen: Evidence) -> list[str]:
    doubts = []
    if size.rate_a_vm >= measured.highest and math.isinf(measured.not_held):
        doubts.append(
            f"every step was held: a VM may take more than the {measured.highest:.0f}/s that were "
            "measured, and fewer VMs do. Measure with a higher RATE"
        )
    if not seen.cpu_measured:
        doubts.append(
            "the VMs' CPU was not measured: the autoscaler's target takes a VM at its capacity for one "
            "whose CPU is all busy. --cpu-ms says what a request takes, as Cloud Monitoring shows it"
        )
    elif station.capacity * seen.cpu_ms / 1000 < 0.8 * measured.vcpus:
        busy = station.capacity * seen.cpu_ms / 1000 / measured.vcpus
        doubts.append(
            f"a VM queued with {busy:.0%} of its CPU busy: it shared its cores, with a load balancer and "
            "a load generator on the same machine, say. On VMs of their own fewer may do: measure there"
        )
    if size.vms > _FAR * measured.vms:
        doubts.append(
            f"{size.vms} VMs are planned, {measured.vms} measured: what all VMs share is not in it. "
            "`python -m skfleet_loadtest capacity` over several sizes of fleet tells"
        )
    if seen.off > _CLOSE:
        doubts.append(
            f"the queue is {seen.off:.0%} off what was measured: other work on the machine, or steps "
            "too short. Measure again"
        )
    return doubts
