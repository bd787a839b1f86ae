"""What the group decides, by example and for every small group there is."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.declared import read_edge
from skfleet.documents.edge import HealthCheck
from skfleet_local.edge import HEALING_S, scale_edge
from skfleet_operator.instance_group.decisions import (
    Change,
    Liveness,
    Member,
    Scaling,
    Version,
    counted,
    heal,
    recommend,
    resize,
    scale,
    template,
    verified,
    versions_reached,
)

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


SCALING = Scaling(mode="ON", minimum=2, maximum=20, target=0.5, stabilisation_s=600)


def scaled(history: list[tuple[float, int]], size: int, **changes: Any) -> tuple[int, str]:
    return scale(size, history[-1][0], history, replace(SCALING, **changes))


def test_scaling_out_is_at_once_and_in_waits_for_the_whole_window() -> None:
    assert scaled([(0, 4), (60, 9)], 4) == (9, "scale out")
    assert scaled([(0, 9), (599, 3)], 9)[0] == 9, "the window is not over"
    assert scaled([(0, 9), (300, 6), (601, 3)], 9)[0] == 6, "the highest of the window counts"
    assert scaled([(0, 9), (300, 3), (901, 3)], 9) == (3, "scale in")


def test_modes_are_kept() -> None:
    long_over = [(0.0, 9), (300.0, 3), (901.0, 3)]
    assert scaled(long_over, 9, mode="ONLY_SCALE_OUT")[0] == 9
    assert scaled([(0, 4), (60, 9)], 4, mode="ONLY_SCALE_OUT")[0] == 9
    assert scaled([(0, 4), (60, 9)], 4, mode="OFF") == (4, "the autoscaler is off")


def test_scale_in_control_limits_what_goes_in_a_window() -> None:
    history = [(0.0, 10), (300.0, 3), (901.0, 3)]
    size, why = scaled(history, 10, scale_in_fixed=2, scale_in_window_s=1800)
    assert size == 8
    assert "peak of 10" in why
    assert scaled(history, 10, scale_in_percent=50, scale_in_window_s=1800)[0] == 5
    assert scaled(history, 8, scale_in_fixed=2, scale_in_window_s=1800)[0] == 8, "once a window"
    assert scaled([*history, (2200, 3)], 8, scale_in_fixed=2, scale_in_window_s=1800)[0] == 3
    assert scaled([(0, 4), (60, 9)], 4, scale_in_fixed=1)[0] == 9, "scaling out is free"


def test_a_vm_in_its_cool_down_neither_grows_the_group_nor_lets_it_shrink() -> None:
    booting, serving = (1.0, 10.0), (0.4, 600.0)
    for samples, size, wanted in (
        ([serving] * 4, 4, 4),  # 1.6 at 0.5 needs 4
        ([serving] * 4 + [booting] * 3, 7, 7),  # 4.6 would need 10
        ([(0.1, 600.0)] * 4 + [booting], 5, 3),  # 1.4: all there is of it
        ([(0.9, 600.0)] * 4 + [booting] * 3, 7, 8),  # 3.6 needs 8 by itself
    ):
        used = counted(samples, size, SCALING)
        assert recommend(used, SCALING)[0] == wanted, samples


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 120)), max_size=30), st.integers(0, 30))
def test_booting_vms_alone_never_make_a_larger_group(
    samples: list[tuple[float, float]], size: int
) -> None:
    ready = [used for used, age in samples if age >= SCALING.cool_down_s]
    wanted = recommend(counted(samples, size, SCALING), SCALING)[0]
    assert wanted <= max(size, recommend(ready, SCALING)[0])
    assert wanted >= recommend(ready, SCALING)[0]


def test_the_recommendation_names_its_reason() -> None:
    assert recommend([0.5] * 6, SCALING) == (6, "3.00 VMs' worth of CPU at a target of 50% needs 6")
    assert recommend([], SCALING)[0] == 2
    assert "the minimum is 2" in recommend([], SCALING)[1]
    assert recommend([1.0] * 15, SCALING)[0] == 20
    assert "the maximum is 20" in recommend([1.0] * 15, SCALING)[1]


def test_a_new_vm_gets_the_template_that_still_lacks_one() -> None:
    versions = [Version("old"), Version("new", 2)]
    assert template(versions, ["old"] * 3) == "new"
    assert template(versions, ["old"] * 3 + ["new"]) == "new"
    assert template(versions, ["old"] * 3 + ["new"] * 2) == "old"
    assert versions_reached(versions, ["old"] * 3 + ["new"] * 2)
    assert not versions_reached([Version("new")], ["old", "new"])


def test_autohealing_waits_longer_than_a_reboot_and_a_converge_take() -> None:
    """Declared in edge.yml, kept in local time too: threshold × interval."""
    edge = read_edge(Path(__file__).resolve().parents[2] / "edge.yml")
    for scale_by in (1, 5, 10, 20):
        check = scale_edge(edge, scale_by).health_checks.liveness
        assert check.interval_s * check.unhealthy_threshold >= HEALING_S
        assert check.initial_delay_s == 300, "a boot takes as long here"
