"""verdict.json: what a run proves, for rollouts and for people."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import msgspec

from skfleet import documents
from skfleet.documents import Document
from skfleet.errors import DocumentError
from skfleet_operator.binomial import requests_to_prove

FILE_NAME = "verdict.json"


class Word(StrEnum):
    """PASS: the SLO held. FAIL: it did not. INVALID: this run cannot tell."""

    PASS = "PASS"  # noqa: S105 - a word
    FAIL = "FAIL"
    INVALID = "INVALID"


# 2 stays what it is in every command here: a bad argument.
EXIT_CODES = {Word.PASS: 0, Word.FAIL: 1, Word.INVALID: 3}


class Objective(msgspec.Struct, frozen=True, kw_only=True):
    """One objective, of the whole run or of one release."""

    name: str
    target: float
    figure: float | None
    ok: bool
    release: str = ""  # empty: all
    meaning: str = ""


class Workers(msgspec.Struct, frozen=True, kw_only=True):
    """The generators."""

    expected: int
    seen: int
    finished: int
    cpu_mean: float | None  # of the busiest worker, share of a core
    lag_p99_ms: float | None  # how late requests were sent


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """The error budget of this run's requests."""

    allowed: float  # bad requests
    spent: int
    spent_share: float
    required_requests: int  # to prove the target with so many bad ones


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Against a baseline run: figures of both, and what got worse beyond chance."""

    run: str
    this: dict[str, Any]
    baseline: dict[str, Any]
    worse: list[str]


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step of PROFILE=steps."""

    rate: int
    held: float
    right: float  # right answers a second
    p50_ms: float | None
    p90_ms: float | None
    p99_ms: float | None
    bad: int
    in_flight: float  # by Little's law
    keeps_slo: bool
    generator_ok: bool
    why: str = ""
    start: float = 0.0  # of what is judged, Unix seconds
    end: float = 0.0
    quantiles_ms: dict[str, float] = {}  # % → ms; for whoever needs more of the shape than three


class Verdict(Document, frozen=True, kw_only=True):
    """The document."""

    run: str
    profile: str
    verdict: Word
    reasons: list[str]
    objectives: list[Objective]
    started_at: str
    seconds: int  # measured, warm-up left out
    requests: int
    failures: int
    failures_by_kind: dict[str, int]
    wrong: int
    refused: int
    dropped: int
    rate_asked: float | None  # None: a closed loop asks for no rate
    rate_held: float
    latency: dict[str, float | None]
    workers: Workers
    budget: Budget
    by_release: dict[str, dict[str, Any]]
    comparison: Comparison | None = None
    canary: Comparison | None = None
    steps: list[Step] = []
    capacity: int | None = None  # PROFILE=steps: highest rate that keeps the SLO
    vms: int = 0


def write(verdict: Verdict, directory: Path) -> None:
    """Keep it beside the record."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE_NAME).write_bytes(documents.write(verdict))


def read(directory: Path) -> Verdict:
    """The verdict of a run's directory."""
    path = directory / FILE_NAME
    try:
        return documents.read(Verdict, path.read_bytes(), str(path))
    except OSError:
        raise DocumentError("There is no verdict of a run here.", where=str(path)) from None


def invalid(run: str, reason: str, target: float) -> Verdict:
    """Of a run that has no record: it never started, or its leader died."""
    return Verdict(
        run=run,
        profile="",
        verdict=Word.INVALID,
        reasons=[reason],
        objectives=[],
        started_at=documents.now(),
        seconds=0,
        requests=0,
        failures=0,
        failures_by_kind={},
        wrong=0,
        refused=0,
        dropped=0,
        rate_asked=None,
        rate_held=0.0,
        latency={},
        workers=Workers(expected=0, seen=0, finished=0, cpu_mean=None, lag_p99_ms=None),
        budget=Budget(
            allowed=0, spent=0, spent_share=0, required_requests=requests_to_prove(target)
        ),
        by_release={},
    )
