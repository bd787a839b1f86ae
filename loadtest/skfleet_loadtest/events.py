"""What happened around a run, from a file of JSON lines that others write while it goes on.

Two forms are read: `{"at", "vm", "event", "reason"}`, what the group did (the local fleet keeps such a
file), and `{"at", "step", "host"}`, a step of a rollout. `at` is RFC 3339 or Unix seconds. Lines of
other forms are left out: the report must not fail for a stranger's line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_GONE = frozenset({"deleted"})


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment: a step of a rollout."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """A VM in one state, from one event to the next."""

    name: str
    start: float
    end: float
    state: str


@dataclass(frozen=True, slots=True)
class Events:
    """All that is shown."""

    marks: tuple[Mark, ...] = ()
    spans: tuple[Span, ...] = ()


def read(path: Path | None, start: float, end: float) -> Events:
    """The events between two times; VMs' states that began earlier included."""
    if path is None or not path.exists():
        return Events()
    return parse(path.read_text().splitlines(), start, end)


def parse(lines: Iterable[str], start: float, end: float) -> Events:
    """As `read`, of lines."""
    marks: list[Mark] = []
    states: dict[str, list[tuple[float, str]]] = {}
    for line in lines:
        event = _event(line)
        if event is None:
            continue
        at = event["at"]
        if "step" in event and start <= at <= end:
            marks.append(
                Mark(at, " ".join(str(event[k]) for k in ("step", "host") if event.get(k)))
            )
        elif event.get("vm") and event.get("event"):
            states.setdefault(str(event["vm"]), []).append((at, str(event["event"])))
    spans = [
        Span(name, max(at, start), min(until, end), state)
        for name, changes in sorted(states.items())
        for (at, state), (until, _) in zip(changes, [*changes[1:], (end, "")], strict=True)
        if state not in _GONE and until > start and at < end
    ]
    return Events(tuple(marks), tuple(spans))


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        event["at"] = _time(event["at"])
    except (ValueError, KeyError, TypeError):
        return None
    return event if isinstance(event, dict) else None


def _time(value: Any) -> float:
    if isinstance(value, (int, float)):
        return float(value)
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
