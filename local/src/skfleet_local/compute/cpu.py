"""What the VMs' processes use of their CPU."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skfleet_local import processes
from skfleet_local.compute.model import Instance
from skfleet_operator.instance_group.autoscaler import VCPUS

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class CpuMeter:
    """The utilisation of VMs between two looks. `root`: the run directory, which names their processes."""

    root: Path
    _ticks: dict[str, tuple[float, int]] = field(default_factory=dict)

    def __call__(self, instances: Sequence[Instance], now: float) -> list[float | None]:
        """Share of each VM's CPU since the last look; None at the first."""
        running = processes.by_vm(self.root)
        return [
            self._since(instance.name, running.get(instance.name, []), now)
            for instance in instances
        ]

    def _since(self, name: str, running: Sequence[processes.Process], now: float) -> float | None:
        ticks = sum(map(cpu_ticks, running))
        before = self._ticks.get(name)
        self._ticks[name] = (now, ticks)
        if before is None or ticks < before[1] or now <= before[0]:
            return None
        return (ticks - before[1]) / TICKS / (now - before[0]) / VCPUS


def cpu_ticks(process: processes.Process) -> int:
    """What it used so far, in TICKS a second; none once it ended."""
    try:
        stat = Path(f"/proc/{process.pid}/stat").read_bytes()
    except OSError:
        return 0
    fields = stat.rpartition(b")")[2].split()
    return int(fields[11]) + int(fields[12])
