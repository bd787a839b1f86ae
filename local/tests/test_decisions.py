"""What the group decides, by example and for every small group there is."""

from __future__ import annotations

from itertools import product

import pytest

from skfleet_local.decisions import Change, Liveness, Member, heal, resize, verified
from skfleet_local.edge import HealthCheck

ZONES = ("a", "b", "c")
POLICY = HealthCheck(
    path="/livez",
    interval_s=2,
    timeout_s=1,
    healthy_threshold=1,
    unhealthy_threshold=3,
    initial_delay_s=60,
)


def member(name: str, zone: str, created: float = 0.0, healthy: bool = True) -> Member:
    return Member(name, zone, created, healthy)


def test_new_vms_go_where_fewest_are() -> None:
    assert resize(3, [], ZONES) == Change(create_in=("a", "b", "c"))
    assert resize(4, [member("1", "a"), member("2", "b")], ZONES).create_in == ("c", "a")


def test_every_resize_ends_at_the_target_and_balanced() -> None:
    for counts in product(range(4), repeat=3):
        members = [
            member(f"{zone}{i}", zone)
            for zone, n in zip(ZONES, counts, strict=True)
            for i in range(n)
        ]
        for target in range(10):
            change = resize(target, members, ZONES)
            left = [m.zone for m in members if m.name not in change.delete] + list(change.create_in)
            assert len(left) == target
            assert not (change.create_in and change.delete)
            spread = [left.count(zone) for zone in ZONES]
            if change.delete:  # what is deleted comes from the fullest zones
                touched = {m.zone for m in members if m.name in change.delete}
                assert all(left.count(zone) >= max(spread) - 1 for zone in touched)


def test_the_unhealthy_go_first_and_then_the_newest() -> None:
    members = [
        member("old", "a", created=1),
        member("new", "a", created=9),
        member("sick", "a", created=2, healthy=False),
    ]
    assert resize(2, members, ZONES).delete == ("sick",)
    assert resize(1, members, ZONES).delete == ("sick", "new")


def test_a_zone_the_group_left_is_emptied_first() -> None:
    members = [member("1", "a"), member("2", "a"), member("3", "z")]
    assert resize(2, members, ("a", "b")).delete == ("3",)


def probes(*results: bool) -> Liveness:
    seen = Liveness()
    for passed in results:
        seen = seen.after(passed, POLICY)
    return seen


def test_a_vm_whose_init_ended_is_repaired_at_once_whatever_the_policy() -> None:
    assert heal(False, Liveness(), 0.0, None)
    assert heal(False, probes(True), 0.0, POLICY)


@pytest.mark.parametrize(
    ("seen", "age", "repaired"),
    [
        (probes(False, False, False), 59.0, False),  # the initial delay protects a booting VM
        (probes(False, False, False), 60.0, True),
        (probes(True, False, False), 600.0, False),  # below the threshold
        (probes(True, False, False, False), 1.0, True),  # it was healthy: no protection any more
        (probes(True, False, False, True, False), 600.0, False),  # failures count in a row
    ],
)
def test_failing_probes_repair_a_vm(seen: Liveness, age: float, repaired: bool) -> None:
    assert bool(heal(True, seen, age, POLICY)) is repaired


def test_without_a_policy_probes_repair_nothing() -> None:
    assert not heal(True, probes(False, False, False, False), 1e6, None)


def test_verifying_ends_with_health_or_with_the_initial_delay() -> None:
    assert not verified(probes(False), 1.0, POLICY)
    assert verified(probes(False, True), 1.0, POLICY)
    assert verified(probes(False), 60.0, POLICY)


def test_health_states_are_the_published_ones() -> None:
    assert probes().state(POLICY) == "UNKNOWN"
    assert probes(True).state(POLICY) == "HEALTHY"
    assert probes(False, False, False).state(POLICY) == "UNHEALTHY"
    hung = Liveness()
    for _ in range(3):
        hung = hung.after(False, POLICY, timed_out=True)
    assert hung.state(POLICY) == "TIMEOUT"
