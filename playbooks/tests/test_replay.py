"""A recorded rollout happens again, mishaps included, and what comes out differently is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from skfleet_testing.fleet import REPOSITORY, Fleet

from .test_going_back import assert_went_back, cut

__all__ = ["cut"]  # a fixture
pytestmark = [pytest.mark.fleet, pytest.mark.full, pytest.mark.timeout(1200)]


def replay(fleet: Fleet, record: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "skfleet_local.cli", "replay", str(record), *options],
        cwd=REPOSITORY,
        env={**os.environ, **fleet.environment},
        capture_output=True,
        text=True,
        check=False,
    )


def written(fleet: Fleet, evidence: dict[str, Any]) -> Path:
    path = fleet.directory / "record.json"
    path.write_text(json.dumps(evidence))
    return path


def test_a_vm_that_was_lost_is_lost_again(at_a: Fleet, cut: Any) -> None:
    inventory, cut_off = cut
    with at_a.when("drain", cut_off) as lost:
        result = at_a.playbook("rollout", inventory=inventory, release="b", rollout_soak_s=1)
    assert lost
    assert_went_back(at_a, result, "cannot be reached", "was recreated")
    at_a.wait_until_at_rest()
    again = replay(at_a, written(at_a, result.evidence))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "is lost at" in again.stdout
    at_a.assert_at("a")

    # The control: a record that says otherwise is not the same.
    at_a.wait_until_at_rest()
    tampered = {**result.evidence, "verdict": "rolled-out"}
    again = replay(at_a, written(at_a, tampered))
    assert again.returncode == 1, again.stdout + again.stderr
    assert "The verdict was rolled-out, and is rolled-back." in again.stdout


def test_a_release_of_elsewhere_is_made_again_and_a_killed_controller_is_killed_again(
    at_a: Fleet,
) -> None:
    killed = at_a.kill_after("activate", "rollout", release="b", rollout_soak_s=1)
    assert killed.code == -9
    at_a.wait_until_at_rest()
    result = at_a.playbook("rollout", release="b", rollout_soak_s=1)
    assert result.code == 0, result.output[-3000:]
    assert result.evidence["predecessors"][0]["events"] > 0
    # The replay itself brings the fleet back to where the record began. `elsewhere` is nowhere in this
    # bucket, and differs from `a` by a setting alone.
    text = json.dumps(result.evidence).replace('"b"', '"elsewhere"')
    again = replay(at_a, written(at_a, json.loads(text)))
    assert again.returncode == 0, again.stdout + again.stderr
    assert "stands for 'elsewhere'" in again.stdout
    assert "a controller is killed" in again.stdout
