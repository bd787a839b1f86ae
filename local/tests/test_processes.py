"""Processes are found by their mark, and ended only if they are the ones that were meant."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from skfleet.polling import wait_until
from skfleet_local import processes
from skfleet_local.processes import Process

Eventually = Callable[[str, float, Callable[[], Any]], Any]


def start(run: Path, code: str, vm: str = "") -> Process:
    marks = {processes.MARK: str(run)} | ({processes.VM_MARK: vm} if vm else {})
    return processes.spawn(
        [sys.executable, "-c", code], {**os.environ, **marks}, run / "log" / "out.log"
    )


SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
# A child in a session of its own whose parent ends.
ORPHAN = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"
)


def test_the_mark_finds_what_children_left_behind(tmp_path: Path, eventually: Eventually) -> None:
    parent = start(tmp_path, ORPHAN)
    eventually("the parent ends", 10, lambda: processes.reap() or not parent.alive())
    orphans = eventually("the orphan shows", 10, lambda: processes.of_run(tmp_path))
    assert parent not in orphans
    assert processes.end(lambda: processes.of_run(tmp_path), 5) == 0
    assert processes.of_run(tmp_path) == []


def test_who_ignores_term_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    process = start(tmp_path, STUBBORN)
    ignored = 1 << 14  # SIGTERM
    status = Path(f"/proc/{process.pid}/status")
    eventually(
        "it ignores TERM",
        10,
        lambda: int(status.read_text().split("SigIgn:")[1].split()[0], 16) & ignored,
    )
    assert processes.end(lambda: [process], 0.5) == 1
    assert not process.alive()


def test_a_stopped_process_ends_too(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    os.kill(process.pid, 19)
    assert processes.end(lambda: [process], 5) == 0


def test_a_later_process_of_the_same_pid_is_left_alone(tmp_path: Path) -> None:
    process = start(tmp_path, SLEEP)
    mistaken = Process(process.pid, process.started - 1)
    assert not mistaken.alive()
    mistaken.signal(9)
    time.sleep(0.1)
    assert process.alive()
    processes.kill(lambda: [process])


def test_other_runs_and_other_vms_are_not_found(tmp_path: Path) -> None:
    one, other = tmp_path / "run", tmp_path / "run2"
    for folder in (one, other):
        folder.mkdir()
    first, second, third = start(one, SLEEP, "vm-1"), start(one, SLEEP, "vm-2"), start(other, SLEEP)
    try:
        assert set(processes.of_run(one)) == {first, second}
        assert processes.of_run(one, "vm-1") == [first]
        assert processes.of_run(other) == [third]
    finally:
        processes.kill(lambda: [first, second, third])


def test_memory_of_nothing_is_nothing() -> None:
    assert processes.pss_mib([]) == 0
    own = Process(os.getpid(), processes.started(os.getpid()) or 0)
    assert processes.pss_mib([own]) > 5


def test_a_session_has_its_share_and_one_that_it_begins_has_the_usual(tmp_path: Path) -> None:
    child = "import os, time; os.setsid(); print('there', flush=True); time.sleep(60)"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    outer = start(tmp_path, script)
    try:
        processes.share(outer.pid, processes.BEHIND)
        children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
        log = tmp_path / "log/out.log"
        wait_until(lambda: "there" in log.read_text(), 20, "the inner process")
        inner = children.read_text().split()[0]
        # Without autogroups there is nothing to share, and nothing fails.
        assert niceness(outer.pid) in (str(processes.BEHIND), "")
        assert niceness(int(inner)) in ("0", "")
        wait_until(lambda: processes.share(outer.pid, processes.USUAL), 20, "the usual share")
        assert niceness(outer.pid) in ("0", "")
        vm = {"": processes.BEHIND}
        wait_until(lambda: processes.share_out(tmp_path, vm), 20, "the shares")
        assert {niceness(outer.pid), niceness(int(inner))} <= {str(processes.BEHIND), ""}, (
            "its children's sessions too"
        )
        wait_until(lambda: processes.share(outer.pid, processes.USUAL), 20, "the usual share")
        time.sleep(0.2)
        processes.share(outer.pid, processes.AHEAD)
        assert niceness(outer.pid) in ("-10" if os.getuid() == 0 else "0", "")
    finally:
        processes.kill(lambda: processes.of_run(tmp_path))


def niceness(pid: int) -> str:
    path = Path(f"/proc/{pid}/autogroup")
    return path.read_text().split()[-1] if path.exists() else ""
