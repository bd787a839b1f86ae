"""Regional autoscalers: the size that follows from what a group's VMs use of their CPU.

The decision is `decisions.recommend` and `decisions.scale`; here it is made for each
autoscaler when it is time. No clock and no I/O: the emulator's control loop and the planner's simulated
day run the same object.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from skfleet_operator.instance_group import decisions, schedules
from skfleet_operator.instance_group.decisions import Scaling
from skfleet_operator.instance_group.schedules import Schedule

# Google looks at VMs' metrics every minute or so; scaled like everything else.
LOOK_S = 60.0
STABILISATION_S = 600.0
VCPUS = 2  # of a VM, where nothing says how many


class Vm(Protocol):
    """What an autoscaler must know of a VM."""

    @property
    def phase(self) -> str:
        """`run`: it has booted."""

    @property
    def booted(self) -> float:
        """When, in the clock of `step`."""


V = TypeVar("V", bound=Vm)
VmOf = TypeVar("VmOf", bound=Vm, covariant=True)


class Resources(Protocol[VmOf]):
    """A project's groups and autoscalers, by name and in their published form."""

    groups: dict[str, dict[str, Any]]
    autoscalers: dict[str, dict[str, Any]]

    def of_group(self, group: str) -> Sequence[VmOf]:
        """The group's VMs."""


@dataclass(slots=True)
class Autoscaling(Generic[V]):
    """The control loop of all autoscalers.

    `utilisations`: the share of its CPU that each of these VMs used since the last call; None: unknown.
    """

    resources: Resources[V]
    time_scale: float
    utilisations: Callable[[Sequence[V], float], Sequence[float | None]]
    _looked: float = float("-inf")
    _history: dict[str, list[tuple[float, int]]] = field(default_factory=dict)

    def step(self, now: float) -> list[str]:
        """Look if it is time, set the groups' target sizes, and say what changed and why."""
        said = []
        look = now >= self._looked + LOOK_S / self.time_scale
        if look:
            self._looked = now
        for form in self.resources.autoscalers.values():
            group = self.resources.groups.get(str(form["target"]).rpartition("/")[2])
            if group is None:
                continue
            scaling, why_minimum = scheduled(form, self._policy(form), now)
            history = self._history.setdefault(form["name"], [])
            if look or not history or form.get("_limits") != [scaling.minimum, scaling.maximum]:
                form["_limits"] = [scaling.minimum, scaling.maximum]
                self._recommend(form, group, scaling, now, look)
                if why_minimum:
                    form["_reason"] += f" ({why_minimum})"
            size, why = decisions.scale(int(group["targetSize"]), now, history, scaling)
            if size != int(group["targetSize"]):
                said.append(f"{group['targetSize']} → {size}: {why}; {form['_reason']}")
                group["targetSize"] = size
        return said

    def _recommend(
        self,
        form: dict[str, Any],
        group: dict[str, Any],
        scaling: Scaling,
        now: float,
        look: bool,
    ) -> None:
        if look:
            serving = [vm for vm in self.resources.of_group(group["name"]) if vm.phase == "run"]
            found = zip(self.utilisations(serving, now), serving, strict=True)
            samples = [(used, now - vm.booted) for used, vm in found if used is not None]
            form["_utilisations"] = decisions.counted(samples, int(group["targetSize"]), scaling)
        size, reason = decisions.recommend(form.get("_utilisations", []), scaling)
        form["recommendedSize"], form["_reason"] = size, reason
        history = self._history[form["name"]]
        history.append((now, size))
        oldest = now - 2 * max(scaling.stabilisation_s, scaling.scale_in_window_s)
        while len(history) > 2 and history[1][0] < oldest:
            del history[0]

    def _policy(self, form: dict[str, Any]) -> Scaling:
        """In local time. The cool-down is the time of a boot, which is no shorter here."""
        found = policy(form, STABILISATION_S)
        return dataclasses.replace(
            found,
            stabilisation_s=found.stabilisation_s / self.time_scale,
            scale_in_window_s=found.scale_in_window_s / self.time_scale,
        )


def policy(form: dict[str, Any], stabilisation_s: float) -> Scaling:
    """The policy of an autoscaler in its published form. `stabilisation_s`: where it names none."""
    found = form["autoscalingPolicy"]
    control = found.get("scaleInControl") or {}
    most = control.get("maxScaledInReplicas") or {}
    return Scaling(
        mode=str(found.get("mode", "ON")),
        minimum=int(found.get("minNumReplicas", 0)),
        maximum=int(found["maxNumReplicas"]),
        target=float((found.get("cpuUtilization") or {}).get("utilizationTarget", 0.6)),
        stabilisation_s=float(found.get("stabilizationPeriodSec", stabilisation_s)),
        cool_down_s=float(found.get("coolDownPeriodSec", 60)),
        scale_in_fixed=None if "fixed" not in most else int(most["fixed"]),
        scale_in_percent=None if "percent" not in most else int(most["percent"]),
        scale_in_window_s=float(control.get("timeWindowSec", 600)),
    )


def schedules_of(form: dict[str, Any]) -> list[Schedule]:
    """The schedules of an autoscaler in its published form; ValueError for one that means nothing."""
    found = form["autoscalingPolicy"].get("scalingSchedules") or {}
    return [
        Schedule(
            name=name,
            minimum=int(one["minRequiredReplicas"]),
            cron=str(one["schedule"]),
            duration_s=float(one["durationSec"]),
            time_zone=str(one.get("timeZone") or "UTC"),
            disabled=bool(one.get("disabled", False)),
        )
        for name, one in found.items()
    ]


def scheduled(form: dict[str, Any], scaling: Scaling, now: float) -> tuple[Scaling, str]:
    """The policy with the minimum that schedules ask for now, and which one does."""
    wanted, name = schedules.minimum(schedules_of(form), now)
    if wanted <= scaling.minimum:
        return scaling, ""
    low = min(wanted, scaling.maximum)
    return dataclasses.replace(scaling, minimum=low), f"schedule '{name}' asks for {wanted}"
