"""A controller killed by kill -9 leaves nothing that the next run does not mend.

The boundaries come from a whole run: the beginning of each of its tasks, where anything outside the
controller's memory was asked since the boundary before; between the others a kill leaves the same behind.
`make test-full` goes through all of them, otherwise a seeded sample, most of it where VMs are touched.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest

from skfleet_testing.fleet import FULL, SEED, VMS, Fleet, Result, sampled

# Where several files run at a time these are long enough for a fleet of their own.
pytestmark = [pytest.mark.fleet, pytest.mark.xdist_group("second-fleet")]

SAMPLE = 2
# Shorter than elsewhere: what is held here is state, and no gate's verdict.
BRIEF = {"rollout_soak_s": 1, "rollout_expected_s": {}, "rollout_capacity": 0.5}


@dataclass(frozen=True)
class Boundary:
    """The beginning of a task: its place among a run's tasks."""

    number: int
    play: str
    task: str


def boundaries(lines: list[str]) -> list[Boundary]:
    """From the log of a whole run; a task that comes again, for another VM, at one of its times, by seed."""
    found: dict[tuple[str, str], list[Boundary]] = {}
    acted = True  # the first: nothing is taken yet
    for line in lines:
        number, play, task, since = line.split("\t")
        acted = acted or since == "1"
        if acted:
            found.setdefault((play, task), []).append(Boundary(int(number), play, task))
            acted = False
    return [
        random.Random(f"{SEED}{key}").choice(times)  # noqa: S311 - no secret
        for key, times in found.items()
    ]


def chosen(everything: list[Boundary]) -> list[Boundary]:
    """All of them, or the sample: what touches VMs has most of it."""
    touching = [boundary for boundary in everything if boundary.play == "Roll"]
    others = [boundary for boundary in everything if boundary.play != "Roll"]
    if FULL:
        return everything
    return [*sampled(touching, SAMPLE - 1, "touching"), *sampled(others, 1, "others")]


def rolled(fleet: Fleet, release: str) -> Result:
    """A run that nobody kills. One that finds VMs coming or going is started again, as anybody would."""
    for _ in range(3):
        fleet.wait_until_at_rest()
        result = fleet.playbook("rollout", release=release, **BRIEF)
        if result.evidence.get("verdict") != "refused":
            break
    return result


@pytest.mark.timeout(0 if FULL else 900)
def test_the_next_run_mends_what_a_killed_one_left(
    at_a: Fleet, request: pytest.FixtureRequest
) -> None:
    whole, lines = at_a.tasks("rollout", release="b", **BRIEF)
    assert whole.code == 0, whole.output[-3000:]
    at = {"a": "b", "b": "a"}
    here = "b"
    report = request.config.get_terminal_writer()
    for boundary in chosen(boundaries(lines)):
        at_a.wait_until_at_rest()
        killed = at_a.kill_at(boundary.number, "rollout", release=at[here], **BRIEF)
        marks = at_a.marks()
        # On to the release of the killed run, or back: both must do.
        wanted = random.Random(f"{SEED}{boundary}").choice("ab")  # noqa: S311 - no secret
        result = rolled(at_a, wanted)
        told = (
            f"killed at {boundary.number} '{boundary.task}' of '{boundary.play}', then '{wanted}'"
        )
        report.line(f"{told}: {killed.code}, {killed.seconds:.0f} s, {result.seconds:.0f} s")
        assert killed.code in (0, -9), f"{told}: {killed.output[-3000:]}"
        assert len(marks) <= 1, f"{told}: more than one VM out of traffic"
        assert result.code == 0, f"{told}: {result.output[-3000:]}"
        at_a.assert_at(wanted)
        here = wanted


@pytest.mark.timeout(600)
def test_unlock_gives_back_what_a_killed_run_took(at_a: Fleet) -> None:
    with at_a.when("drain", lambda _: None) as drained:
        killed = at_a.kill_after("activate", "rollout", release="b", **BRIEF)
    assert killed.code == -9
    assert drained
    assert at_a.marks()
    assert at_a.autoscaler()[0] == "ONLY_SCALE_OUT"
    status = at_a.playbook("status")
    assert status.code != 0
    assert "unlock.yml" in status.output
    assert at_a.playbook("unlock", "--check").code == 0
    assert at_a.document("lock.json")["holder"], "a check gives nothing back"
    assert at_a.playbook("unlock").code == 0
    lock = at_a.document("lock.json")
    assert (lock["holder"], lock["owed"]) == (None, None)
    assert at_a.autoscaler() == ("ON", VMS)
    assert rolled(at_a, "a").code == 0
    at_a.assert_at("a")


@pytest.mark.full
@pytest.mark.timeout(600)
def test_a_controller_that_lost_its_lease_touches_nothing_more(at_a: Fleet) -> None:
    def unlock(_: str) -> None:
        assert at_a.playbook("unlock").code == 0

    with at_a.when("stage", unlock, nth=1):
        result = at_a.playbook("rollout", release="b", rollout_soak_s=20)
    assert result.code != 0
    assert "lease" in result.words
    assert at_a.document("desired.json")["current"]["release"] == "a"
    assert rolled(at_a, "a").code == 0
    at_a.assert_at("a")
