"""Good releases reach the whole fleet without a failed, wrong or slow request."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from skfleet.ansible_data import unsafe_yaml
from skfleet_local.demo.fleet import serves
from skfleet_testing import planted
from skfleet_testing.fleet import REPOSITORY, VMS, Fleet, assert_clean

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


def test_a_check_prints_the_plan_and_changes_nothing(at_a: Fleet) -> None:
    before = at_a.command("skfleet-local", "status", "--json")
    result = at_a.playbook("rollout", "--check", release="m")
    assert result.code == 0, result.output
    assert "golden predictions change" in result.output
    assert f"reload; {VMS} VMs serve meanwhile" in result.output
    result = at_a.playbook("rollout", "--check", release="b")
    assert "settings.threads: – → 2" in result.output
    assert f"drain, restart; {VMS - 1} VMs serve meanwhile" in result.output
    assert not result.evidence
    after = at_a.command("skfleet-local", "status", "--json")
    assert identities(before) == identities(after)
    assert at_a.document("desired.json")["current"]["release"] == "a"


def identities(status: str) -> Any:
    return [(vm["name"], vm["id"], vm["release"]) for vm in json.loads(status)["vms"]]


@pytest.mark.load
def test_a_rollout_and_its_rollback_lose_no_request(at_a: Fleet) -> None:
    text = planted.text(at_a.directory)
    reason = at_a.directory / "reason.yml"
    reason.write_text(unsafe_yaml({"rollout_reason": text}))
    env = {"SKFLEET_OPERATOR": text}
    with at_a.witnessed() as record:
        result = at_a.playbook("rollout", "-e", f"@{reason}", release="b", env=env)
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    assert set(record["releases"]) == {"a", "b"}, "traffic on both sides of the rollout"
    at_a.assert_at("b")
    at_a.assert_nothing_ran("b")
    assert (result.evidence["reason"], result.evidence["by"]) == (text, text)
    assert at_a.document("desired.json")["current"]["reason"] == text
    assert result.evidence["verdict"] == "rolled-out"
    assert at_a.document(f"rollouts/{result.evidence['id']}.json") == result.evidence

    at_a.wait_until_at_rest()
    with at_a.witnessed() as record:
        result = at_a.playbook("rollback")
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    at_a.assert_at("a")


@pytest.mark.load
def test_a_promotion_reloads_and_loses_no_request(at_a: Fleet) -> None:
    with at_a.witnessed() as record:
        result = at_a.playbook("promote_model", model="flight-delay")
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    release = result.evidence["release"]
    at_a.assert_at(release)
    planned = [vm for batch in result.evidence["plan"]["batches"] for vm in batch["vms"]]
    assert {vm for vm, host in result.evidence["hosts"].items() if host["hot"]} >= set(planned)
    assert not {event["step"] for event in result.evidence["events"]} & {"drain", "surge"}
    assert set(record["releases"]) == {"a", release}


@pytest.mark.load
def test_a_configuration_loses_no_request(at_a: Fleet) -> None:
    with at_a.witnessed() as record:
        result = at_a.playbook("configure", settings={"max_in_flight": 200})
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    at_a.assert_at(result.evidence["release"])


def test_the_same_release_again_does_nothing(at_a: Fleet) -> None:
    result = at_a.playbook("rollout", release="a")
    assert result.code == 0, result.output
    assert "nothing to do" in result.output
    assert not result.evidence


def test_a_drained_vm_gets_no_request_and_its_traffic_back(at_a: Fleet) -> None:
    vm = at_a.shell.status()[0]["name"]
    assert at_a.playbook("drain", host=vm).code == 0
    state = {v["name"]: (v["external"], v["internal"]) for v in at_a.shell.status()}
    assert "HEALTHY" not in state[vm]
    assert at_a.playbook("status").code != 0, "a drained VM is worth a look"
    assert at_a.playbook("drain", host=vm, state="serving").code == 0
    assert at_a.playbook("status").code == 0


# All at once and short: what is held here is who drains what.
BRIEF = {"rollout_soak_s": 1, "rollout_batches": ["100%"], "rollout_capacity": 0}
OVERRIDE = {"rollout_override": ["drained"], "rollout_reason": "it is looked at"}


def test_a_vm_that_an_operator_drains_stays_drained(at_a: Fleet) -> None:
    """A rollout is refused; one that is overridden moves the VM, forth and back, and leaves it drained."""
    vm = at_a.shell.status()[0]["name"]
    alice, bob = {"SKFLEET_OPERATOR": "alice"}, {"SKFLEET_OPERATOR": "bob"}
    assert at_a.playbook("drain", env=alice, host=vm).code == 0

    # Another model alone: the others reload, and this one restarts, out of traffic as it is.
    refused = at_a.playbook("rollout", release="m", **BRIEF)
    assert refused.code != 0
    assert f"(drained): {vm} is drained by alice" in refused.output
    assert refused.evidence["verdict"] == "refused"
    assert at_a.marks() == [vm]
    assert at_a.document("lock.json")["holder"] is None

    for name, arguments, release in (("rollout", {"release": "m"}, "m"), ("rollback", {}, "a")):
        result = at_a.playbook(name, **arguments, **BRIEF, **OVERRIDE)
        assert result.code == 0, result.output[-3000:]
        assert {found["release"] for found in at_a.shell.status()} == {release}
        assert at_a.marks() == [vm]
        lock = at_a.document("lock.json")
        assert (lock["holder"], lock["left_by"]) == (None, "")

    undrained = at_a.playbook("drain", env=bob, host=vm, state="serving")
    assert undrained.code != 0
    assert "drained by alice, not by bob" in undrained.output
    assert at_a.marks() == [vm]
    assert at_a.playbook("drain", env=alice, host=vm, state="serving").code == 0
    at_a.assert_at("a")


def test_a_drain_of_no_vm_fails(at_a: Fleet) -> None:
    for arguments in ({}, {"host": "nobody"}, {"host": "fleet"}):
        result = at_a.playbook("drain", **arguments)
        assert result.code != 0, arguments
        assert "Invalid host" in result.output
    assert not at_a.marks()


@pytest.mark.load
def test_the_witness_sees_what_a_restart_without_drain_loses(at_a: Fleet) -> None:
    """The negative control: no drain and no retries must show failures, or none would ever show."""
    at_a.command("skfleet-local", "break", "retries")
    try:
        with at_a.witnessed(enough=2000) as record:
            for vm in at_a.shell.status():
                at_a.restart_service(vm)
                at_a.shell.wait("it is back", lambda vms: all(serves(vm, "a") for vm in vms), 60)
    finally:
        at_a.command("skfleet-local", "break", "retries", "--end")
    assert record["failed"] >= 1, "this load witness would not see a lost request"


def test_no_task_asks_whether_it_is_cloud_or_local() -> None:
    """Only the inventories' variables differ. Words for people may name both."""
    asking = re.compile(
        r"inventor(y_file|y_dir|ies)|skfleet_local|gcp|time_scale *(==|!=|>|<)", re.I
    )
    decides = re.compile(r"^[- ]*(when|that|failed_when|changed_when|until):(.*)|\{\{(.*?)\}\}")
    looked_at = 0
    for path in [
        *(REPOSITORY / "playbooks").glob("*.yml"),
        *REPOSITORY.glob("playbooks/tasks/*.yml"),
    ]:
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            for match in decides.finditer(line):
                looked_at += 1
                assert not asking.search(match[0]), f"{path.name}:{number}: {line}"
    assert looked_at > 100
