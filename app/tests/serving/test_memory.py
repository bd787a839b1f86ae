"""The memory that slo.yml limits is measured where the limit is."""

from __future__ import annotations

import os
from pathlib import Path

from skfleet.serving import memory


def test_the_units_control_group_is_read(tmp_path: Path) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/system.slice/skfleet.service\n")
    group = tmp_path / "cgroup/system.slice/skfleet.service"
    group.mkdir(parents=True)
    (group / "memory.current").write_text("123456789\n")
    assert memory.service_bytes(tmp_path / "proc", tmp_path / "cgroup") == 123456789


def test_without_a_group_of_its_own_the_processes_are_added_up() -> None:
    """The parent of this process stands for gunicorn's master: it and its children, this one too."""
    used = memory.service_bytes()
    assert used is not None
    assert used > 10_000_000
    assert os.getppid() > 0


def test_what_cannot_be_read_is_not_guessed(tmp_path: Path) -> None:
    assert memory.service_bytes(tmp_path, tmp_path) is None
