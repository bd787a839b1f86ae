"""A day of the planned fleet, minute by minute, with a zone or a VM lost at its peak.

What the group does is decided by the emulator's own code: `autoscaler.Autoscaling` is the same object with
another source of utilisations, `decisions.resize` and `decisions.heal` are the same
functions. Simulated is what they look at: traffic by the curve with seeded noise, VMs that take their
time to boot, utilisation and p90 by the measured queue.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import numpy as np

from skfleet_operator.instance_group import decisions
from skfleet_operator.instance_group.autoscaler import Autoscaling
from skfleet_operator.instance_group.decisions import PROVISION_S, Liveness, Member
from skfleet_operator.planner.curve import DAY_S
from skfleet_operator.planner.sizing import Ask, Size, Survive, Vm

TICK_S = 10.0
MINUTE_S = 60.0
LOST_S = 3600.0  # as long as what is lost stays away
GROUP = "planned"
_TICKS_A_MINUTE = round(MINUTE_S / TICK_S)


class Day(msgspec.Struct, frozen=True, kw_only=True):
    """What the day was like."""

    seed: int
    requests: float
    vm_hours: float
    most_vms: int
    fewest_vms: int  # that served
    good: float  # share of minutes whose p90 is as asked
    worst_p90_ms: float | None  # None: more came than the fleet could take
    lost: str
    lost_good: float | None  # share of good minutes while it was
    created: int
    deleted: int
    decisions: int  # changes of the target size
    seconds: float  # that the simulation took


@dataclass(slots=True, kw_only=True)
class Instance:
    """A VM of the planned fleet."""

    name: str
    zone: str
    created: float
    due: float  # when the phase ends
    phase: Literal["build", "run", "drain", "stop"] = "build"
    booted: float = 0.0
    leaves: bool = False  # the group deletes it
    attempts: int = 0  # to make it, that have failed since the last one that did not


@dataclass(slots=True)
class Resources:
    """The planned fleet as an autoscaler sees it."""

    groups: dict[str, dict[str, Any]]
    autoscalers: dict[str, dict[str, Any]]
    instances: dict[str, Instance] = field(default_factory=dict)

    def of_group(self, group: str) -> list[Instance]:
        """All of them; there is one group."""
        del group
        return list(self.instances.values())


@dataclass(slots=True)
class Simulation:
    """One day. `drain_s`: what a VM that leaves is paid for while its connections end."""

    ask: Ask
    size: Size
    vm: Vm
    drain_s: float
    seed: int = 1
    said: list[tuple[float, str]] = field(default_factory=list)  # by the autoscaler
    _resources: Resources = field(init=False)
    _scaling: Autoscaling[Instance] = field(init=False)
    _random: random.Random = field(init=False)
    _zones: tuple[str, ...] = field(init=False)
    _serving: dict[str, float] = field(default_factory=dict)  # VM → `_given` when it began
    _booting: dict[str, float] = field(default_factory=dict)  # VM → when it serves
    _moving: dict[str, Instance] = field(default_factory=dict)  # being made, draining, going
    _lost: bool = False
    _lost_zone: str = ""
    _given: float = 0.0  # requests that a VM got which served all day
    _look: tuple[float, float] = (-TICK_S, 0.0)  # the autoscaler's last: when, and `_given` then
    _look_before: tuple[float, float] = (-TICK_S, 0.0)
    _names: int = 0
    _deleted: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311 - a simulation
        self._zones = tuple(f"zone-{number + 1}" for number in range(self.size.zones))
        settings = self.size.autoscaler
        self._resources = Resources(
            groups={
                GROUP: {
                    "name": GROUP,
                    "targetSize": settings.min,
                    "distributionPolicy": {"zones": [{"zone": zone} for zone in self._zones]},
                }
            },
            autoscalers={
                GROUP: {
                    "name": GROUP,
                    "target": GROUP,
                    "autoscalingPolicy": {
                        "mode": "ON",
                        "minNumReplicas": settings.min,
                        "maxNumReplicas": settings.max,
                        "coolDownPeriodSec": settings.cooldown_s,
                        "stabilizationPeriodSec": settings.stabilization_s,
                        "scaleInControl": {
                            "maxScaledInReplicas": {"percent": settings.scale_in_percent},
                            "timeWindowSec": settings.scale_in_window_s,
                        },
                        "cpuUtilization": {"utilizationTarget": settings.cpu_target},
                    },
                }
            },
        )
        self._scaling = Autoscaling(self._resources, 1.0, self._utilisations)

    def __call__(self) -> Day:
        """The whole of it; the same for the same seed."""
        began = time.perf_counter()
        group = self._resources.groups[GROUP]
        group["targetSize"] = self._begin_with()
        self._resize(0.0)
        for item in list(self._moving.values()):  # the day begins with a fleet that serves
            item.phase, item.booted = "run", -DAY_S
            self._serving[item.name] = 0.0
        self._moving.clear()
        requests = vm_seconds = 0.0
        most = fewest = len(self._serving)
        minutes: list[tuple[float, float]] = []  # time, and the most that a VM got
        worst = 0.0
        for tick in range(round(DAY_S / TICK_S)):
            now = tick * TICK_S
            if tick % _TICKS_A_MINUTE == 0:
                noise = math.exp(self._random.gauss(0, self.ask.noise)) if self.ask.noise else 1.0
            self._lose_or_find(self._is_gone(now), now)
            self._move(now)
            rate = self.ask.rps * self.ask.curve(now) * noise
            serving = len(self._serving)
            of_a_vm = rate / serving if serving else math.inf
            self._given += of_a_vm * TICK_S if serving else 0.0
            requests += rate * TICK_S
            absent = sum(item.phase in ("build", "stop") for item in self._moving.values())
            vm_seconds += TICK_S * (len(self._resources.instances) - absent)
            most, fewest = max(most, serving), min(fewest, serving)
            worst = max(worst, of_a_vm)
            if tick % _TICKS_A_MINUTE == _TICKS_A_MINUTE - 1:
                minutes.append((now, worst))
                worst = 0.0
            self.said += [(now, why) for why in self._scaling.step(now)]
            self._resize(now)
        return self._day(began, requests, vm_seconds, most, fewest, minutes)

    def _day(
        self,
        began: float,
        requests: float,
        vm_seconds: float,
        most: int,
        fewest: int,
        minutes: Sequence[tuple[float, float]],
    ) -> Day:
        rates = np.array([rate for _, rate in minutes])
        p90s = self.vm.station.percentiles(rates, np.full(len(rates), 90.0))
        good = [bool(ms <= self.ask.p90_ms) for ms in p90s]
        meanwhile = [well for (at, _), well in zip(minutes, good, strict=True) if self._is_gone(at)]
        worst = float(p90s.max())
        nothing = self.ask.survive is Survive.NOTHING
        return Day(
            seed=self.seed,
            requests=requests,
            vm_hours=vm_seconds / 3600,
            most_vms=most,
            fewest_vms=fewest,
            good=sum(good) / len(good),
            worst_p90_ms=worst if math.isfinite(worst) else None,
            lost=str(self.ask.survive),
            lost_good=None if nothing else sum(meanwhile) / len(meanwhile),
            created=self._names,
            deleted=self._deleted,
            decisions=len(self.said),
            seconds=time.perf_counter() - began,
        )

    def _is_gone(self, at: float) -> bool:
        """For an hour around the peak, which is the worst moment there is."""
        return 0 <= (at - self.ask.curve.peak_s + LOST_S / 2) % DAY_S < LOST_S

    def _begin_with(self) -> int:
        wanted = math.ceil(self.ask.rps * self.ask.curve(0.0) / self.size.rate_a_vm_normally)
        return min(max(wanted, self.size.autoscaler.min), self.size.autoscaler.max)

    def _utilisations(self, instances: Sequence[Instance], now: float) -> list[float | None]:
        return [self._utilisation(instance, now) for instance in instances]

    def _utilisation(self, instance: Instance, now: float) -> float | None:
        """As the live one measures: the mean since its last look, without requests while it boots."""
        if self._look[0] != now:
            self._look_before, self._look = self._look, (now, self._given)
        at, given = self._look_before
        began = self._serving.get(instance.name, self._given)
        return self.vm.utilisation((self._given - max(given, began)) / (now - at))

    def _lose_or_find(self, gone: bool, now: float) -> None:
        if self.ask.survive is Survive.NOTHING or gone == self._lost:
            return
        self._lost, self._lost_zone = gone, ""
        if not gone:
            return
        instances = list(self._resources.instances.values())
        count = {zone: sum(item.zone == zone for item in instances) for zone in self._zones}
        zone = self._random.choice([z for z in self._zones if count[z] == max(count.values())])
        lost = [item for item in instances if item.zone == zone and item.phase == "run"]
        if self.ask.survive is Survive.ZONE:
            self._lost_zone = zone
        else:
            lost = [item for item in lost if item.name in self._serving][:1]
        for item in lost:
            self._serving.pop(item.name, None)
            self._booting.pop(item.name, None)
            if decisions.heal(False, Liveness(was_healthy=True), now - item.booted, None):
                item.phase, item.attempts = "build", 0
                item.due = now + PROVISION_S
                self._moving[item.name] = item

    def _move(self, now: float) -> None:
        """VMs that are due boot, serve, or go."""
        for name in [name for name, ready in self._booting.items() if ready <= now]:
            del self._booting[name]
            self._serving[name] = self._given
        for item in list(self._moving.values()):
            if now < item.due:
                continue
            if item.phase == "build" and item.zone == self._lost_zone:
                # As a stockout: the group tries again, later and later.
                item.attempts += 1
                item.due = now + decisions.retry_after(item.attempts)
            elif item.phase == "build":
                item.phase, item.booted = "run", now
                self._booting[item.name] = now + self.ask.boot_s
                del self._moving[item.name]
            else:
                del self._moving[item.name], self._resources.instances[item.name]
                self._deleted += 1

    def _resize(self, now: float) -> None:
        target = int(self._resources.groups[GROUP]["targetSize"])
        staying = [i for i in self._resources.instances.values() if not i.leaves]
        if len(staying) != target:
            members = [Member(i.name, i.zone, i.created, i.name in self._serving) for i in staying]
            change = decisions.resize(target, members, self._zones)
            for zone in change.create_in:
                self._create(zone, now)
            for name in change.delete:
                self._delete(self._resources.instances[name], now)

    def _create(self, zone: str, now: float) -> None:
        self._names += 1
        name = f"vm-{self._names}"
        self._resources.instances[name] = self._moving[name] = Instance(
            name=name, zone=zone, created=now, due=now + PROVISION_S
        )

    def _delete(self, item: Instance, now: float) -> None:
        self._serving.pop(item.name, None)
        self._booting.pop(item.name, None)
        drains = item.phase == "run"
        item.leaves, item.phase = True, "drain" if drains else "stop"
        item.due = now + (self.drain_s if drains else 0.0)
        self._moving[item.name] = item
