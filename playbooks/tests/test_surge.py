"""Where too few VMs would serve, others come first; where they cannot, it says why, and nothing moves."""

from __future__ import annotations

import pytest

from skfleet_testing.fleet import Fleet

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("second-fleet"),  # see test_killed.py
]

BRIEF = {"rollout_soak_s": 1, "rollout_batches": [1, "100%"], "rollout_capacity": 1.0}


def test_no_vm_is_drained_before_another_has_come(at_a: Fleet) -> None:
    planned = at_a.playbook("rollout", "--check", release="b", **BRIEF)
    assert "after 1 more VMs have come" in " ".join(planned.output.split()), planned.output
    result = at_a.playbook("rollout", release="b", **BRIEF)
    assert result.code == 0, result.output[-3000:]
    assert len(result.evidence["hosts"]) > 3, "nobody came"
    at_a.assert_at("b")


def test_a_quota_that_keeps_vms_from_coming_is_named_and_nothing_moves(at_a: Fleet) -> None:
    vms = len([vm for vm in at_a.shell.status() if vm["phase"] == "run"])
    at_a.command("skfleet-local", "scale", "3")
    at_a.shell.wait("three VMs", lambda found: len(found) == 3, 120)
    at_a.wait_until_at_rest()
    at_a.command("skfleet-local", "break", "quota", "3")
    try:
        result = at_a.playbook("rollout", release="b", **{**BRIEF, "rollout_settle_s": 15})
    finally:
        at_a.command("skfleet-local", "break", "quota", "--end")
    assert result.code != 0
    assert result.evidence["verdict"] == "rolled-back", result.words
    assert "Quota 'INSTANCES' exceeded" in result.words, (vms, result.words)
    assert not [event for event in result.evidence["events"] if event["step"] == "drain"]
    at_a.wait_until_at_rest()
    at_a.assert_at("a")
