"""A replacement brings VMs of the new image before it takes one away, and knows the way back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.errors import ConfigurationError
from skfleet_operator.rollouts import replacement
from skfleet_operator.rollouts.plan import Group, Options
from skfleet_operator.rollouts.replacement import Plan, Version, Vm

OLD, NEW = (f"projects/p/global/instanceTemplates/{name}" for name in ("old", "new"))
GOOGLE = "https://www.googleapis.com/compute/v1/"


def vm(name: str, zone: str = "a", template: str = OLD, **facts: Any) -> Vm:
    found: dict[str, Any] = {"release": "r", "ready": True, "serving": True, **facts}
    return Vm(name=name, zone=zone, template=template, **found)


def make(vms: list[Vm], **changes: Any) -> Plan:
    arguments: dict[str, Any] = {
        "image": NEW,
        "versions": [Version(template=OLD)],
        "vms": vms,
        "members": [v.name for v in vms],
        "group": Group(target_size=len(vms), autoscaler_mode="ON", minimum=1, maximum=100),
        "canary": 1,
        "options": Options(batches=[1, "25%", "100%"], capacity=0.6),
    }
    return replacement.make(**{**arguments, **changes})


THREE = [vm("1", "a"), vm("2", "b"), vm("3", "c")]


def test_the_canary_comes_beside_all_others() -> None:
    made = make(THREE)
    assert made.canary_versions == [Version(template=OLD), Version(template=NEW, fixed=1)]
    assert [batch.serving_meanwhile for batch in made.batches] == [3, 3, 3]
    assert (made.image_before, made.size) == (OLD, 3)
    assert "gate, soak" in " ".join(replacement.lines(made))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40),
    st.one_of(st.integers(1, 9), st.just("10%")),
    st.floats(0, 1),
)
def test_every_old_vm_goes_once_by_zone_and_enough_serve(
    found: list[tuple[str, bool, bool]], canary: int | str, capacity: float
) -> None:
    vms = [
        vm(f"vm{i}", zone, OLD if old else NEW, serving=serving)
        for i, (zone, old, serving) in enumerate(found)
    ]
    made = make(vms, canary=canary, options=Options(batches=[1, "50%"], capacity=capacity))
    taken = [name for batch in made.batches for name in batch.vms]
    assert sorted(taken) == sorted(v.name for v in vms if v.template == OLD)
    zones = {v.name: v.zone for v in vms}
    serving = sum(v.serving for v in vms)
    for batch in made.batches:
        assert {zones[name] for name in batch.vms} == {batch.zone}
        assert batch.serving_meanwhile >= min(capacity * len(vms), serving) - 1e-9
    assert bool(made.canary) == bool(taken)


def test_what_is_of_the_image_already_is_left_alone_however_it_is_written() -> None:
    mixed = [vm("1", template=f"{GOOGLE}{NEW}?uniqueId=7"), vm("2"), vm("3")]
    made = make(mixed, versions=[Version(template=GOOGLE + OLD), Version(template=NEW, fixed=1)])
    assert sorted(name for batch in made.batches for name in batch.vms) == ["2", "3"]
    assert made.canary_versions[1].fixed == 2, "the one that is there, and one more"
    there = [vm("1", template=NEW)]
    assert make(there, versions=[Version(template=GOOGLE + NEW)]).nothing_to_do
    assert not make(there, versions=[Version(template=NEW)], left_by="dead").nothing_to_do
    assert not make(there).nothing_to_do, "the group makes old ones still"


def test_the_way_back_leads_to_what_the_group_was_of() -> None:
    assert make(THREE).image_before == OLD
    promoted = make([*THREE[:2], vm("3", template=NEW)], versions=[Version(template=NEW)])
    assert promoted.image_before == OLD, "a controller died after the promotion"


def test_where_nobody_can_come_first_it_is_refused_whatever_is_overridden() -> None:
    full = Group(target_size=3, autoscaler_mode="ON", minimum=3, maximum=3)
    made = make(THREE, group=full)
    assert [(refusal.code, refusal.overridden) for refusal in made.refusals] == [("surge", False)]
    with pytest.raises(ConfigurationError):
        make(THREE, group=full, options=Options(batches=[1], capacity=0.5, overrides=["surge"]))
    assert not make(THREE, group=Group(target_size=3)).refused, (
        "without an autoscaler it is resized"
    )


def test_what_is_unsafe_is_refused_as_in_a_rollout() -> None:
    assert [r.code for r in make([vm("1"), vm("2", reachable=False)]).refused] == ["unreachable"]
    assert [r.code for r in make([vm("1"), vm("2", ready=False)]).refused] == ["unready"]
    assert [r.code for r in make(THREE, members=["1", "2"]).refused] == ["counts"]
    with pytest.raises(ConfigurationError, match="replace_canary"):
        make(THREE, canary="many")
