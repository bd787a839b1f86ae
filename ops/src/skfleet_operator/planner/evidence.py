"""What a load test's steps tell of a VM: durations at each load, and CPU where it was sampled.

Read from a run's directory: `verdict.json` of PROFILE=steps, and `vm-cpu.json`, which `plan --measure`
writes beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from skfleet import documents
from skfleet.documents import Document
from skfleet.errors import ConfigurationError, DocumentError
from skfleet_operator.instance_group.autoscaler import VCPUS
from skfleet_operator.planner.queueing import Point

VERDICT, CPU = "verdict.json", "vm-cpu.json"
_HELD = 0.95  # share of a step's rate that was really offered
_RIGHT = 0.99  # share of its requests answered rightly, or the fleet gave out


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Of a verdict's step what is needed here."""

    rate: int
    held: float
    right: float
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    keeps_slo: bool
    generator_ok: bool
    start: float = 0.0
    end: float = 0.0
    quantiles_ms: dict[str, float] = {}

    def quantiles(self) -> dict[int, float]:
        """Per cent → ms."""
        known = {50: self.p50_ms, 90: self.p90_ms, 99: self.p99_ms}
        more = {int(percent): ms for percent, ms in self.quantiles_ms.items()}
        return {**more, **{p: ms for p, ms in known.items() if ms is not None}}


class StepsVerdict(Document, frozen=True, kw_only=True):
    """Of a run's verdict what is needed here."""

    run: str
    profile: str
    started_at: str = ""
    steps: list[Step] = []
    vms: int = 0


class VmCpu(Document, frozen=True, kw_only=True):
    """vm-cpu.json: what all VMs' processes had used, in CPU seconds, at Unix times."""

    vcpus: int  # of one VM
    samples: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Measured:
    """A VM as it was measured. Rates are requests a second of one VM."""

    run: str
    vms: int
    vcpus: int
    points: tuple[Point, ...]
    not_held: float  # the lowest rate that it did not hold; infinity where every step held
    cpu_s: float | None  # of the VM for one request
    idle_cores: float  # what a VM uses without requests

    @property
    def highest(self) -> float:
        """The highest rate that one VM was seen to hold, and that no run saw it miss."""
        rates = [point.rate for point in self.points]
        return max((rate for rate in rates if rate < self.not_held), default=min(rates))


def read(directory: Path, vcpus: int | None = None, cpu_ms: float | None = None) -> Measured:
    """The evidence of a run. `vcpus`, `cpu_ms` (CPU a request): where the run did not sample them.

    Raises ConfigurationError for a run that tells nothing about a VM.
    """
    verdict = _document(StepsVerdict, directory / VERDICT)
    if verdict is None:
        raise ConfigurationError(
            "There is no verdict of a load test here.",
            where=str(directory / VERDICT),
            hint="Name a directory of loadtest/results that PROFILE=steps made, or say --measure.",
        )
    if verdict.profile != "steps" or not verdict.vms:
        raise ConfigurationError(
            "Only a run by steps, with the number of its VMs, tells what a VM takes.",
            where=f"{directory / VERDICT}: {'vms' if verdict.profile == 'steps' else 'profile'}",
            hint="make loadtest PROFILE=steps VMS=<VMs behind the target>, or say --measure.",
        )
    held = [step for step in verdict.steps if _told(step)]
    for number, step in enumerate(held):
        if not step.keeps_slo:  # load above a miss proves nothing
            held, missed = held[:number], step.rate / verdict.vms
            break
    else:
        missed = math.inf
    if not held:
        raise ConfigurationError(
            "No step of this run was held, so it does not tell how fast a VM answers.",
            where=str(directory / VERDICT),
            hint="Measure again with a lower RATE.",
        )
    cpu = _document(VmCpu, directory / CPU)
    idle, per_request = _cpu(cpu, held, verdict.vms) if cpu else (0.0, None)
    return Measured(
        run=verdict.run,
        vms=verdict.vms,
        vcpus=vcpus or (cpu.vcpus if cpu else VCPUS),
        points=tuple(Point(step.held / verdict.vms, step.quantiles()) for step in held),
        not_held=missed,
        cpu_s=cpu_ms / 1000 if cpu_ms is not None else per_request,
        idle_cores=idle,
    )


def pooled(runs: Sequence[Measured]) -> Measured:
    """Several runs of one fleet as one. Raises ConfigurationError for runs of different fleets."""
    first = runs[0]
    for other in runs[1:]:
        if (other.vms, other.vcpus) != (first.vms, first.vcpus):
            raise ConfigurationError(
                f"These runs are of different fleets: {first.vms} VMs of {first.vcpus} vCPUs, "
                f"{other.vms} of {other.vcpus}.",
                where=f"{first.run}, {other.run}",
                hint="Plan by runs of one fleet, the largest one.",
            )
    sampled = [run for run in runs if run.cpu_s is not None]
    return Measured(
        run=", ".join(run.run for run in runs),
        vms=first.vms,
        vcpus=first.vcpus,
        points=tuple(point for run in runs for point in run.points),
        not_held=min(run.not_held for run in runs),
        cpu_s=sum(run.cpu_s or 0 for run in sampled) / len(sampled) if sampled else None,
        idle_cores=sum(run.idle_cores for run in sampled) / len(sampled) if sampled else 0.0,
    )


def _told(step: Step) -> bool:
    """Whether the step tells of the fleet, and not of the generator."""
    if step.p90_ms is None or not step.generator_ok:
        return False
    return step.held >= _HELD * step.rate or not step.keeps_slo


def _cpu(cpu: VmCpu, steps: Sequence[Step], vms: int) -> tuple[float, float | None]:
    """(cores of an idle VM, CPU seconds a request): the line through the steps."""
    times, used = (list(column) for column in zip(*cpu.samples, strict=True))
    rates, cores = [], []
    for step in steps:
        if step.end > step.start >= times[0] and step.end <= times[-1]:
            spent = float(np.interp(step.end, times, used) - np.interp(step.start, times, used))
            rates.append(step.held / vms)
            cores.append(spent / (step.end - step.start) / vms)
    if len(rates) < 2:
        return 0.0, None
    slope, idle = np.polyfit(rates, cores, 1)
    if idle < 0:  # noise: all of it is the requests' then
        idle, slope = 0.0, sum(cores) / sum(rates)
    return float(idle), float(slope) if slope > 0 else None


D = TypeVar("D", bound=Document)


def _document(kind: type[D], path: Path) -> D | None:
    try:
        return documents.read(kind, path.read_bytes(), str(path))
    except FileNotFoundError:
        return None
    except DocumentError as error:
        raise ConfigurationError(error.message, where=error.where, hint=error.hint) from None
