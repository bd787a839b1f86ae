"""The shapes of load as pure functions of time: arrivals a second that the run asks for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from skfleet.errors import ConfigurationError

STEPS = 8
# The published test of the service that this one replaces.
ORIGINAL_CONNECTIONS = 190
ORIGINAL_SECONDS = 45
# A rate that changed is there a moment later: the leader tells the workers, who tell it back.
SETTLE_S = 3.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run that is judged by itself; times from the end of the warm-up."""

    start: float
    end: float
    rate: int


@dataclass(frozen=True, slots=True)
class Profile:
    """`rate(t)`: arrivals a second, t seconds after the warm-up. Before, it is `rate(0)`."""

    name: str
    duration_s: float
    peak: int
    rate: Callable[[float], int]
    phases: tuple[Phase, ...] = ()
    closed: bool = False  # `rate` is a number of connections, each waiting for its answer


@dataclass(frozen=True, slots=True)
class Default:
    """Rate and duration of a profile where none are asked for."""

    rate: int
    duration_s: float
    meaning: str


DEFAULTS = {
    "constant": Default(100, 90, "RATE requests a second"),
    "steps": Default(
        800, 160, f"{STEPS} steps up to RATE: finds the highest load that keeps the SLO"
    ),
    "spike": Default(
        200, 120, "a quarter of RATE, RATE at once for a third of the time, back again"
    ),
    "soak": Default(50, 3600, "RATE for an hour"),
    "day": Default(150, 300, "a day's curve: from 30 % of RATE at night to RATE at noon"),
    "original": Default(
        ORIGINAL_CONNECTIONS, ORIGINAL_SECONDS, "the original's test: RATE connections, form"
    ),
}


def make(name: str, rate: int, duration_s: float) -> Profile:
    """The profile of this name; ConfigurationError names the known ones."""
    if name not in DEFAULTS:
        raise ConfigurationError(
            f"There is no profile '{name}'.",
            where="PROFILE",
            hint="Known: " + ", ".join(DEFAULTS) + ".",
        )
    if rate < 1 or duration_s < 1:
        raise ConfigurationError("A run needs a rate and a time.", where="RATE, DURATION")
    if name == "steps":
        return _steps(rate, duration_s)
    if name == "spike":
        return Profile(name, duration_s, rate, _spike(rate, duration_s))
    if name == "day":
        return Profile(name, duration_s, rate, _day(rate, duration_s))
    return Profile(name, duration_s, rate, lambda _: rate, closed=name == "original")


def asked(profile: Profile, start: float, end: float) -> float:
    """Arrivals between two times after the warm-up, second by second as the leader sets the rate."""
    total, at = 0.0, start
    while at < end:
        until = min(math.floor(at) + 1, end)
        total += profile.rate(at) * (until - at)
        at = until
    return total


def _steps(rate: int, duration_s: float) -> Profile:
    rates = sorted({max(1, round(rate * number / STEPS)) for number in range(1, STEPS + 1)})
    length = duration_s / len(rates)
    phases = tuple(Phase(i * length, (i + 1) * length, step) for i, step in enumerate(rates))

    def at(seconds: float) -> int:
        return rates[min(max(int(seconds / length), 0), len(rates) - 1)]

    return Profile("steps", duration_s, rate, at, phases)


def _spike(rate: int, duration_s: float) -> Callable[[float], int]:
    base = max(1, rate // 4)
    return lambda seconds: rate if duration_s / 3 <= seconds < 2 * duration_s / 3 else base


def _day(rate: int, duration_s: float) -> Callable[[float], int]:
    def at(seconds: float) -> int:
        noon = math.sin(math.pi * min(max(seconds / duration_s, 0), 1)) ** 2
        return max(1, round(rate * (0.3 + 0.7 * noon)))

    return at
