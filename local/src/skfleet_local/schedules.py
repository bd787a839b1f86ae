"""Scaling schedules: the VMs that an autoscaler must have at a time, whatever the load is.

Pure: when a schedule is in force follows from its cron expression, length and time zone.
Source: Google's page on scaling schedules, and `AutoscalingPolicyScalingSchedule` in its API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, CroniterError, croniter


@dataclass(frozen=True, slots=True)
class Schedule:
    """So many VMs at least, for `duration_s` from each time that `cron` names.

    `cron`: minute, hour, day of the month, month, day of the week, and a year if wanted.
    """

    name: str
    minimum: int
    cron: str
    duration_s: float
    time_zone: str = "UTC"
    disabled: bool = False

    def __post_init__(self) -> None:
        """ValueError for a schedule that means nothing."""
        _times(self.cron)
        _zone(self.time_zone)
        if self.duration_s < 300:
            raise ValueError(f"schedule '{self.name}' lasts less than 300 s")

    def in_force(self, now: float) -> bool:
        """Whether a time that `cron` names lies less than `duration_s` back. `now`: Unix seconds."""
        if self.disabled:
            return False
        moment = datetime.fromtimestamp(now, _zone(self.time_zone))
        try:
            # The last time before the next second: now itself is one.
            start = croniter(_times(self.cron), moment + timedelta(seconds=1)).get_prev(float)
        except CroniterBadDateError:  # none yet
            return False
        return bool(now - start < self.duration_s)


def minimum(schedules: Iterable[Schedule], now: float) -> tuple[int, str]:
    """The most VMs that a schedule in force asks for, and its name; 0 where there is none."""
    found = [(one.minimum, one.name) for one in schedules if one.in_force(now)]
    return max(found, default=(0, ""))


@cache
def _zone(name: str) -> tzinfo:
    if name in ("", "UTC", "Etc/UTC"):
        return UTC  # needs no database
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise ValueError(f"there is no time zone '{name}'") from None


@cache
def _times(cron: str) -> str:
    """As croniter reads it: a second before the year. ValueError for what is no cron expression."""
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise ValueError(f"'{cron}' is no cron expression: five fields, or six with a year")
    times = " ".join([*fields[:5], "0", *fields[5:]])
    try:
        croniter(times)
    except CroniterError as error:
        raise ValueError(f"'{cron}' is no cron expression: {error}") from None
    return times
