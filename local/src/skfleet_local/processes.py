"""Processes of a run: started with a mark, found again by it, ended for good.

A process is known by pid **and** start time, so that a reused pid is never taken for it. The mark is an
environment variable that children inherit: it finds processes that no file remembers any more.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from skfleet.polling import wait_until
from skfleet.pss import pss_bytes

MARK = "SKFLEET_LOCAL_RUN"
VM_MARK = "SKFLEET_LOCAL_VM"
_VM_IS = f"{VM_MARK}=".encode()
_POLL_S = 0.02
_LOOK_AGAIN_S = 0.5  # a look at every process of the machine costs more than one at our own
# Niceness of a session. Behind: a third of the usual weight. What stands further back hardly comes up
# beside others, and a fleet waits for its VMs.
AHEAD, USUAL, BEHIND = -10, 0, 5

# Kept so that nobody finds an abandoned child object; `alive` is what looks after them.
_children: list[subprocess.Popen[bytes]] = []


class Process(msgspec.Struct, frozen=True):
    """One process. `started`: clock ticks since the machine's boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process runs; a zombie does not."""
        return started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal to this process and never to a later one of the same pid."""
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.alive():
                signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(handle)


def started(pid: int) -> int | None:
    """Start time of a running process, in clock ticks since boot; None for none and for zombies."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The command's name may hold spaces and brackets; what follows the last bracket is regular.
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def spawn(argv: list[str], env: Mapping[str, str], log: Path) -> Process:
    """Start a process in a session of its own, output appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        child = subprocess.Popen(
            argv,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[:] = [known for known in _children if known.poll() is None]
    _children.append(child)
    # An immediate death leaves a zombie without a start time: 0 is no process's.
    return Process(child.pid, started(child.pid) or 0)


def share(pid: int, niceness: int) -> bool:
    """The share of the processor that the session of this process has: AHEAD, USUAL or BEHIND others.

    What stands for other machines would otherwise be starved by VMs that boot here: load balancers and
    load generators, and the VMs that serve. A fleet would seem to fail that only lacks a processor each.
    The kernel shares out among sessions first (sched_autogroup); a process's own priority means nothing.
    False where it may work later: a user who is not root may change one in a tenth of a second.
    """
    path = Path(f"/proc/{pid}/autogroup")
    try:
        if not path.read_text().endswith(f" {niceness}\n"):
            path.write_text(str(niceness))
    except BlockingIOError:
        return False
    except OSError:
        pass  # gone; root alone may go AHEAD; or the kernel has no such groups
    return True


def share_out(run: Path, wanted: Mapping[str, int]) -> bool:
    """The shares of VMs by name, with all sessions they have begun; False where it must be tried again."""
    found = by_vm(run)
    return all(
        share(one.pid, niceness) for vm, niceness in wanted.items() for one in found.get(vm, [])
    )


def reap() -> None:
    """Collect the exit status of children that ended."""
    _children[:] = [known for known in _children if known.poll() is None]


def of_run(run: Path, vm: str = "") -> list[Process]:
    """This user's processes that carry the mark of the run (and of the VM), ourselves excepted."""
    return [process for name, process in _marked(run) if not vm or name == vm]


def by_vm(run: Path) -> dict[str, list[Process]]:
    """The processes of all VMs of a run, in one look."""
    found: dict[str, list[Process]] = {}
    for name, process in _marked(run):
        found.setdefault(name, []).append(process)
    return found


def _marked(run: Path) -> Iterator[tuple[str, Process]]:
    """(VM or nothing, process)"""
    mark = f"{MARK}={run}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # gone, or somebody else's
            continue
        ticks = started(int(entry.name)) if mark in environ else None
        if ticks is not None:
            names = [part[len(_VM_IS) :] for part in environ if part.startswith(_VM_IS)]
            yield names[0].decode() if names else "", Process(int(entry.name), ticks)


def end(find: Callable[[], Iterable[Process]], grace_s: float) -> int:
    """TERM what `find` finds, wait, KILL what is left until nothing is; returns how many were killed.

    `find` is asked again and again: what is told to end may start something first.
    """
    deadline = time.monotonic() + grace_s
    told: set[Process] = set()
    while time.monotonic() < deadline:
        running = _running(find)
        if not running:
            return 0
        for process in running - told:
            process.signal(signal.SIGTERM)
            process.signal(signal.SIGCONT)  # a stopped process would not hear it
        told |= running
        _wait(running, min(deadline - time.monotonic(), _LOOK_AGAIN_S))
    return kill(find)


def kill(find: Callable[[], Iterable[Process]], patience_s: float = 10.0) -> int:
    """KILL what `find` finds until nothing is left; returns how many there were."""
    deadline = time.monotonic() + patience_s
    killed: set[Process] = set()
    while running := _running(find):
        if time.monotonic() > deadline:
            pids = ", ".join(str(process.pid) for process in running)
            raise TimeoutError(f"processes {pids} do not end after SIGKILL")
        for process in running:
            process.signal(signal.SIGKILL)
        killed |= running
        _wait(running, min(deadline - time.monotonic(), _LOOK_AGAIN_S))
    return len(killed)


def _running(find: Callable[[], Iterable[Process]]) -> set[Process]:
    reap()
    return {process for process in find() if process.alive()}


def _wait(processes: Iterable[Process], timeout_s: float) -> None:
    """Until they have ended, or the time is over."""

    def have_ended() -> bool:
        reap()
        return not any(process.alive() for process in processes)

    with contextlib.suppress(TimeoutError):
        wait_until(have_ended, timeout_s, "the end of processes", interval_s=_POLL_S)


def pss_mib(processes: Iterable[Process]) -> float:
    """Proportional memory of the processes, in MiB; those that ended or hide it count nothing."""
    return round(pss_bytes([process.pid for process in processes], skip_missing=True) / 2**20, 1)
