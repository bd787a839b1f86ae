"""Scaling schedules: the VMs that an autoscaler must have at a time, whatever the load is.

Pure: when a schedule is in force follows from its cron expression, length and time zone. Read here, since
croniter takes more than Google does (`R`, `5-1`, `mon#1`) and means seconds by a sixth field.
Source: Google's page on scaling schedules, and `AutoscalingPolicyScalingSchedule` in its API.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache
from zoneinfo import ZoneInfo

_MONTHS = ("jan feb mar apr may jun jul aug sep oct nov dec").split()
_DAYS = ("sun mon tue wed thu fri sat").split()
# Field → first and last number, and names from the first on.
_FIELDS = (
    (0, 59, ()),  # minute
    (0, 23, ()),  # hour
    (1, 31, ()),  # day of the month
    (1, 12, _MONTHS),
    (0, 7, _DAYS),  # 0 and 7 are Sunday
    (1970, 9999, ()),  # year, which may be left out
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """So many VMs at least, for `duration_s` from each time that `cron` names."""

    name: str
    minimum: int
    cron: str
    duration_s: float
    time_zone: str = "UTC"
    disabled: bool = False

    def __post_init__(self) -> None:
        """ValueError for a schedule that means nothing."""
        _parsed(self.cron)
        _zone(self.time_zone)
        if self.duration_s < 300:
            raise ValueError(f"schedule '{self.name}' lasts less than 300 s")

    def in_force(self, now: float) -> bool:
        """Whether a time that `cron` names lies less than `duration_s` back. `now`: Unix seconds."""
        if self.disabled:
            return False
        begin = datetime.fromtimestamp(now, UTC).replace(second=0, microsecond=0)
        # A start is a whole minute; in the first one that may have ended the seconds decide.
        for back in range(int(self.duration_s // 60) + 1):
            start = begin - timedelta(minutes=back)
            if now - start.timestamp() < self.duration_s and self._starts(start):
                return True
        return False

    def _starts(self, minute: datetime) -> bool:
        at = minute.astimezone(_zone(self.time_zone))
        minutes, hours, days, months, weekdays, years = _parsed(self.cron)
        if at.minute not in minutes or at.hour not in hours or at.month not in months:
            return False
        if years and at.year not in years:
            return False
        # As cron does: where both days are given, one of them is enough.
        by_day, by_weekday = at.day in days, at.isoweekday() % 7 in weekdays
        fields = self.cron.split()
        if "*" not in (fields[2][0], fields[4][0]):
            return by_day or by_weekday
        return by_day and by_weekday


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
def _parsed(cron: str) -> tuple[frozenset[int], ...]:
    """The numbers of each field; the years are empty where none is named."""
    fields = cron.lower().split()
    if len(fields) not in (5, 6):
        raise ValueError(f"'{cron}' is no cron expression: five fields, or six with a year")
    found = [_numbers(text, *limits) for text, limits in zip(fields, _FIELDS, strict=False)]
    found[4] = frozenset(number % 7 for number in found[4])
    return (*found, frozenset()) if len(found) == 5 else tuple(found)


def _numbers(text: str, first: int, last: int, names: Iterable[str]) -> frozenset[int]:
    numbers: set[int] = set()
    known = {name: first + place for place, name in enumerate(names)}

    def number(word: str) -> int:
        return known[word] if word in known else int(word)

    for part in text.split(","):
        span, _, step = part.partition("/")
        low, dash, high = span.partition("-")
        try:
            start = first if span == "*" else number(low)
            end = number(high) if dash else start
            every = int(step) if step else 1
        except ValueError:
            raise ValueError(f"'{text}' is no field of a cron expression") from None
        if span == "*" or (step and not dash):
            end = last
        if not first <= start <= end <= last or every < 1:
            raise ValueError(f"'{text}' is no field of a cron expression")
        numbers.update(range(start, end + 1, every))
    return frozenset(numbers)
