"""What a managed instance group decides, as pure functions of what it sees.

No clock, no I/O, no randomness: the running stand-in and any simulation call the same functions.
Sources: Google's pages on autohealing, on distributing VMs over zones and on the autoscaler's decisions, and
what its API's discovery document says of `AutoscalingPolicy`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from skfleet.documents.edge import HealthCheck

# What Google needs from the decision to create a VM to its boot.
PROVISION_S = 2.0
# A group that failed to create a VM tries again, and waits longer each time.
FIRST_RETRY_S, LONGEST_RETRY_S = 5.0, 60.0


@dataclass(frozen=True, slots=True)
class Member:
    """A VM of the group that stays in it. `created`: seconds, any epoch."""

    name: str
    zone: str
    created: float
    healthy: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What brings the group to its target size."""

    create_in: tuple[str, ...] = ()  # zones
    delete: tuple[str, ...] = ()  # names


def resize(target: int, members: Sequence[Member], zones: Sequence[str]) -> Change:
    """Create where fewest are, delete where most are: unhealthy first, then the newest."""
    count = {zone: sum(member.zone == zone for member in members) for zone in zones}
    create: list[str] = []
    while len(members) + len(create) < target:
        zone = min(zones, key=lambda name: (count[name], zones.index(name)))
        count[zone] += 1
        create.append(zone)
    staying = list(members)
    delete: list[str] = []
    while len(staying) > target:
        # A zone the group was taken out of counts as fullest.
        fullest = max(staying, key=lambda m: (m.zone not in count, count.get(m.zone, 0))).zone
        victim = min(
            (member for member in staying if member.zone == fullest),
            key=lambda m: (m.healthy, -m.created, m.name),
        )
        staying.remove(victim)
        if fullest in count:
            count[fullest] -= 1
        delete.append(victim.name)
    return Change(tuple(create), tuple(delete))


def retry_after(attempt: int) -> float:
    """Seconds (the cloud's) until a group tries again after so many failures."""
    return float(min(FIRST_RETRY_S * 2 ** max(0, attempt - 1), LONGEST_RETRY_S))


@dataclass(frozen=True, slots=True)
class Version:
    """A template of a group. `size`: VMs that it is for; None for the rest."""

    template: str
    size: int | None = None


def template(versions: Sequence[Version], others: Sequence[str]) -> str:
    """The template of a VM that is made now. `others`: templates of the group's other VMs."""
    there = Counter(others)
    for version in versions:
        if version.size is not None and there[version.template] < version.size:
            return version.template
    return next(version.template for version in versions if version.size is None)


def versions_reached(versions: Sequence[Version], templates: Sequence[str]) -> bool:
    """Whether the VMs have the templates that the group wants, in the numbers that it wants."""
    there = Counter(templates)
    sized = {version.template: version.size for version in versions if version.size is not None}
    known = {version.template for version in versions}
    return set(there) <= known and all(there[name] == size for name, size in sized.items())


@dataclass(frozen=True, slots=True)
class Liveness:
    """What autohealing's probes of one VM have shown since it booted."""

    passes: int = 0  # in a row
    failures: int = 0  # in a row
    was_healthy: bool = False
    timed_out: bool = False  # the last one

    def after(self, passed: bool, policy: HealthCheck, timed_out: bool = False) -> Liveness:
        """One more probe."""
        if not passed:
            return Liveness(0, self.failures + 1, self.was_healthy, timed_out)
        passes = self.passes + 1
        return Liveness(passes, 0, self.was_healthy or passes >= policy.healthy_threshold)

    def state(self, policy: HealthCheck) -> str:
        """Google's `detailedHealthState`."""
        if self.failures >= policy.unhealthy_threshold:
            return "TIMEOUT" if self.timed_out else "UNHEALTHY"
        return "HEALTHY" if self.was_healthy else "UNKNOWN"


def heal(init_runs: bool, liveness: Liveness, age_s: float, policy: HealthCheck | None) -> str:
    """Why this VM must be recreated, or an empty string.

    A VM that stopped is repaired whatever the policy. A VM that fails its probe is left alone during
    the initial delay, unless it has been healthy already.
    """
    if not init_runs:
        return "the VM stopped: its init process ended"
    if policy is None or liveness.failures < policy.unhealthy_threshold:
        return ""
    if not liveness.was_healthy and age_s < policy.initial_delay_s:
        return ""
    how = "no answer" if liveness.timed_out else "it fails"
    return f"{policy.path}: {how}, {liveness.failures} times in a row"


def verified(liveness: Liveness, age_s: float, policy: HealthCheck | None) -> bool:
    """Whether the group is done verifying a new VM."""
    return policy is None or liveness.was_healthy or age_s >= policy.initial_delay_s


@dataclass(frozen=True, slots=True)
class Scaling:
    """An autoscaler's policy. Times in seconds."""

    mode: str  # ON, OFF, ONLY_SCALE_OUT (or its old name ONLY_UP)
    minimum: int
    maximum: int
    target: float  # share of a VM's CPU
    stabilisation_s: float = 600.0
    cool_down_s: float = 60.0  # until a VM's use is that of a VM that serves
    # Scale-in control: so many VMs, or per cent, below the window's highest recommendation at most.
    scale_in_fixed: int | None = None
    scale_in_percent: int | None = None
    scale_in_window_s: float = 600.0

    def floor(self, highest: int) -> int:
        """The smallest size that scale-in control lets a group of this peak have."""
        if self.scale_in_fixed is not None:
            return highest - self.scale_in_fixed
        if self.scale_in_percent is not None:
            return highest - max(1, highest * self.scale_in_percent // 100)
        return 0


def counted(
    samples: Sequence[tuple[float, float]], size: int, scaling: Scaling
) -> tuple[float, ...]:
    """The utilisations to recommend by, of (utilisation, seconds since its boot) of each VM.

    VMs that are in their cool-down say nothing for a larger group, what a boot costs is no load; but as
    long as they work the group is not made smaller for it either.
    """
    ready = [used for used, age in samples if age >= scaling.cool_down_s]
    young = sum(used for used, age in samples if age < scaling.cool_down_s)
    holding = min(young, max(0.0, size * scaling.target - sum(ready)))
    return (*ready, holding) if holding > 0 else tuple(ready)


def recommend(utilisations: Sequence[float], scaling: Scaling) -> tuple[int, str]:
    """The size that brings utilisation to its target, within the limits, and why.

    `utilisations`: share of each serving VM's CPU; none is no signal, and recommends the minimum.
    """
    load = sum(utilisations)
    needed = math.ceil(load / scaling.target - 1e-9)
    size = min(max(needed, scaling.minimum), scaling.maximum)
    how = f"{load:.2f} VMs' worth of CPU at a target of {scaling.target:.0%} needs {needed}"
    if size > needed:
        return size, f"{how}, the minimum is {scaling.minimum}"
    if size < needed:
        return size, f"{how}, the maximum is {scaling.maximum}"
    return size, how


def scale(
    size: int, now: float, history: Sequence[tuple[float, int]], scaling: Scaling
) -> tuple[int, str]:
    """The target size from the recommendations so far (time, size), the last one newest, and why.

    Scaling out is at once; scaling in follows the largest recommendation of the stabilisation window,
    and only once there is a whole window of them.
    """
    if scaling.mode == "OFF" or not history:
        return size, "the autoscaler is off" if scaling.mode == "OFF" else "nothing is recommended"
    newest = history[-1][1]
    if newest > size:
        return newest, "scale out"
    if scaling.mode != "ON":
        return size, "only scaling out is allowed"
    window = [wanted for at, wanted in history if at >= now - scaling.stabilisation_s]
    if history[0][0] > now - scaling.stabilisation_s:
        return size, "the stabilisation window is not over"
    highest = max(window, default=newest)
    if highest >= size:
        return size, "the size is right"
    peak = max(wanted for at, wanted in history if at >= now - scaling.scale_in_window_s)
    lowest = min(size, scaling.floor(max(peak, highest)))
    if lowest > highest:
        return lowest, f"scale-in control: from a peak of {peak} to {lowest} for now"
    return highest, "scale in"
