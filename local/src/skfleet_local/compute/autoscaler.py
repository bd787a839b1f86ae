"""Regional autoscalers: what the group's VMs use of their CPU, and the size that follows from it.

The decision is `decisions.recommend` and `decisions.scale`; here it is measured and carried out.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skfleet_local import decisions, processes
from skfleet_local.compute.model import Instance, Resources
from skfleet_local.decisions import Scaling

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
            scaling = policy(form, STABILISATION_S / self.time_scale)
            history = self._history.setdefault(form["name"], [])
            if look or not history or form.get("_limits") != [scaling.minimum, scaling.maximum]:
                form["_limits"] = [scaling.minimum, scaling.maximum]
                self._recommend(form, group["name"], scaling, now, look)
            size, why = decisions.scale(int(group["targetSize"]), now, history, scaling)
            if size != int(group["targetSize"]):
                said.append(f"{group['targetSize']} → {size}: {why}; {form['_reason']}")
                group["targetSize"] = size
        return said

    def _recommend(
        self, form: dict[str, Any], group: str, scaling: Scaling, now: float, look: bool
    ) -> None:
        if look:
            measure = self.measure or self._utilisation
            serving = [i for i in self.resources.of_group(group) if i.phase == "run"]
            form["_utilisations"] = [
                used for item in serving if (used := measure(item, now)) is not None
            ]
        size, reason = decisions.recommend(form.get("_utilisations", []), scaling)
        form["recommendedSize"], form["_reason"] = size, reason
        history = self._history[form["name"]]
        history.append((now, size))
        oldest = now - 2 * scaling.stabilisation_s
        while len(history) > 2 and history[1][0] < oldest:
            del history[0]

    def _utilisation(self, instance: Instance, now: float) -> float | None:
        """Share of the VM's CPU since the last look; None at the first."""
        ticks = sum(map(cpu_ticks, processes.of_run(self.root, instance.name)))
        before = self._ticks.get(instance.name)
        self._ticks[instance.name] = (now, ticks)
        if before is None or ticks < before[1] or now <= before[0]:
            return None
        return (ticks - before[1]) / TICKS / (now - before[0]) / VCPUS


def policy(form: dict[str, Any], stabilisation_s: float) -> Scaling:
    """The policy of an autoscaler in its published form."""
    found = form["autoscalingPolicy"]
    return Scaling(
        mode=str(found.get("mode", "ON")),
        minimum=int(found.get("minNumReplicas", 0)),
        maximum=int(found["maxNumReplicas"]),
        target=float((found.get("cpuUtilization") or {}).get("utilizationTarget", 0.6)),
        stabilisation_s=stabilisation_s,
    )


def cpu_ticks(process: processes.Process) -> int:
    """What it used so far, in TICKS a second; none once it ended."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat.rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])
