"""`down`: no process, port or file of the run is left, whatever state it was in, and nothing else goes."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from skfleet.errors import SkfleetError
from skfleet_local import processes
from skfleet_local.processes import Process
from skfleet_local.run import Run, is_own_directory, owns, remove

GRACE_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """What there was."""

    processes: int
    killed: int
    files: bool


def down(run: Run, *, keep: bool = False) -> Ended:
    """End everything, and remove all files unless they are to be kept; nothing there is no error.

    Raises Refused for a directory that holds files and was not made for a run.
    """
    if not owns(run.root):
        # Processes may outlive a directory that somebody removed by hand.
        return Ended(*_end(run), files=_remove(run))
    with run.lock():
        return Ended(*_end(run), files=False if keep else _remove(run))


def _end(run: Run) -> tuple[int, int]:
    state = run.read_state()
    known = dict(state.processes) if state else {}

    def find() -> list[Process]:
        marked = processes.of_run(run.root)
        return [*marked, *(p for p in known.values() if p.alive() and p not in marked)]

    ended = len(find())
    # The cloud first: it would repair what the others lose.
    if cloud := known.get("cloud"):
        processes.end(lambda: [cloud], GRACE_S)
    # A VM that was still booting stands behind all others, and would end as late.
    for process in find():
        processes.share(process.pid, processes.USUAL)
    # Programs that ignore TERM, or that TERM would keep busy, are not waited for long.
    killed = processes.end(find, GRACE_S)
    return ended, killed


def _remove(run: Run) -> bool:
    """Delete the directories; True if there was one."""
    found = remove(run.root)
    if is_own_directory(run.short_directory):
        shutil.rmtree(run.short_directory)
        found = True
    return found


def kill_vm(run: Run, name: str) -> int:
    """SIGKILL everything on a VM at once, as a failing host does; returns how many processes."""
    victims = processes.of_run(run.root, name)
    if not victims:
        raise SkfleetError(
            f"No VM '{name}' runs.", where=str(run.vms), hint="`skfleet-local status` names them."
        )
    # Only these: the group may have begun with the replacement already.
    processes.kill(lambda: victims)
    return len(victims)
