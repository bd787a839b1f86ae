"""A record is played as it is written, by as many VMs, or refused with the reason."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from skfleet_operator.replay.record import (
    NotReplayable,
    cast,
    differences,
    mishaps,
    options,
    path,
    readable,
    settings_between,
    went_on,
)
from skfleet_operator.rollouts.evidence import Event, Evidence, Host, Predecessor

OLD: dict[str, Any] = {
    "id": "old",
    "app": {"version": "1"},
    "bundle": {"sha256": "0"},
    "models": [{"name": "m"}],
    "default_model": "m",
    "settings": {"workers": 2},
}
NEW: dict[str, Any] = {**OLD, "id": "new", "settings": {"workers": 2, "threads": 2}}
LOCAL = [
    {"name": "x1", "zone": "z-a"},
    {"name": "x2", "zone": "z-b"},
    {"name": "x3", "zone": "z-b"},
]


def event(host: str | None, step: str, *, ok: bool = True, words: str = "") -> Event:
    return Event(at="", host=host, step=step, ok=ok, seconds=1.0, words=words)


def record(names: tuple[str, str, str] = ("p", "q", "r"), **changes: Any) -> Evidence:
    first, second, third = names
    made = Evidence(
        id="run",
        fleet="f",
        by="t",
        started_at="",
        ended_at="",
        release="new",
        before="old",
        verdict="rolled-back",
        words=[],
        plan={
            "batches": [{"vms": [first]}, {"vms": [second, third]}],
            "target": NEW,
            "desired": OLD,
        },
        hosts={
            first: Host(zone="eu-1", state="ok"),
            second: Host(zone="eu-2", state="recreated"),
            third: Host(zone="eu-2", state="ok"),
        },
        events=[
            event(first, "lease"),
            event(first, "drain"),
            event(first, "activate"),
            event(second, "drain"),
            event(second, "activate", ok=False, words="The VM cannot be reached: no route"),
            event(None, "recreate"),
        ],
    )
    return msgspec.structs.replace(made, **changes)


def test_vms_stand_for_vms_zone_by_zone() -> None:
    assert cast(record(), LOCAL) == {"p": "x1", "q": "x2", "r": "x3"}


@pytest.mark.parametrize("local", [LOCAL[:2], [*LOCAL[:2], {"name": "x3", "zone": "z-a"}]])
def test_a_fleet_that_cannot_play_it_is_told_so(local: list[dict[str, str]]) -> None:
    with pytest.raises(NotReplayable):
        cast(record(), local)


def test_who_was_lost_is_lost_at_the_same_step_and_the_seeds_moment() -> None:
    names = cast(record(), LOCAL)
    found = mishaps(record(), names, 7)
    assert [(item.vm, item.step) for item in found] == [("x2", "activate")]
    assert found == mishaps(record(), names, 7)
    assert found != mishaps(record(), names, 8)


def test_the_same_way_is_no_difference_whatever_the_vms_are_called() -> None:
    names = cast(record(), LOCAL)
    assert differences(record(), record(("x1", "x2", "x3")), names) == []


def test_who_of_a_zone_is_first_is_no_difference() -> None:
    names = cast(record(), LOCAL)

    def batches(*vms: list[str]) -> list[str]:
        plan = {"batches": [{"vms": batch} for batch in vms]}
        return differences(record(), record(("x1", "x2", "x3"), plan=plan), names)

    assert batches(["x1"], ["x3", "x2"]) == []
    assert batches(["x2"], ["x3", "x1"]) != []
    assert batches(["x1"], ["x2"], ["x3"]) != []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": "rolled-out"}, "The verdict was rolled-back, and is rolled-out."),
        ({"events": []}, "p (x1) went drain → activate, and goes nowhere."),
        ({"hosts": {}}, "q (x2) was recreated, and is gone."),
        ({"plan": {"batches": [{"vms": ["x2"]}]}}, "The batches were"),
    ],
)
def test_what_comes_out_differently_is_said(changes: dict[str, Any], said: str) -> None:
    names = cast(record(), LOCAL)
    found = differences(record(), record(("x1", "x2", "x3"), **changes), names)
    assert any(line.startswith(said) for line in found), found


def test_a_step_is_as_good_as_its_worst_task() -> None:
    events = [event("p", "drain"), event("p", "drain", ok=False), event("q", "drain")]
    assert path(events, "p") == [("drain", False)]


def test_only_settings_can_be_made_again() -> None:
    assert settings_between(record()) == {"threads": 2}
    for other in ({**NEW, "models": []}, {**NEW, "settings": {}}):
        with pytest.raises(NotReplayable, match=r"changes models|takes settings away"):
            settings_between(record(plan={"batches": [{}], "target": other, "desired": OLD}))


@pytest.mark.parametrize(
    "changes",
    [
        {"verdict": "refused"},
        {"plan": {}},
        {"before": ""},
        {"plan": {"batches": [{"vms": ["a"]}], "target": NEW, "image": "projects/p/…/new"}},
    ],
)
def test_a_record_without_a_rollout_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(NotReplayable):
        readable(record(**changes))


@pytest.mark.parametrize(
    ("steps", "died_at", "expected"),
    [
        (("gate", "undrain", "soak"), "activate", True),
        (("stage", "surge", "drain", "activate", "gate"), "activate", False),
        (("gate", "undrain"), "undrain", False),
        ((), "activate", False),
    ],
)
def test_what_a_dead_controller_had_begun_may_have_been_done_without_it(
    steps: tuple[str, ...], died_at: str, expected: bool
) -> None:
    dead = Predecessor(run="before", events=3, host="p", step=died_at)
    assert went_on(record(events=[event("p", step) for step in steps]), dead) is expected


def test_who_was_in_a_dead_controllers_hands_is_first_of_its_zone() -> None:
    """The local controller that is killed takes the first name, too."""
    dead = [Predecessor(run="before", events=3, host="r", step="activate")]
    assert cast(record(), LOCAL) == {"p": "x1", "q": "x2", "r": "x3"}
    assert cast(record(predecessors=dead), LOCAL) == {"p": "x1", "q": "x3", "r": "x2"}


def test_options_are_those_that_a_rollout_writes() -> None:
    chosen = {"rollout_batches": [1, "25%"], "rollout_capacity": 0.5, "rollout_override": []}
    assert options(record(options=chosen)) == chosen


@pytest.mark.parametrize(
    "chosen",
    [
        {"ansible_python_interpreter": "/tmp/x"},
        {"skfleet_compute": {"endpoint": "http://evil"}},
        {"rollout_capacity": "{{ lookup('pipe', 'touch /tmp/x') }}"},
        {"rollout_batches": [["a"]]},
    ],
)
def test_option_of_another_kind_is_refused(chosen: dict[str, Any]) -> None:
    with pytest.raises(NotReplayable, match="Invalid options"):
        options(record(options=chosen))
