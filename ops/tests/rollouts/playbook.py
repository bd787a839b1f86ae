"""playbooks/rollout.yml and unlock.yml, task by task, over a fleet in memory.

The decisions are the real ones: `skfleet_operator.rollouts` and the playbooks' own filters. What is here is
their order, as the playbooks have it; a `yield` is a place where a controller may be killed, and says how
many seconds the task before it may take at most (playbooks/group_vars/all.yml).
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from skfleet.errors import LostRace
from skfleet_operator.rollouts.controller import Controller

from .world import BUCKET, FLEET, MAXIMUM, Actor, StepFailed, Vm, World

FILTERS = Path(__file__).parents[3] / "playbooks/filter_plugins/rollout.py"
_spec = importlib.util.spec_from_file_location("rollout_filters", FILTERS)
assert _spec is not None
assert _spec.loader is not None
filters: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(filters)

TTL_S, SETTLE_S, STAGE_S, HEALTH_S, READY_S, SOAK_S = 600.0, 600.0, 60.0, 150.0, 120.0, 60.0
Tasks = Iterator[float]


def restore(world: World, actor: Actor, owed: Any) -> None:
    """tasks/restore_autoscaler.yml"""
    back = filters.autoscaling_to_restore(owed, {"mode": world.mode, "min": world.minimum})
    world.set_autoscaler(actor, back["mode"], back["minimum"])


class Rollout:
    """One run of rollout.yml."""

    def __init__(
        self, world: World, actor: Actor, directory: Path, target: str, *, override: bool = False
    ) -> None:
        self.world, self.actor, self.target = world, actor, target
        self.overrides = ["drained", "capacity"] if override else []
        self.controller = Controller(world.store, BUCKET, FLEET, directory)
        self.hostvars: dict[str, dict[str, Any]] = {}
        self.fleet: list[str] = []
        self.verdict = ""
        self.desired = False

    def tasks(self) -> Tasks:
        """All of it; ends early where the plan refuses, or there is nothing to do."""
        # tasks/begin.yml
        begun = self.controller.acquire(self.actor.run, "t", TTL_S)
        yield 1
        found = self.world.info()["autoscaler"]
        yield 2
        self.owed = self.controller.owe(self.actor.run, found["mode"], found["min"])
        yield 1
        self.world.set_autoscaler(self.actor, "ONLY_SCALE_OUT", None)
        yield 2
        yield from self._rest()
        self._hold()
        yield 1
        self._look()
        yield 5
        info = self.world.info()
        plan = self.controller.plan(
            release=self.target,
            draft=None,
            vms=filters.plan_vms(list(self.hostvars), self.hostvars, info),
            members=[instance["name"] for instance in info["instances"]],
            group={
                "target_size": info["group"]["target_size"],
                "stable": info["group"]["stable"],
                "autoscaler_mode": info["autoscaler"]["mode"],
                "minimum": info["autoscaler"]["min"],
                "maximum": info["autoscaler"]["max"],
            },
            options={
                "batches": [1, "25%", "100%"],
                "capacity": 0.6,
                "seconds": {},
                "overrides": self.overrides,
            },
            answers_may_change=True,
        )
        yield 5
        if plan["refused"] or plan["nothing_to_do"]:
            yield from self._give_back(mended=not plan["refused"])
            self.verdict = "refused" if plan["refused"] else "nothing"
            return
        self.plan = plan
        self.plan["left_by"] = begun["left_by"] or plan["left_by"]
        yield from self._roll()
        yield from self._settle()
        for _ in range(2):
            if self.desired:
                yield from self._reconcile()
        if not self.desired:
            yield from self._go_back()
        yield from self._end()

    # Parts

    @property
    def runs(self) -> list[str]:
        """The runs whose drain marks this one removes."""
        found: list[str] = filters.own_runs(self.actor.run, self.plan["left_by"])
        return found

    def _roll(self) -> Tasks:
        for batch in self.plan["batches"]:
            names = [
                name
                for name in batch["vms"]
                if filters.goes_on(self.plan["batches"], name, self.hostvars, 0)
            ]
            yield from self._steps(names, self.target, self.plan["hot_from"], forward=True)

    def _settle(self) -> Tasks:
        if filters.complete(self.plan, self.hostvars, 0):
            try:
                self._hold()
                yield 1
                planned = {vm for batch in self.plan["batches"] for vm in batch["vms"]}
                if self.world.desired != self.target:
                    self.world.check_desire(self.actor, planned)
                self.controller.desire(self.target, self.plan["before"], "t", "")
                self.desired = True
            except LostRace:
                pass
        yield 1

    def _reconcile(self) -> Tasks:
        yield from self._rest()
        self._look()
        yield 5
        diverged = filters.diverged(self.fleet, self.hostvars, self.target, self.runs)
        for name in diverged:
            yield from self._steps([name], self.target, self.plan["hot_from"], forward=False)

    def _go_back(self) -> Tasks:
        self._look()
        yield 5
        before = self.plan["before"]
        back = filters.diverged(self.fleet, self.hostvars, before, self.runs)
        hot = [self.target] if before in self.plan["hot_from"] else []
        out = max(1, len(filters.out_of_traffic(back, self.hostvars)))
        groups = [back[:out], *([name] for name in back[out:])]
        for names in groups:
            yield from self._steps(names, before, hot, forward=False)

    def _end(self) -> Tasks:
        desired = self.desired
        try:
            self._hold()
            yield 1
            lost = filters.stranded(self.fleet, self.hostvars, self.plan, desired)
            if lost:
                self.world.recreate(self.actor, lost)
                yield SETTLE_S
            left = filters.marks_left(self.fleet, self.hostvars, self.plan["left_by"], lost)
            yield from self._give_back(mended=not left)
            self.verdict = "rolled-out" if desired else "rolled-back"
        except LostRace:
            self.verdict = "failed"
        yield 1

    def _give_back(self, *, mended: bool) -> Tasks:
        self._hold()
        yield 1
        owed = self.controller.found_lease()["owed"]
        if owed is not None:
            restore(self.world, self.actor, owed)
            yield 2
        self.controller.release(self.actor.run, mended=mended)

    # tasks/rolling_step.yml, for a batch at once

    def _steps(self, names: list[str], release: str, hot_from: list[str], forward: bool) -> Tasks:
        self.actor.batch = names
        going = {name: self._step(name, release, hot_from, forward) for name in names}
        while going:
            for name, step in list(going.items()):
                try:
                    yield next(step)
                except StopIteration:
                    del going[name]

    def _step(self, name: str, release: str, hot_from: list[str], forward: bool) -> Tasks:
        facts = self.hostvars.setdefault(name, {})
        world, actor = self.world, self.actor
        try:
            self._hold()
            yield 1
            found = self._reached(name) and world.look(name)
            facts["rollout_state"] = "failed"
            yield 1
            moves = found["release"] != release
            hot = found["release"] in hot_from and not found["drained_by"]
            if moves:
                self._reached(name)
                yield STAGE_S
                if forward and not hot:
                    self._hold()
                    minimum = min(self.owed["minimum"] + len(actor.batch), MAXIMUM)
                    minimum = max(minimum, world.minimum)
                    self.controller.owe(actor.run, world.mode, world.minimum, raise_to=minimum)
                    yield 1
                    world.set_autoscaler(actor, None, max(minimum, world.minimum))
                    yield SETTLE_S
                self._hold()
                facts["rollout_touched"] = True
                if not hot:
                    vm = self._reached(name)
                    cover = not forward or bool(self.overrides)
                    world.drain(actor, vm, actor.run, self.plan["left_by"], cover=cover)
                    yield HEALTH_S
                self._hold()
                if release == "broken":
                    raise StepFailed("the release does not come up")
                world.activate(actor, self._reached(name), release, hot=hot)
                yield READY_S
            else:
                facts["rollout_touched"] = True
            vm = self._reached(name)
            if vm.release != release or (release == "bad" and forward):
                raise StepFailed("the gate stays shut")
            actor.gated.add(name)
            yield READY_S
            world.undrain(actor, self._reached(name), self.runs)
            yield HEALTH_S
            if forward:
                self._reached(name)
                if release == "slow":
                    raise StepFailed("slow under traffic")
                yield SOAK_S
            facts["rollout_state"] = "ok"
        except StepFailed:
            facts["rollout_state"] = "failed"
            vm = world.vms.get(name)
            if facts.get("rollout_touched") and vm is not None and vm.boots is None:
                self._keep_out(vm)
            yield 1
        except LostRace:
            facts["rollout_state"] = "failed"
            yield 1

    def _keep_out(self, vm: Vm) -> None:
        with contextlib.suppress(StepFailed):
            self.world.drain(self.actor, vm, self.actor.run, self.plan["left_by"], cover=True)

    def _reached(self, name: str) -> Vm:
        vm = self.world.vms.get(name)
        if vm is None or vm.boots is not None:
            raise StepFailed("the VM cannot be reached")
        return vm

    def _hold(self) -> None:
        self.controller.hold(self.actor.run, TTL_S)
        self.actor.excused = False

    def _rest(self) -> Tasks:
        """tasks/rest.yml: the group's own work is waited for; a reboot it does not see."""
        for vm in self.world.all():
            if vm.new:
                vm.release, vm.boots, vm.new = vm.boots or "", None, False
        yield SETTLE_S

    def _look(self) -> None:
        """The inventory is read again, and each VM of it looked at."""
        self.fleet = list(self.world.vms)
        for name in self.fleet:
            self.hostvars.setdefault(name, {"skfleet_zone": self.world.vms[name].zone})
            self.hostvars[name]["vm_found"] = self.world.look(name)


class Unlock:
    """One run of unlock.yml."""

    def __init__(self, world: World, actor: Actor, directory: Path) -> None:
        self.world, self.actor = world, actor
        self.controller = Controller(world.store, BUCKET, FLEET, directory)
        self.verdict = ""

    def tasks(self) -> Tasks:
        """All of it."""
        hostvars = {name: {"vm_found": self.world.look(name)} for name in self.world.vms}
        yield 5
        found = self.controller.found_lease()
        desired = self.controller.desired()[0]
        yield 1
        if found["holder"] is None and found["owed"] is None and not found["left_by"]:
            self.verdict = "free"
            return
        self.controller.break_lease(self.actor.run, "t", found["generation"])
        for other in self.world.actors:
            other.excused = other is not self.actor
        yield 1
        mended = filters.undrainable(list(hostvars), hostvars, desired, found)
        left = filters.left_drained(list(hostvars), hostvars, desired, found)
        for name in mended:
            vm = self.world.vms.get(name)
            if vm is not None and vm.boots is None:
                self.world.undrain(self.actor, vm, filters.lease_runs(found))
            yield HEALTH_S
        if found["owed"] is not None:
            restore(self.world, self.actor, found["owed"])
            yield 2
        self.controller.release(self.actor.run, mended=not left)
        self.verdict = "unlocked"
        yield 1
