"""A scaling schedule is in force from each time that its cron expression names, for its length."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from skfleet_operator.instance_group.autoscaler import policy, scheduled
from skfleet_operator.instance_group.schedules import Schedule, minimum


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def schedule(cron: str, duration_s: float = 3600, zone: str = "UTC") -> Schedule:
    return Schedule(name="s", minimum=5, cron=cron, duration_s=duration_s, time_zone=zone)


@pytest.mark.parametrize(
    ("cron", "moment", "there"),
    [
        ("30 8 * * *", "2026-03-02T08:29:59", False),
        ("30 8 * * *", "2026-03-02T08:30:00", True),
        ("30 8 * * *", "2026-03-02T09:29:59", True),
        ("30 8 * * *", "2026-03-02T09:30:00", False),
        ("30 23 * * *", "2026-03-02T00:10:00", True),  # begun the day before
        ("0 8 * * mon-fri", "2026-03-02T08:10:00", True),  # a Monday
        ("0 8 * * 1-5", "2026-03-01T08:10:00", False),
        ("0 8 * * 7", "2026-03-01T08:10:00", True),
        ("0 */6 * * *", "2026-03-01T18:59:00", True),
        ("0 8 1 * fri", "2026-03-01T08:10:00", True),  # the first, or any Friday
        ("0 8 24 dec * 2026", "2026-12-24T08:10:00", True),
        ("0 8 24 dec * 2027", "2026-12-24T08:10:00", False),  # none yet
        ("0 8 24 dec * 2020", "2026-12-24T08:10:00", False),  # no more
    ],
)
def test_when_it_is_in_force(cron: str, moment: str, there: bool) -> None:
    assert schedule(cron).in_force(at(moment)) is there


def test_its_time_zone_counts_and_its_summer_time() -> None:
    berlin = schedule("0 9 * * *", zone="Europe/Berlin")
    assert berlin.in_force(at("2026-01-15T08:30:00"))
    assert not berlin.in_force(at("2026-07-15T08:30:00"))
    assert berlin.in_force(at("2026-07-15T07:30:00"))


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "61 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *", "R * * * *"]
)
def test_what_means_nothing_is_refused(cron: str) -> None:
    with pytest.raises(ValueError, match=r"cron expression"):
        schedule(cron)
    with pytest.raises(ValueError, match="time zone"):
        schedule("* * * * *", zone="Mars/Base")
    with pytest.raises(ValueError, match="300 s"):
        schedule("* * * * *", duration_s=60)


def test_the_largest_that_is_in_force_counts() -> None:
    now = at("2026-03-02T08:30:00")
    day = schedule("0 8 * * *")
    peak = Schedule(name="peak", minimum=9, cron="15 8 * * *", duration_s=3600)
    off = Schedule(name="off", minimum=50, cron="* * * * *", duration_s=3600, disabled=True)
    assert minimum([day, peak, off], now) == (9, "peak")
    assert minimum([day, peak, off], at("2026-03-02T08:10:00")) == (5, "s")
    assert minimum([off], now) == (0, "")


def test_it_raises_the_autoscalers_minimum_up_to_its_maximum() -> None:
    form = {
        "autoscalingPolicy": {
            "minNumReplicas": 3,
            "maxNumReplicas": 6,
            "stabilizationPeriodSec": 300,
            "coolDownPeriodSec": 90,
            "scaleInControl": {"maxScaledInReplicas": {"fixed": 1}, "timeWindowSec": 120},
            "scalingSchedules": {
                "opening": {"minRequiredReplicas": 8, "schedule": "0 8 * * *", "durationSec": 3600}
            },
        }
    }
    plain = policy(form, 600)
    assert (plain.stabilisation_s, plain.cool_down_s) == (300, 90)
    assert (plain.scale_in_fixed, plain.scale_in_window_s) == (1, 120)
    during, why = scheduled(form, plain, at("2026-03-02T08:30:00"))
    assert during.minimum == 6
    assert "opening" in why
    assert scheduled(form, plain, at("2026-03-02T07:30:00")) == (plain, "")
