"""A rollout as a transaction over lease, desired release and VMs, whatever happens in its middle.

Hypothesis drives real decisions (`skfleet_operator.rollouts`, the playbooks' filters) through controllers
that die or sleep at any task boundary, VMs that reboot, heal, come and go, leases that expire, and unlock.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from skfleet.errors import LostRace
from skfleet_operator.rollouts import changes, controller, lease
from skfleet_operator.rollouts.autoscaling import Autoscaling, to_restore

from .playbook import TTL_S, Rollout, Unlock
from .world import FAILING, MARK_S, MAXIMUM, MINIMUM, OPERATOR, RELEASES, Actor, World

HERE, THERE = "here", "there"
NAMES = [release.id for release in RELEASES]
# How many tasks at once, and which share of its longest time each of them takes.
TASKS = st.integers(0, 15) | st.integers(15, 120)
SLOWNESS = st.sampled_from([0.0, 0.1, 1.0])


class Fleet(RuleBasedStateMachine):
    """At most two controllers at a time, here and on another machine."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.works: dict[str, tuple[Rollout | Unlock, Actor, Any]] = {}  # by machine
        self.runs = 0
        self.dead: set[str] = set()
        self.asking = ""
        self.held_last = ""  # run that had the lease last
        self.world: World | None = None
        self.patches = [
            mock.patch.object(controller, "time", SimpleNamespace(time=lambda: self.fleet.now)),
            mock.patch.object(changes, "golden", return_value=[]),
            mock.patch.object(lease, "this_controller", self._holder),
            mock.patch.object(lease, "is_dead", self._is_dead),
        ]
        for patch in self.patches:
            patch.start()

    def teardown(self) -> None:
        for patch in self.patches:
            patch.stop()
        self.folder.cleanup()

    @property
    def fleet(self) -> World:
        assert self.world is not None
        return self.world

    def _holder(self, run: str, by: str) -> lease.Holder:
        return lease.Holder(run=run, by=by, host=self.asking, boot="", pid=1, started=1)

    def _is_dead(self, holder: lease.Holder) -> bool:
        # Only where it ran is it known for certain.
        return holder.host == self.asking and holder.run in self.dead

    def _go(self, machine: str, tasks: int, slowness: float) -> None:
        """So many tasks of this machine's controller; each takes this share of its longest time."""
        work, actor, steps = self.works[machine]
        self.asking = machine
        for _ in range(tasks):
            try:
                longest = next(steps)
                if (holder := self.fleet.lease().holder) is not None:
                    self.held_last = holder.run
                actor.due = self.fleet.now + longest
                self._pass(longest * slowness)
            except StopIteration:
                break
            except (LostRace, lease.LeaseHeld):
                work.verdict = "fenced"
                break
        else:
            return
        self._ended(work, actor)
        actor.alive = False
        self.dead.add(actor.run)
        del self.works[machine]

    def _pass(self, seconds: float) -> None:
        """A controller that has not gone on although its task must be over sleeps."""
        self.fleet.now += seconds
        for _, actor, _ in self.works.values():
            actor.excused |= self.fleet.now > actor.due
        for vm in self.fleet.all():
            # Its mark ended by itself meanwhile: as after a reboot, it serves again.
            vm.unmarked |= vm.drain is not None and not self.fleet.drained_by(vm)

    def _ended(self, work: Rollout | Unlock, actor: Actor) -> None:
        fleet = self.fleet
        if len(self.works) > 1 or self.held_last != actor.run or fleet.stained:
            return  # the next one is, or was, at work already
        if work.verdict in ("rolled-out", "rolled-back"):
            assert (fleet.mode, fleet.minimum) == ("ON", fleet.operators_minimum), "restored"
            assert fleet.lease() == lease.Lease(), "nothing is owed any more"
            marks = {fleet.drained_by(vm) for vm in fleet.all()}
            assert marks <= {"", OPERATOR}, "still drained"
            assert isinstance(work, Rollout)
            wanted = work.target if work.verdict == "rolled-out" else work.plan["before"]
            assert fleet.desired == wanted
            off = [vm for vm in fleet.all() if (vm.boots or vm.release) != wanted]
            assert not off, f"not at {wanted}: {off}"

    def _start(self, machine: str, target: str | None, *, override: bool = False) -> Actor:
        self.runs += 1
        actor = Actor(run=f"run-{self.runs}", due=self.fleet.now)
        self.fleet.actors.append(actor)
        directory = Path(self.folder.name)
        work = (
            Unlock(self.fleet, actor, directory)
            if target is None
            else Rollout(self.fleet, actor, directory, target, override=override)
        )
        self.works[machine] = (work, actor, work.tasks())
        return actor

    # Rules

    @initialize(vms=st.integers(3, 5))
    def begin(self, vms: int) -> None:
        self.world = World(vms)

    @rule(
        machine=st.sampled_from([HERE, THERE]),
        wanted=st.sampled_from(NAMES),
        tasks=TASKS,
        slowness=SLOWNESS,
        override=st.booleans(),
    )
    def roll_out(
        self, machine: str, wanted: str, tasks: int, slowness: float, override: bool = False
    ) -> None:
        if machine not in self.works:
            self._start(machine, wanted, override=override)
            self._go(machine, tasks, slowness)

    @rule(machine=st.sampled_from([HERE, THERE]), tasks=TASKS | st.just(1000))
    def unlock(self, machine: str, tasks: int) -> None:
        """By force: whoever is at work learns it at its next look at the lease."""
        if machine not in self.works:
            self._start(machine, None)
            self._go(machine, tasks, 0.1)

    @precondition(lambda self: self.works)
    @rule(data=st.data(), tasks=TASKS, slowness=SLOWNESS)
    def go_on(self, data: st.DataObject, tasks: int, slowness: float) -> None:
        self._go(data.draw(st.sampled_from(sorted(self.works))), tasks, slowness)

    @precondition(lambda self: self.works)
    @rule(data=st.data(), tasks=TASKS, slowness=SLOWNESS)
    def kill(self, data: st.DataObject, tasks: int, slowness: float) -> None:
        """kill -9 at a task boundary, some tasks later."""
        machine = data.draw(st.sampled_from(sorted(self.works)))
        self._go(machine, tasks, slowness)
        if machine in self.works:
            _, actor, _ = self.works.pop(machine)
            actor.alive = False
            self.dead.add(actor.run)

    @rule(seconds=st.sampled_from([60.0, TTL_S + 1, MARK_S + 1]))
    def time_passes(self, seconds: float) -> None:
        """Controllers sleep meanwhile, as on a machine that is suspended."""
        self._pass(seconds)

    @rule(data=st.data(), new=st.booleans())
    def reboot_or_heal(self, data: st.DataObject, new: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.fleet.vms)))
        self.fleet.boot(self.fleet.vms[name], new=new)

    @rule(data=st.data(), drained=st.booleans())
    def drain_by_hand(self, data: st.DataObject, drained: bool) -> None:
        """An operator's own: no run may remove it."""
        vm = self.fleet.vms[data.draw(st.sampled_from(sorted(self.fleet.vms)))]
        (self.fleet.operator_drains if drained else self.fleet.operator_undrains)(vm)

    @rule()
    def lower_the_minimum_by_hand(self) -> None:
        self.fleet.operator_lowers_minimum()

    @rule()
    def boots_end(self) -> None:
        self.fleet.finish_boots()
        for vm in self.fleet.all():
            assert vm.release, "a VM that boots converges"

    @precondition(lambda self: self.fleet.target < MAXIMUM)
    @rule()
    def scale_out(self) -> None:
        self.fleet.target += 1
        self.fleet.grow()

    @rule()
    def scale_in(self) -> None:
        self.fleet.shrink()

    @precondition(lambda self: not self.works and not self.fleet.stained)
    @rule(wanted=st.sampled_from(NAMES), machine=st.sampled_from([HERE, THERE]))
    def the_next_run_converges(self, wanted: str, machine: str) -> None:
        """After whatever happened: undisturbed, it gives everything back, and every VM is right."""
        fleet = self.fleet
        fleet.finish_boots()
        self._pass(TTL_S + 1)  # a holder that died elsewhere is waited for
        self._start(machine, wanted, override=True)
        work = self.works[machine][0]
        self._go(machine, 10_000, 0.1)
        assert work.verdict in ("rolled-out", "rolled-back", "nothing"), work.verdict
        fleet.finish_boots()
        assert (fleet.mode, fleet.minimum) == ("ON", fleet.operators_minimum)
        assert fleet.lease() == lease.Lease()
        assert {vm.release for vm in fleet.all()} == {fleet.desired}
        for vm in fleet.all():
            assert fleet.drained_by(vm) == fleet.owner(vm.operators), vm
        assert (fleet.desired == wanted) == (wanted not in FAILING)

    # Always

    @invariant()
    def the_desired_release_has_passed_its_gates(self) -> None:
        if self.world is not None:
            assert self.fleet.desired not in FAILING

    @invariant()
    def what_an_operator_drained_stays_drained(self) -> None:
        for vm in self.world.all() if self.world else []:
            if self.fleet.owner(vm.operators):
                assert self.fleet.drained_by(vm), vm
                owners = {self.fleet.owner(vm.drain), self.fleet.owner(vm.covered)}
                assert OPERATOR in owners, vm

    @invariant()
    def what_is_raised_is_owed(self) -> None:
        if self.world is None or self.fleet.stained:
            return
        wanted = Autoscaling(mode="ON", minimum=self.fleet.operators_minimum)
        found = Autoscaling(mode=self.fleet.mode, minimum=self.fleet.minimum)
        if found != wanted:
            owed = self.fleet.lease().owed
            assert owed is not None
            back = to_restore(owed, found)
            assert (back.mode, back.minimum) == (wanted.mode, wanted.minimum), owed


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three VMs, for what chance seldom finds."""
    found = Fleet()
    found.begin(3)
    yield found
    found.teardown()


def until(fleet: Fleet, machine: str, wanted: str, true: Callable[[World], Any]) -> None:
    """Begin a rollout, and kill it where this has come true."""
    fleet.roll_out(machine, wanted, 0, 0.0)
    while not true(fleet.fleet):
        fleet._go(machine, 1, 0.0)
    fleet.works.pop(machine)
    fleet.dead.add(f"run-{fleet.runs}")


def one_drained(world: World) -> bool:
    return any(world.drained_by(vm) for vm in world.all())


def test_marks_of_two_dead_runs_are_taken_over(fleet: Fleet) -> None:
    until(fleet, HERE, "b", one_drained)
    until(fleet, HERE, "b", lambda world: world.lease().left_by == "run-1")
    fleet.the_next_run_converges(wanted="b", machine=HERE)


def test_what_unlock_leaves_drained_the_next_rollout_mends(fleet: Fleet) -> None:
    until(fleet, HERE, "b", lambda world: any(vm.release == "b" for vm in world.all()))
    fleet.unlock(HERE, 1000)
    assert one_drained(fleet.fleet), "it has another release than the desired one"
    assert (fleet.fleet.mode, fleet.fleet.minimum) == ("ON", MINIMUM)
    fleet.the_next_run_converges(wanted="hot", machine=THERE)


def test_a_rollout_beside_another_is_refused_the_lease(fleet: Fleet) -> None:
    fleet.roll_out(THERE, "b", 4, 0.0)
    fleet.roll_out(HERE, "hot", 1000, 0.0)
    assert HERE not in fleet.works
    fleet._go(THERE, 1000, 0.0)
    assert fleet.fleet.desired == "b"
    assert {vm.release for vm in fleet.fleet.all()} == {"b"}


def test_a_controller_that_slept_past_its_lease_changes_nothing_more(fleet: Fleet) -> None:
    fleet.roll_out(THERE, "hot", 8, 0.0)
    work = fleet.works[THERE][0]
    fleet.time_passes(TTL_S + 1)
    fleet.roll_out(HERE, "b", 1000, 0.0)
    fleet._go(THERE, 1000, 0.0)
    assert work.verdict in ("fenced", "failed")
    assert fleet.fleet.desired == "b"
    assert {vm.release for vm in fleet.fleet.all()} == {"b"}


def test_one_may_begin_before_the_last_has_quite_ended(fleet: Fleet) -> None:
    """What a dead one left by then is not the last one's."""
    fleet.roll_out(HERE, "slow", 0, 0.0)
    while fleet.works[HERE][0].verdict != "rolled-back":
        fleet._go(HERE, 1, 0.0)
    fleet.roll_out(THERE, "a", 0, 0.0)
    fleet._go(THERE, 4, 0.0)
    fleet.works.pop(THERE)
    fleet._go(HERE, 1, 0.0)
    assert HERE not in fleet.works


def drained_by_hand(fleet: Fleet) -> str:
    name = sorted(fleet.fleet.vms)[0]
    fleet.fleet.operator_drains(fleet.fleet.vms[name])
    return name


def test_rollout_is_refused_while_an_operator_drains_a_vm(fleet: Fleet) -> None:
    drained_by_hand(fleet)
    fleet._start(HERE, "b")
    work = fleet.works[HERE][0]
    fleet._go(HERE, 1000, 0.0)
    assert work.verdict == "refused"
    assert {vm.release for vm in fleet.fleet.all()} == {"a"}
    assert fleet.fleet.lease() == lease.Lease()


@pytest.mark.parametrize("wanted", ["b", "hot", "slow"])
def test_overridden_rollout_moves_the_drained_vm_and_leaves_it_drained(
    fleet: Fleet, wanted: str
) -> None:
    name = drained_by_hand(fleet)
    fleet.roll_out(HERE, wanted, 1000, 0.0, override=True)
    fleet.fleet.finish_boots()
    ended = "a" if wanted in FAILING else wanted
    assert {vm.release for vm in fleet.fleet.all()} == {ended}
    marks = {vm.name: fleet.fleet.drained_by(vm) for vm in fleet.fleet.all()}
    assert {vm: owner for vm, owner in marks.items() if owner} == {name: OPERATOR}


def test_unlock_of_a_dead_run_leaves_the_operators_mark(fleet: Fleet) -> None:
    name = drained_by_hand(fleet)
    fleet._start(HERE, "b", override=True)
    vm = fleet.fleet.vms[name]
    while fleet.fleet.drained_by(vm) == OPERATOR:
        fleet._go(HERE, 1, 0.0)
    fleet.works.pop(HERE)
    fleet.dead.add(f"run-{fleet.runs}")
    assert vm.release == "a"
    fleet.unlock(HERE, 1000)
    assert fleet.fleet.drained_by(vm) == OPERATOR
    fleet.the_next_run_converges(wanted="hot", machine=THERE)


def test_mark_that_appears_midway_ends_the_rollout_and_stays(fleet: Fleet) -> None:
    fleet.roll_out(HERE, "b", 20, 0.0)
    work = fleet.works[HERE][0]
    (name,) = [vm for batch in work.plan["batches"][-1:] for vm in batch["vms"]]
    fleet.fleet.operator_drains(fleet.fleet.vms[name])
    fleet._go(HERE, 1000, 0.0)
    fleet.fleet.finish_boots()
    assert work.verdict == "rolled-back"
    assert fleet.fleet.drained_by(fleet.fleet.vms[name]) == OPERATOR
    assert {vm.release for vm in fleet.fleet.all()} == {"a"}


@pytest.mark.parametrize("wanted", ["b", "slow"])
def test_minimum_that_an_operator_sets_midway_is_not_undone(fleet: Fleet, wanted: str) -> None:
    fleet.roll_out(HERE, wanted, 20, 0.0)
    assert (fleet.fleet.mode, fleet.fleet.minimum) == ("ONLY_SCALE_OUT", MINIMUM + 1)
    fleet.fleet.operator_lowers_minimum()
    fleet._go(HERE, 1000, 0.0)
    assert (fleet.fleet.mode, fleet.fleet.minimum) == ("ON", MINIMUM - 1)


TestFleet = pytest.mark.timeout(3600)(pytest.mark.full(Fleet.TestCase))
TestFleet.settings = settings(
    max_examples=2000 if os.environ.get("SKFLEET_TEST_FULL") else 150,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
)
