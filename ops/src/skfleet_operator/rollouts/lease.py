"""The rollout lease, `fleets/<fleet>/lock.json`: one controller at a time moves a fleet.

Every write is a compare-and-swap on the object's generation, and the generation is the fence: a
controller that lost its lease finds that out before its next batch. The lease also remembers what
its holder owes the fleet (the autoscaler's settings before they were raised), so that whoever takes
over from a dead controller can give it back. It is released by an overwrite, never by a deletion.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents import Document
from skfleet.errors import LostRace, SkfleetError
from skfleet_operator.rollouts.autoscaling import Autoscaling, to_restore


class LeaseHeld(SkfleetError):
    """Another controller holds the lease, and may be alive."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """The controller that has the lease: enough to tell on its own machine that it is dead."""

    run: str  # id of the rollout
    by: str
    host: str
    boot: str  # id of that machine's boot
    pid: int
    started: int  # start time of the process, clock ticks since boot


class Lease(Document, frozen=True, kw_only=True):
    """The document. `expires_at`: Unix seconds. What is owed outlives a holder that died."""

    holder: Holder | None = None
    expires_at: float = 0.0
    owed: Autoscaling | None = None
    # Runs whose work may lie about (drained VMs, two releases), commas between them.
    left_by: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in the generation that this controller wrote or read."""

    lease: Lease
    generation: int


def uri(bucket: str, fleet: str) -> str:
    """Address of a fleet's lease."""
    return f"{bucket}/fleets/{fleet}/lock.json"


def read(store: Store, address: str) -> Held:
    """The lease as it is; a free one in generation 0 where there never was one."""
    stored = store.find(address)
    if stored is None:
        return Held(Lease(), 0)
    return Held(documents.read(Lease, stored.data, where=address), stored.generation)


def taken(found: Lease, holder: Holder, ttl_s: float, now: float, dead: bool) -> Lease:
    """The lease after `holder` takes it; raises LeaseHeld where somebody may still be at work.

    `dead`: the found holder's process is known to be gone, so that its expiry need not be awaited.
    """
    other = found.holder
    if other is not None and other.run != holder.run and not dead and now < found.expires_at:
        raise LeaseHeld(
            f"Rollout {other.run} of {other.by} on {other.host} holds the lease for another "
            f"{found.expires_at - now:.0f} s.",
            where="lock.json",
            hint="Wait for it; if its controller is dead, `ansible-playbook playbooks/unlock.yml` "
            "gives the lease back at once.",
        )
    # All of them: who takes over may die before it has mended what the one before had left.
    runs = found.left_by.split(",") if found.left_by else []
    if other is not None and other.run != holder.run:
        runs.append(other.run)
    left_by = ",".join(dict.fromkeys(runs))
    return Lease(holder=holder, expires_at=now + ttl_s, owed=found.owed, left_by=left_by)


def renewed(mine: Lease, ttl_s: float, now: float) -> Lease:
    """The lease for another `ttl_s`."""
    return msgspec.structs.replace(mine, expires_at=now + ttl_s)


def owing(mine: Lease, found: Autoscaling, raise_to: int | None = None) -> Lease:
    """The lease that owes the settings that were found; what a run changed of them, as it was before.

    `raise_to`: the minimum that this run is about to set.
    """
    owed = found if mine.owed is None else to_restore(mine.owed, found)
    if raise_to not in (None, found.minimum, *owed.raised_to):
        owed = msgspec.structs.replace(owed, raised_to=[*owed.raised_to, raise_to])
    return msgspec.structs.replace(mine, owed=owed)


def write(store: Store, address: str, lease: Lease, seen: int) -> Held:
    """Swap; raises LostRace where somebody else wrote since `seen`."""
    try:
        generation = store.swap(address, documents.write(lease), seen)
    except LostRace:
        raise LostRace(
            "Somebody else has taken the rollout lease.",
            where=address,
            hint="This controller stops here, and touches nothing more; look at playbooks/status.yml.",
        ) from None
    return Held(lease, generation)


def this_controller(run: str, by: str) -> Holder:
    """The `ansible-playbook` process above this one, as holder."""
    controller = os.getpid()
    while controller > 1 and not _is_controller(controller):
        controller = _parent(controller)
    # Its forks, one for each host, bear its name.
    while _is_controller(parent := _parent(controller)):
        controller = parent
    return Holder(
        run=run,
        by=by,
        host=socket.gethostname(),
        boot=_boot(),
        pid=controller or os.getpid(),
        started=_started(controller or os.getpid()) or 0,
    )


def is_dead(holder: Holder) -> bool:
    """Whether it is certain that this controller has ended; elsewhere it never is."""
    if holder.host != socket.gethostname():
        return False
    return holder.boot != _boot() or _started(holder.pid) != holder.started


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int) -> list[str]:
    # The second field is a name in parentheses that may hold anything.
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _parent(pid: int) -> int:
    try:
        return int(_stat(pid)[1])
    except OSError:
        return 0


def _started(pid: int) -> int | None:
    """None for a process that is gone, or that ended and waits to be reaped."""
    try:
        fields = _stat(pid)
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _is_controller(pid: int) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return any(Path(os.fsdecode(word)).name == "ansible-playbook" for word in arguments[:3])
