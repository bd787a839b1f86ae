"""A fleet for a load: how much a VM is given, how many VMs that makes, and the autoscaler's settings.

A VM is never given more than it was seen to hold. The autoscaler's target leaves room for what may be
lost, for what comes while a new VM boots, and for traffic that is not smooth: with `spare` VMs lost the
others still answer within the asked p90.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from skfleet.errors import ConfigurationError
from skfleet_operator.instance_group.autoscaler import LOOK_S, STABILISATION_S
from skfleet_operator.instance_group.decisions import PROVISION_S
from skfleet_operator.planner.curve import Curve
from skfleet_operator.planner.evidence import Measured
from skfleet_operator.planner.queueing import Station

MOST_VMS = 2000  # Google's limit of a regional group
MOST_ZONES = 8
# Of how far a minute's traffic strays from the curve, so many standard deviations are planned for.
_DEVIATIONS = 2.0
# Slow enough for a signal that fails for minutes, fast enough for an evening: 60 % in an hour and a half.
_SCALE_IN_PERCENT = 10


class Survive(StrEnum):
    """What may be lost at the peak without the p90 going with it."""

    ZONE = "zone"
    VM = "vm"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What the user asks for. Rates are requests a second of the whole fleet at the day's peak."""

    rps: float
    p90_ms: float
    zones: int
    survive: Survive
    boot_s: float  # from the decision to make a VM until it serves, provisioning left out
    noise: float  # standard deviation of a minute's traffic, as a share of the curve's
    curve: Curve


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The autoscaler's, by the names of terraform/modules/fleet's `autoscaling`."""

    min: int
    max: int
    cpu_target: float
    measured_boot_s: float
    cooldown_s: float
    stabilization_s: float
    scale_in_percent: int  # of the group a window at most
    scale_in_window_s: float


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """The fleet."""

    vms: int  # at the day's peak
    zones: int
    rate_a_vm: float  # the most a VM is given, when everything that may be lost is
    rate_a_vm_normally: float
    p90_ms: float  # with everything there
    p90_lost_ms: float  # with everything lost that may be
    autoscaler: Settings


@dataclass(frozen=True, slots=True)
class Vm:
    """A VM's queue and its CPU."""

    station: Station
    vcpus: int
    cpu_s: float  # a request
    idle_cores: float

    @classmethod
    def of(cls, measured: Measured, station: Station) -> Vm:
        """As it was measured; where CPU was not, a VM at its capacity has all of it busy."""
        cpu_s = measured.cpu_s or measured.vcpus / station.capacity
        return cls(station, measured.vcpus, cpu_s, measured.idle_cores)

    def utilisation(self, rate: float) -> float:
        """Share of the VM's CPU at so many requests a second."""
        return min(1.0, (self.idle_cores + rate * self.cpu_s) / self.vcpus)


def left(vms: int, zones: int, survive: Survive) -> int:
    """VMs that serve after the loss: VMs spread evenly, the fullest zone goes."""
    lost = {Survive.ZONE: -(-vms // zones), Survive.VM: 1, Survive.NOTHING: 0}
    return vms - lost[survive]


def plan(ask: Ask, measured: Measured, vm: Vm) -> Size:
    """The fleet. Raises ConfigurationError, with what to do, for what no fleet of these VMs does."""
    check(ask)
    most = rate_a_vm(ask, measured, vm)
    # left(n) ≥ kept · (n − lost) for every n, so what is planned for the minimum holds for all above.
    kept = (ask.zones - 1) / ask.zones if ask.survive is Survive.ZONE else 1.0
    lost = 0.0 if ask.survive is Survive.NOTHING else 1.0
    room = (1 + ask.curve.growth(2 * LOOK_S + PROVISION_S + ask.boot_s)) * (
        1 + _DEVIATIONS * ask.noise
    )
    at_most = most * kept / room  # a VM's rate in a fleet without end
    fewest = float(max(ask.zones, 1 + lost, ask.rps * ask.curve.lowest / at_most))
    normally = at_most * (1 - lost / fewest)
    vms = max(math.ceil(ask.rps / normally - 1e-9), math.ceil(fewest - 1e-9))
    highest = math.ceil(vms / kept)
    if highest > MOST_VMS:
        raise ConfigurationError(
            f"This load takes {vms} VMs, up to {highest} when a part is lost; a regional group has "
            f"{MOST_VMS} at most.",
            where="--rps",
            hint="Spread it over several fleets (regions), or take a larger machine type.",
        )
    after = left(vms, ask.zones, ask.survive)
    return Size(
        vms=vms,
        zones=ask.zones,
        rate_a_vm=most,
        rate_a_vm_normally=normally,
        p90_ms=vm.station.percentile(ask.rps / vms),
        p90_lost_ms=vm.station.percentile(ask.rps / after),
        autoscaler=Settings(
            min=math.ceil(fewest - 1e-9),
            max=highest,
            cpu_target=vm.utilisation(normally),
            measured_boot_s=ask.boot_s,
            cooldown_s=math.ceil(ask.boot_s * 1.25),
            stabilization_s=STABILISATION_S,
            scale_in_percent=_SCALE_IN_PERCENT,
            scale_in_window_s=STABILISATION_S,
        ),
    )


def check(ask: Ask) -> None:
    """Raises ConfigurationError for what no measurement could make right."""
    for value, where in ((ask.rps, "--rps"), (ask.p90_ms, "--p90")):
        if not 0 < value < math.inf:
            raise ConfigurationError(
                f"{value:g} is no number above 0.", where=where, hint=f"{where} 500, say."
            )
    if not 1 <= ask.zones <= MOST_ZONES:
        raise ConfigurationError(
            f"{ask.zones} zones: a region has 3 or 4.", where="--zones", hint="--zones 3"
        )
    if ask.survive is Survive.ZONE and ask.zones < 2:
        raise ConfigurationError(
            "A fleet in one zone does not survive the loss of a zone.",
            where="--zones",
            hint="--zones 2 or more, or --survive vm to plan for one VM lost.",
        )


def rate_a_vm(ask: Ask, measured: Measured, vm: Vm) -> float:
    """The most a VM may be given."""
    alone = vm.station.percentile(0.0)
    if ask.p90_ms < alone:
        raise ConfigurationError(
            f"No number of VMs gives a p90 of {ask.p90_ms:g} ms: without any queue a request takes "
            f"{alone:.1f} ms at p90.",
            where="--p90",
            hint=f"--p90 {math.ceil(alone * 1.1)} or more; or a faster model or machine, measured again.",
        )
    rate = vm.station.rate_for(ask.p90_ms, measured.highest)
    if rate < 0.01 * measured.highest:
        raise ConfigurationError(
            f"A p90 of {ask.p90_ms:g} ms leaves no room for a queue: {alone:.1f} ms is what a request "
            "takes without one.",
            where="--p90",
            hint=f"--p90 {math.ceil(alone * 1.1)} or more.",
        )
    return rate
