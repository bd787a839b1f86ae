"""A fleet in memory: a bucket with generations, a group with its autoscaler, VMs, and a clock.

What may not happen is asserted where it would happen: a controller without the lease that changes
something, two batches out of traffic, a desired release that moves before the gates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from skfleet import documents
from skfleet.artifacts.store import Store, Stored
from skfleet.documents import sha256
from skfleet.documents.release import AppPin, ModelPin, Pin, Release
from skfleet.errors import LostRace, ObjectExists, ObjectMissing
from skfleet_operator.releases import operations
from skfleet_operator.rollouts import lease

BUCKET, FLEET = "gs://bucket", "f"
BYTES = b"what releases pin"
PIN = Pin(uri=f"{BUCKET}/pinned", generation=1, sha256=sha256(BYTES))
OTHER = Pin(uri=f"{BUCKET}/other", generation=1, sha256=sha256(BYTES))
MINIMUM, MAXIMUM = 3, 7
MARK_S = 1800.0
OPERATOR = "alice"


class MemoryStore(Store):
    """Cloud Storage as far as preconditions go."""

    def __init__(self) -> None:
        super().__init__("")
        self.objects: dict[str, Stored] = {}
        self._last = 0

    def read(self, uri: str, generation: int | None = None) -> Stored:
        found = self.objects.get(uri)
        if found is None or generation not in (None, found.generation):
            raise ObjectMissing("no such object", where=uri)
        return found

    def create(self, uri: str, data: bytes, content_type: str = "") -> int:
        there = self.objects.get(uri)
        if there is not None and there.data != data:
            raise ObjectExists("exists", where=uri)
        return there.generation if there else self._write(uri, data)

    def swap(self, uri: str, data: bytes, seen: int) -> int:
        there = self.objects.get(uri)
        if (there.generation if there else 0) != seen:
            raise LostRace("somebody else wrote", where=uri)
        return self._write(uri, data)

    def check_pin(self, pin: Pin) -> None:
        self.read(pin.uri, pin.generation)

    def list(self, prefix: str) -> Iterator[str]:
        return iter([uri for uri in self.objects if uri.startswith(prefix)])

    def _write(self, uri: str, data: bytes) -> int:
        self._last += 1
        self.objects[uri] = Stored(uri, data, self._last)
        return self._last


def release(name: str, model: Pin = PIN, **settings: Any) -> Release:
    app = AppPin(**msgspec.to_builtins(PIN), version="1", python="3.11", platform="p")
    return Release(
        id=name,
        created_at="2026-01-01T00:00:00Z",
        created_by="t",
        app=app,
        bundle=PIN,
        models=[ModelPin(name="m", manifest=model)],
        default_model="m",
        settings=settings,
    )


# `hot` is reached from `a` by a reload; `broken` cannot be activated, `bad` fails at the gate, `slow` under
# traffic.
RELEASES = (
    release("a"),
    release("b", threads=2),
    release("hot", model=OTHER),
    release("bad", threads=3),
    release("slow", threads=4),
    release("broken", threads=5),
)
FAILING = {"bad", "slow", "broken"}


Mark = tuple[str, float]  # owner, expiry


@dataclass
class Vm:
    """One VM. `boots`: the desired release that a boot under way has read, None where it is up."""

    name: str
    zone: str
    release: str = ""
    boots: str | None = None
    new: bool = False  # being created or recreated, which the group knows; a reboot it does not see
    drain: Mark | None = None
    covered: Mark | None = None  # by `drain`
    operators: Mark | None = None  # what an operator set, for the invariant
    unmarked: bool = False  # since it was drained: by a reboot, or because the mark expired


@dataclass
class Actor:
    """A controller at work: what fences it, and what it has shown."""

    run: str
    due: float  # when the task that it is in must be over
    alive: bool = True
    # Told to stop by force, or its machine slept: it learns that at its next look at the lease.
    excused: bool = False
    batch: list[str] = field(default_factory=list)
    gated: set[str] = field(default_factory=set)


class World:
    """Everything there is, and the hands that change it."""

    def __init__(self, vms: int) -> None:
        self.now = 1_000_000.0
        self.store = MemoryStore()
        for uri in (PIN.uri, OTHER.uri):
            self.store.objects[uri] = Stored(uri, BYTES, 1)
        for made in RELEASES:
            self.store.create(operations.release_uri(BUCKET, made.id), documents.write(made))
        operations.desire(self.store, BUCKET, FLEET, "a", by="t")
        self.vms: dict[str, Vm] = {}
        self.target, self.mode, self.minimum = vms, "ON", MINIMUM
        self.operators_minimum = MINIMUM
        self._named = 0
        self.actors: list[Actor] = []
        # A controller that slept, or was fenced by force, has ended the task that it was in: what no
        # lease can prevent, and what an operator looks for after `unlock` of one that was alive.
        self.stained = False
        self.grow()
        self.finish_boots()

    # What is seen

    @property
    def desired(self) -> str:
        there = operations.read_desired(self.store, BUCKET, FLEET)
        return there[0].current.release if there else ""

    def lease(self) -> lease.Lease:
        return lease.read(self.store, lease.uri(BUCKET, FLEET)).lease

    def drained_by(self, vm: Vm) -> str:
        return self.owner(vm.drain)

    def owner(self, mark: Mark | None) -> str:
        return mark[0] if mark and mark[1] > self.now else ""

    def serves(self, vm: Vm) -> bool:
        return vm.boots is None and not self.drained_by(vm)

    def look(self, name: str) -> dict[str, Any]:
        vm = self.vms.get(name)
        if vm is None or vm.boots is not None:
            return {"reachable": False, "why_not": "no route"}
        return {
            "reachable": True,
            "release": vm.release,
            "answers": True,
            "ready": True,
            "why_not": "",
            "drained_by": self.drained_by(vm),
            "drain_covers": self.owner(vm.covered) if self.drained_by(vm) else "",
            "python": "3.11",
            "platform": "p",
            "image_contracts": [1],
        }

    def info(self) -> dict[str, Any]:
        """The module mig's answer."""
        health = {vm.name: "HEALTHY" if self.serves(vm) else "UNHEALTHY" for vm in self.all()}
        return {
            "group": {"target_size": self.target, "stable": not any(vm.new for vm in self.all())},
            "instances": [
                {"name": vm.name, "action": "VERIFYING" if vm.new else "NONE"} for vm in self.all()
            ],
            "autoscaler": {"mode": self.mode, "min": self.minimum, "max": MAXIMUM},
            "backends": {"external": health, "internal": health},
        }

    def all(self) -> list[Vm]:
        return list(self.vms.values())

    # What happens by itself

    def grow(self) -> None:
        """The group makes what is missing."""
        while len(self.vms) < self.target:
            self._named += 1
            name = f"vm{self._named}"
            self.vms[name] = Vm(name, "abc"[self._named % 3], boots=self.desired, new=True)

    def boot(self, vm: Vm, *, new: bool) -> None:
        """A reboot, or a fresh disk; it reads the desired release as it begins."""
        vm.boots, vm.new, vm.unmarked = self.desired, vm.new or new, True
        vm.drain = vm.covered = vm.operators = None

    def finish_boots(self) -> None:
        for vm in self.all():
            if vm.boots is not None:
                vm.release, vm.boots, vm.new = vm.boots, None, False

    def shrink(self) -> bool:
        """The autoscaler scales in, if it may."""
        if self.mode != "ON" or self.target <= self.minimum:
            return False
        self.target -= 1
        self.vms.pop(list(self.vms)[-1])
        return True

    # What an operator does by playbooks/drain.yml, without a lease

    def operator_drains(self, vm: Vm) -> None:
        if vm.boots is None and self.drained_by(vm) in ("", OPERATOR):
            vm.drain = vm.operators = (OPERATOR, self.now + MARK_S)
            vm.covered, vm.unmarked = None, False

    def operator_undrains(self, vm: Vm) -> None:
        if vm.boots is None and self.drained_by(vm) == OPERATOR:
            vm.drain = vm.covered = vm.operators = None

    def operator_lowers_minimum(self) -> None:
        """As an operator or Terraform does it, whatever is at work; no run sets as few."""
        self.minimum = self.operators_minimum = MINIMUM - 1

    # What controllers do

    def act(self, actor: Actor) -> None:
        """Called by everything that changes the fleet."""
        assert actor.alive, "a dead controller acts"
        holder = self.lease().holder
        mine = holder is not None and holder.run == actor.run
        assert mine or actor.excused, f"{actor.run} changes the fleet without the lease"
        self.stained |= not mine

    def set_autoscaler(self, actor: Actor, mode: str | None, minimum: int | None) -> None:
        self.act(actor)
        self.mode = mode or self.mode
        self.minimum = self.minimum if minimum is None else minimum
        self.target = max(self.target, self.minimum)
        self.grow()

    def drain(self, actor: Actor, vm: Vm, owner: str, taken_from: str, *, cover: bool) -> None:
        """As playbooks/files/vm.py does it."""
        self.act(actor)
        found = self.drained_by(vm)
        own = found in (owner, *taken_from.split(","))
        if found and not own and not cover:
            raise StepFailed(f"{found} drains this VM already")
        if not actor.excused:
            out = {v.name for v in self.all() if self.drained_by(v) == actor.run} | {vm.name}
            assert out <= set(actor.batch), f"out of traffic: {sorted(out)}, batch {actor.batch}"
        if not own:
            vm.covered = vm.drain if found else None
        until = vm.covered[1] if self.owner(vm.covered) and vm.covered else 0.0
        vm.drain, vm.unmarked = (owner, max(self.now + MARK_S, until)), False

    def undrain(self, actor: Actor, vm: Vm, owners: list[str]) -> None:
        """As playbooks/files/vm.py does it."""
        self.act(actor)
        if self.drained_by(vm) in owners:
            vm.drain, vm.covered = vm.covered, None

    def activate(self, actor: Actor, vm: Vm, wanted: str, *, hot: bool) -> None:
        self.act(actor)
        assert hot or vm.unmarked or self.drained_by(vm), "a restart under traffic"
        vm.release = wanted

    def recreate(self, actor: Actor, names: list[str]) -> None:
        self.act(actor)
        for name in names:
            if name in self.vms:
                self.boot(self.vms[name], new=True)

    def check_desire(self, actor: Actor, planned: set[str]) -> None:
        """Before the desired release moves."""
        assert planned <= actor.gated, f"not gated: {sorted(planned - actor.gated)}"


class StepFailed(Exception):
    """A task of a VM's step failed."""
