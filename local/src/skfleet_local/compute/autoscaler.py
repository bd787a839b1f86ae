"""Regional autoscalers: what the group's VMs use of their CPU, and the size that follows from it.

The decision is `decisions.recommend` and `decisions.scale`; here it is measured and carried out.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skfleet_local import decisions, processes, schedules
from skfleet_local.compute.model import Instance, Resources
from skfleet_local.decisions import Scaling
from skfleet_local.schedules import Schedule

# Google looks at VMs' metrics every minute or so; scaled like everything else.
LOOK_S = 60.0
STABILISATION_S = 600.0
VCPUS = 2  # of the template's machine type
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Autoscaling:
    """The control loop of all autoscalers. `root`: the run directory, by which VMs' processes are found.

    `measure`: another source of a VM's utilisation, for a simulation: everything else is the same there.
    """

    root: Path
    resources: Resources
    time_scale: float
    measure: Callable[[Instance, float], float | None] | None = None
    _looked: float = float("-inf")
    _ticks: dict[str, tuple[float, int]] = field(default_factory=dict)
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
            measure = self.measure or self._utilisation(processes.by_vm(self.root))
            serving = [i for i in self.resources.of_group(group["name"]) if i.phase == "run"]
            samples = [
                (used, now - item.booted)
                for item in serving
                if (used := measure(item, now)) is not None
            ]
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

    def _utilisation(
        self, running: dict[str, list[processes.Process]]
    ) -> Callable[[Instance, float], float | None]:
        """Share of a VM's CPU since the last look; None at the first."""

        def since(instance: Instance, now: float) -> float | None:
            ticks = sum(map(cpu_ticks, running.get(instance.name, [])))
            before = self._ticks.get(instance.name)
            self._ticks[instance.name] = (now, ticks)
            if before is None or ticks < before[1] or now <= before[0]:
                return None
            return (ticks - before[1]) / TICKS / (now - before[0]) / VCPUS

        return since


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


def cpu_ticks(process: processes.Process) -> int:
    """What it used so far, in TICKS a second; none once it ended."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat.rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])
