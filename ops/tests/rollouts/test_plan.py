"""A plan moves every VM that needs it, keeps enough serving, and refuses what is unsafe."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.documents.edge import Listener, Listeners
from skfleet.documents.release import AppPin, ModelPin, Pin, Release
from skfleet.errors import ConfigurationError
from skfleet_operator.rollouts import plan
from skfleet_operator.rollouts.plan import Group, Options, Vm

PIN = Pin(uri="gs://b/o", generation=1, sha256="0" * 64)


def release(name: str, **changes: Any) -> Release:
    base = Release(
        id=name,
        created_at="2026-01-01T00:00:00Z",
        created_by="t",
        app=AppPin(
            uri="gs://b/w",
            generation=1,
            sha256="1" * 64,
            version="1",
            python="3.11",
            platform="linux_x86_64",
        ),
        bundle=PIN,
        models=[ModelPin(name="m", manifest=PIN)],
        default_model="m",
    )
    return msgspec.structs.replace(base, **changes)


OLD, NEW = release("old"), release("new", settings={"workers": 3})
OTHER_MODEL = release(
    "hot", models=[ModelPin(name="m", manifest=msgspec.structs.replace(PIN, sha256="2" * 64))]
)


def vm(name: str, zone: str = "a", **facts: Any) -> Vm:
    found: dict[str, Any] = {
        "release": "old",
        "ready": True,
        "serving": True,
        "python": "3.11",
        "platform": "linux_x86_64",
        "image_contracts": [1],
    }
    return Vm(name=name, zone=zone, **{**found, **facts})


def make(vms: list[Vm], target: Release = NEW, **changes: Any) -> plan.Plan:
    arguments: dict[str, Any] = {
        "target": target,
        "desired": "old",
        "running": {"old": OLD},
        "vms": vms,
        "members": [v.name for v in vms],
        "group": Group(target_size=len(vms)),
        "options": Options(batches=[1, "25%", "100%"], capacity=0.6),
    }
    return plan.make(**{**arguments, **changes})


def codes(made: plan.Plan) -> set[str]:
    return {refusal.code for refusal in made.refusals}


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.booleans()), max_size=40),
    st.lists(st.one_of(st.integers(1, 9), st.just("25%"), st.just("100%")), min_size=1, max_size=4),
    st.floats(0, 1),
)
def test_every_vm_moves_once_by_zone_and_enough_serve(
    found: list[tuple[str, bool, bool]], sizes: list[int | str], capacity: float
) -> None:
    vms = [
        vm(f"vm{i}", zone, serving=serving, release="old" if old else "older")
        for i, (zone, serving, old) in enumerate(found)
    ]
    made = make(vms, options=Options(batches=sizes, capacity=capacity))
    moved = [name for batch in made.batches for name in batch.vms]
    assert sorted(moved) == sorted(v.name for v in vms)
    zones = {v.name: v.zone for v in vms}
    required = capacity * len(vms)
    for batch in made.batches:
        assert {zones[name] for name in batch.vms} == {batch.zone}
        assert batch.serving_meanwhile + batch.surge >= min(
            required, sum(v.serving for v in vms)
        ) - 1e-9 or not any(v.serving for v in vms)
    if made.batches:
        assert len(made.batches[0].vms) <= plan.size_of(sizes[0], len(vms)), "the canary"


def test_thirty_vms_move_in_few_batches() -> None:
    """A canary, a quarter, and all that is left, zone by zone."""
    vms = [vm(f"vm-{number}", "abc"[number % 3]) for number in range(30)]
    batches = make(vms).batches
    assert len(batches[0].vms) == 1
    assert len(batches) <= 7


def test_vms_that_serve_nobody_go_first() -> None:
    made = make([vm("a"), vm("b", "b", serving=False, ready=False, drained_by="dead"), vm("c")])
    assert made.batches[0].vms == ["b"]


def test_a_vm_that_is_there_needs_nothing_and_a_drained_one_its_traffic() -> None:
    there = vm("a", release="new")
    assert plan.need(there, "new") == "nothing"
    assert plan.need(vm("b", release="new", drained_by="x"), "new", {"x"}) == "return"
    assert plan.need(vm("b", release="new", drained_by="alice"), "new", {"x"}) == "nothing"
    assert plan.need(vm("c", release="new", ready=False), "new") == "return"
    assert plan.need(vm("d"), "new") == "move"
    assert make([there], desired="new", running={"new": NEW}).nothing_to_do
    assert not make([there]).nothing_to_do, "desired.json has yet to move"


def test_only_another_model_is_a_reload() -> None:
    assert make([vm("a")], OTHER_MODEL).hot_from == ["old"]
    for field, value in (("settings", {"workers": 3}), ("image_contract", 2)):
        assert make([vm("a")], release("n", **{field: value})).hot_from == []


def test_a_reload_costs_no_capacity() -> None:
    vms = [vm(f"vm{i}") for i in range(4)]
    made = make(vms, OTHER_MODEL, options=Options(batches=["100%"], capacity=1.0))
    assert [len(batch.vms) for batch in made.batches] == [4]
    assert "capacity" not in codes(made)


@pytest.mark.parametrize(
    ("code", "vms", "changes"),
    [
        ("unready", [vm("a", ready=False, why_not="no model")], {}),
        ("unreachable", [vm("a"), Vm(name="b", zone="a", reachable=False)], {}),
        ("unstable", [vm("a", stable=False)], {}),
        ("unstable", [vm("a")], {"group": Group(target_size=1, stable=False)}),
        ("counts", [vm("a")], {"members": ["a", "b"]}),
        ("counts", [vm("a")], {"members": []}),
        ("python", [vm("a", python="3.13")], {}),
        ("platform", [vm("a", platform="linux_aarch64")], {}),
        ("image", [vm("a", image_contracts=[2])], {}),
        ("drained", [vm("a", drained_by="alice"), vm("b"), vm("c")], {}),
        ("drained", [vm("a", drained_by="run-1", drain_covers="alice")], {"left_by": "run-1"}),
        ("capacity", [vm("a")], {}),
        ("answers", [vm("a"), vm("b"), vm("c")], {"answers_changed": 3}),
    ],
)
def test_what_is_unsafe_is_refused_by_its_code(
    code: str, vms: list[Vm], changes: dict[str, Any]
) -> None:
    assert code in {refusal.code for refusal in make(vms, **changes).refused}


def test_a_healthy_fleet_is_not_refused() -> None:
    assert codes(make([vm("a"), vm("b", "b"), vm("c", "c")])) == set()


def test_too_few_vms_are_enough_where_more_can_come() -> None:
    group = Group(target_size=1, autoscaler_mode="ON", minimum=1, maximum=2)
    made = make([vm("a")], group=group)
    assert "capacity" not in codes(made)
    assert made.batches[0].surge == 1


def test_what_a_dead_controller_left_is_no_reason_to_refuse() -> None:
    broken = [vm("a", ready=False, release="new"), vm("b", "b"), vm("c", "c")]
    assert "unready" in codes(make(broken))
    assert "unready" not in codes(make(broken, left_by="run-1"))


def test_an_abandoned_runs_drain_mark_is_no_reason_to_refuse() -> None:
    vms = [vm("a", drained_by="run-1", release="new"), vm("b", "b"), vm("c", "c")]
    made = make(vms, left_by="run-0,run-1")
    assert codes(made) == set()
    assert made.batches[0].vms == ["a"], "it gets its traffic back"


def test_a_vm_that_an_operator_drains_does_not_count_as_serving() -> None:
    """Load balancers may see it still; and it does not serve after its batch either."""
    vms = [vm(name, name, drained_by="alice" if name == "a" else "") for name in "abc"]
    made = make(vms, options=Options(batches=[1], capacity=0.6, overrides=["drained"]))
    assert {refusal.code for refusal in made.refused} == {"capacity"}
    assert [batch.serving_meanwhile for batch in made.batches] == [2, 1, 1]
    assert made.batches[0].vms == ["a"], "nobody loses anything by it"


def test_a_sick_vm_that_an_operator_drains_is_unready_too() -> None:
    options = Options(batches=[1], capacity=0, overrides=["drained"])
    made = make([vm("a", ready=False, drained_by="alice")], options=options)
    assert [refusal.code for refusal in made.refused] == ["unready"]


def test_the_first_release_of_a_fleet_finds_nothing_ready() -> None:
    vms = [vm(n, ready=False, serving=False, release="") for n in "abc"]
    made = make(vms, desired="", running={})
    assert codes(made) == set()
    assert made.before == ""


def test_an_override_lets_only_its_own_code_pass() -> None:
    options = Options(batches=[1], capacity=0.6, overrides=["unready"])
    made = make([vm("a", ready=False)], options=options)
    assert [refusal.code for refusal in made.refused] == ["capacity"]
    with pytest.raises(ConfigurationError, match="image"):
        make([vm("a")], options=Options(batches=[1], capacity=0.6, overrides=["image"]))


@pytest.mark.parametrize("sizes", [[], [0], ["0%"], ["101%"], ["many"], [-1]])
def test_sizes_that_mean_nothing_stop_at_once(sizes: list[int | str]) -> None:
    with pytest.raises(ConfigurationError, match=r"batch|size"):
        make([vm("a")], options=Options(batches=sizes, capacity=0.6))


NAMES = {"iap": "http-iap", "internal": "http-internal", "health": "http-health"}
IMAGE = {"iap": 8080, "internal": 8081, "health": 8082}


def listeners(**ports: tuple[int, ...]) -> Listeners:
    """Of a release's edge.yml; a second number is `also`."""
    made = {
        name: Listener(
            name=NAMES[name], port=numbers[0], also=numbers[1] if len(numbers) > 1 else None
        )
        for name, numbers in ({name: (port,) for name, port in IMAGE.items()} | ports).items()
    }
    return Listeners(**made)


@pytest.mark.parametrize(
    ("here", "named", "deaf"),
    [
        (listeners(), {"http-iap": 8080, "http-health": 8082}, False),
        (listeners(iap=(9180,)), {"http-iap": 8080}, True),
        (listeners(health=(9182,)), {"http-health": 8082}, True),
        (listeners(iap=(9180, 8080)), {"http-iap": 8080}, False),  # on its way there
        (listeners(iap=(9180, 8080)), {"http-iap": 9180}, False),
        (listeners(), {"http-iap": 9180}, True),  # a rollback after a move
        (
            None,
            {"http-iap": 8080},
            False,
        ),  # a release whose bundle has no edge.yml: the image's ports
        (None, {"http-iap": 9180}, True),
        (listeners(iap=(9180,)), {}, False),  # a group without named ports
        (listeners(iap=(9180,)), {"ssh": 22}, False),
    ],
)
def test_a_release_that_would_not_listen_where_load_balancers_send_is_refused(
    here: Listeners | None, named: dict[str, int], deaf: bool
) -> None:
    vms = [vm("a", image_ports=IMAGE), vm("b", image_ports=IMAGE)]
    group = Group(target_size=2, named_ports=named)
    made = make(vms, listeners=here, names=NAMES, group=group)
    assert ("ports" in codes(made)) is deaf
    assert "ports" not in plan.OVERRIDES


def test_a_vm_that_was_told_its_ports_listens_there_whatever_the_release() -> None:
    group = Group(target_size=1, named_ports={"http-iap": 7001})
    told = [vm("a", image_ports=IMAGE, host_ports={"iap": 7001})]
    assert "ports" not in codes(make(told, listeners=listeners(), names=NAMES, group=group))
    refused = make(
        [vm("a", image_ports=IMAGE)], listeners=listeners(), names=NAMES, group=group
    ).refused
    refusal = next(found for found in refused if found.code == "ports")
    assert "port 7001 (http-iap)" in refusal.words
    assert "a would listen on 8080" in refusal.words
