"""A new image reaches the group without a lost request; one that does not pass leaves nothing behind."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skfleet_testing.fleet import VMS, Fleet, assert_clean

from .test_rollouts import BRIEF, OVERRIDE, identities

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(900)]


def baked(fleet: Fleet, name: str) -> str:
    """An image with a template of that name, baked when it is first asked for."""
    if not fleet.shell.run.image_named(name).exists():
        fleet.command("skfleet-local", "image", name)
    return name


def spoilt(fleet: Fleet, name: str) -> str:
    """The same, of which no VM ever converges."""
    converge = fleet.shell.run.image_named(baked(fleet, name)) / "runtime/bin/skfleet-converge"
    good = converge.read_text()
    converge.unlink()  # it may be a link to uv's cache
    converge.write_text("#!/bin/sh\necho this image is broken\nexit 1\n")
    converge.chmod(0o755)
    return good


def mend(fleet: Fleet, name: str, good: str) -> None:
    converge = fleet.shell.run.image_named(name) / "runtime/bin/skfleet-converge"
    converge.write_text(good)


def of_the_group(fleet: Fleet) -> str:
    (version,) = fleet.group()["versions"]
    return str(version["instanceTemplate"]).rpartition("/")[2]


def other(fleet: Fleet) -> str:
    """A good image that the group is not of."""
    return baked(fleet, "better" if of_the_group(fleet) == "good" else "good")


def assert_all_of(fleet: Fleet, image: str) -> None:
    fleet.shell.wait("as many VMs as before", lambda vms: len(vms) == VMS, 60)
    fleet.assert_at("a")
    assert set(fleet.templates().values()) == {image}
    assert of_the_group(fleet) == image
    assert fleet.group()["targetSize"] == VMS


def steps(result: Any, name: str) -> list[dict[str, Any]]:
    return [event for event in result.evidence["events"] if event["step"] == name]


def test_a_check_prints_the_plan_and_changes_nothing(at_a: Fleet) -> None:
    before = (at_a.command("skfleet-local", "status", "--json"), at_a.group()["versions"])
    image = other(at_a)
    result = at_a.playbook("replace", "--check", image=image)
    assert result.code == 0, result.output[-3000:]
    said = " ".join(result.output.split())
    assert f"Image '{image}' instead of '{of_the_group(at_a)}'." in said
    assert f"1 VMs of it come beside the {VMS} there are" in said
    assert f"{VMS} VMs serve meanwhile" in said
    after = (at_a.command("skfleet-local", "status", "--json"), at_a.group()["versions"])
    assert identities(before[0]) == identities(after[0])
    assert before[1] == after[1]
    missing = at_a.playbook("replace", image="none")
    assert missing.code != 0
    assert "instanceTemplates/none' was not found" in missing.output
    at_a.assert_at("a")


@pytest.mark.load
@pytest.mark.full
def test_a_new_image_loses_no_request(at_a: Fleet) -> None:
    image = other(at_a)
    with at_a.witnessed() as record:
        result = at_a.playbook("replace", image=image)
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    assert set(record["releases"]) == {"a"}
    assert_all_of(at_a, image)
    for vm in at_a.shell.status():
        runtime = at_a.shell.run.vms / vm["name"] / "opt/skfleet/runtime"
        assert runtime.resolve() == at_a.shell.run.image_named(image) / "runtime"
    assert result.evidence["verdict"] == "rolled-out"
    # The canary had come, and had been judged, before anything was drained.
    order = [event["step"] for event in result.evidence["events"]]
    assert (
        order.index("surge") < order.index("soak") < order.index("promote") < order.index("drain")
    )
    assert len(steps(result, "recreate")) == VMS
    again = at_a.playbook("replace", image=image)
    assert again.code == 0
    assert "nothing to do" in again.output


@pytest.mark.full
def test_an_operators_drain_survives_a_replacement(at_a: Fleet) -> None:
    vm, image = at_a.shell.status()[0]["name"], other(at_a)
    alice = {"SKFLEET_OPERATOR": "alice"}
    assert at_a.playbook("drain", env=alice, host=vm).code == 0
    refused = at_a.playbook("replace", image=image, **BRIEF)
    assert refused.code != 0
    assert f"(drained): {vm} is drained by alice" in refused.output
    assert at_a.marks() == [vm]
    result = at_a.playbook("replace", image=image, **BRIEF, **OVERRIDE)
    assert result.code == 0, result.output[-3000:]
    assert at_a.marks() == [vm]
    assert set(at_a.templates().values()) == {image}
    assert at_a.playbook("drain", env=alice, host=vm, state="serving").code == 0
    assert_all_of(at_a, image)


@pytest.mark.load
@pytest.mark.full
def test_an_image_that_does_not_come_up_goes_back(at_a: Fleet) -> None:
    before, was = identities(at_a.command("skfleet-local", "status", "--json")), of_the_group(at_a)
    spoilt(at_a, "bad")
    with at_a.witnessed() as record:
        result = at_a.playbook("replace", image="bad", rollout_settle_s=60)
    assert result.code != 0
    assert_clean(record)
    assert result.evidence["verdict"] == "rolled-back", result.words
    assert f"Image 'bad' did not pass, and the fleet is back at '{was}'." in result.words
    assert "0 of 1 VMs serve" in result.words
    assert not steps(result, "drain"), "no VM was touched for it"
    assert_all_of(at_a, was)
    assert identities(at_a.command("skfleet-local", "status", "--json")) == before


@pytest.mark.load
@pytest.mark.full
def test_a_replacement_that_fails_later_takes_the_first_ones_back(at_a: Fleet) -> None:
    """The image is good for the canary, and bad from the second VM on."""
    was, image = of_the_group(at_a), other(at_a)
    good: list[str] = []

    def spoil(_: str) -> None:
        good.append(spoilt(at_a, image))

    try:
        with at_a.witnessed() as record, at_a.when("undrain", spoil, nth=2):
            result = at_a.playbook("replace", image=image, rollout_settle_s=60)
    finally:
        mend(at_a, image, *good)
    assert good
    assert result.code != 0
    assert result.evidence["verdict"] == "rolled-back", result.words
    assert_clean(record)
    assert_all_of(at_a, was)


@pytest.mark.full
def test_a_killed_replacement_is_mended_by_the_next(at_a: Fleet) -> None:
    image = other(at_a)
    killed = at_a.kill_after("recreate", "replace", image=image)
    assert killed.code == -9
    at_a.wait_until_at_rest()
    result = at_a.playbook("replace", image=image)
    assert result.code == 0, result.output[-3000:]
    at_a.shell.wait("as many VMs as at first", lambda vms: len(vms) == VMS, 180)
    assert_all_of(at_a, image)


@pytest.mark.full
def test_a_quota_that_keeps_the_canary_from_coming_is_named(at_a: Fleet) -> None:
    was = of_the_group(at_a)
    at_a.command("skfleet-local", "break", "quota", str(VMS))
    try:
        result = at_a.playbook("replace", image=other(at_a), rollout_settle_s=15)
    finally:
        at_a.command("skfleet-local", "break", "quota", "--end")
    assert result.code != 0
    assert "Quota 'INSTANCES' exceeded" in result.words
    assert not steps(result, "drain")
    assert_all_of(at_a, was)
    assert json.loads(at_a.command("skfleet-local", "status", "--json"))["vms"]
