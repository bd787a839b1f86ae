"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Result:
    """One finding: what was looked at, how it stands, what was seen, and how to mend it."""

    name: str
    verdict: Verdict
    seen: str
    mend: str = ""


def ok(name: str, seen: str) -> Result:
    """As it should be."""
    return Result(name, "ok", seen)


def warn(name: str, seen: str, mend: str) -> Result:
    """Works now, or could not be seen."""
    return Result(name, "warn", seen, mend)


def fail(name: str, seen: str, mend: str) -> Result:
    """The fleet cannot work, or stops working, while this lasts."""
    return Result(name, "fail", seen, mend)
