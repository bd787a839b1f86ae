"""Memory of the whole service, as slo.yml means it: its control group, or its processes where it has none."""

from __future__ import annotations

import os
from pathlib import Path

from skfleet.pss import pss_bytes

UNIT = "skfleet.service"


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
        return pss_bytes([master, *map(int, children)], proc=proc)
    except (OSError, ValueError):
        return None
