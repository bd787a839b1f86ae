"""Memory of the whole service, as slo.yml means it: its control group, or its processes where it has none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

UNIT = "skfleet.service"
_KIB = 1024


def service_bytes(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes of the unit's control group; elsewhere PSS of gunicorn's master and workers."""
    return _control_group(proc, cgroups) or _processes(proc)


def _control_group(proc: Path, cgroups: Path) -> int | None:
    try:
        for line in (proc / "self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if path.endswith("/" + UNIT) and controllers == "":
                return int((cgroups / path.lstrip("/") / "memory.current").read_text())
    except (OSError, ValueError):
        pass
    return None


def _processes(proc: Path) -> int | None:
    master = os.getppid()
    try:
        children = (proc / str(master) / "task" / str(master) / "children").read_text().split()
        return processes_bytes(proc, [master, *map(int, children)])
    except (OSError, ValueError):
        return None


def processes_bytes(proc: Path, pids: Sequence[int]) -> int:
    """Bytes of these processes, what they share counted once; raises OSError for one that is gone."""
    return sum(_pss(proc / str(pid)) for pid in pids)


def _pss(process: Path) -> int:
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KIB
    return 0
