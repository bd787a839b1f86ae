"""Proportional set size: memory of processes, in which what several share counts once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_KIB = 1024


def pss_bytes(
    pids: Iterable[int], *, proc: Path = Path("/proc"), skip_missing: bool = False
) -> int:
    """Bytes of these processes together.

    Raises OSError for one that is gone or another user's; with `skip_missing` it counts nothing.
    """
    total = 0
    for pid in pids:
        try:
            rollup = (proc / str(pid) / "smaps_rollup").read_text()
        except OSError:
            if not skip_missing:
                raise
            continue
        # A kernel thread and a process that is about to end have no line.
        lines = [line for line in rollup.splitlines() if line.startswith("Pss:")]
        total += sum(int(line.split()[1]) * _KIB for line in lines)
    return total
