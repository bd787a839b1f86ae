"""A release goes from fleet to fleet in waves, and no further than the first that does not get there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from skfleet.ansible_data import unsafe_yaml
from skfleet_testing import planted
from skfleet_testing.fleet import Fleet, Result, serving

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A second fleet, with a bucket of its own."""
    with serving(tmp_path_factory.mktemp("another"), 2, 180) as made:
        yield made


def in_waves(fleet: Fleet, waves: list[list[str]], *arguments: str, **extra: Any) -> Result:
    """The playbook; the local inventory takes everything about a fleet from the environment."""
    environments = {
        name: {key: value for key, value in one.environment.items() if os.environ.get(key) != value}
        for name, one in extra.pop("fleets").items()
    }
    return fleet.playbook("waves", *arguments, waves=waves, waves_environment=environments, **extra)


def test_a_wave_that_goes_back_is_the_last(at_a: Fleet) -> None:
    fleets = {"first": at_a}
    text = planted.text(at_a.directory)
    reason = at_a.directory / "reason.yml"
    reason.write_text(unsafe_yaml({"rollout_reason": text}))
    options = {"fleets": fleets, "release": "broken", "waves_soak_s": 0}
    result = in_waves(at_a, [["first"], ["second"]], "-e", f"@{reason}", **options)
    assert result.code != 0
    assert "first did not get to broken" in result.output
    assert "There: none. Not begun: second." in result.output
    assert result.evidence["verdict"] == "rolled-back"
    assert result.evidence["reason"] == text
    assert not planted.ran(at_a.directory)
    at_a.assert_at("a")


def test_waves_that_are_none_are_refused(at_a: Fleet) -> None:
    for waves in ([], [[]], [["first"], ["first"]]):
        result = in_waves(at_a, waves, fleets={}, release="b")
        assert result.code != 0
        assert "Name a release and the waves" in result.output


@pytest.mark.full
def test_fleets_move_one_after_another_each_with_its_own_desired_release(
    at_a: Fleet, another: Fleet
) -> None:
    fleets = {"first": at_a, "second": another}
    options = {"fleets": fleets, "release": "b", "waves_soak_s": 1, "rollout_soak_s": 1}
    planned = in_waves(at_a, [["first"], ["second"]], "--check", **options)
    assert planned.code == 0, planned.output[-3000:]
    assert all(vm["name"] in planned.output for one in fleets.values() for vm in one.shell.status())
    at_a.assert_at("a")
    another.assert_at("a", minimum=2)

    before = set((at_a.directory / "evidence").glob("*.json"))
    result = in_waves(at_a, [["first"], ["second"]], **options)
    assert result.code == 0, result.output[-3000:]
    at_a.assert_at("b")
    another.assert_at("b", minimum=2)
    written = sorted(set((at_a.directory / "evidence").glob("*.json")) - before)
    assert len(written) == 2

    # Where all are there already, nothing is done.
    again = in_waves(at_a, [["first", "second"]], **options)
    assert again.code == 0, again.output[-3000:]
    assert set((at_a.directory / "evidence").glob("*.json")) == before | set(written)
    back = in_waves(at_a, [["second", "first"]], **{**options, "release": "a"})
    assert back.code == 0, back.output[-3000:]
    at_a.assert_at("a")
    another.assert_at("a", minimum=2)
