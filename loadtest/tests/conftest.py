"""Records as runs leave them, made by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skfleet.declared import declared
from skfleet_loadtest.figures import Cell, Figures
from skfleet_loadtest.histogram import bucket
from skfleet_loadtest.plan import Plan
from skfleet_loadtest.record import Record, WorkerRecord

STARTED = 1_000_000.0
WARM_UP = 10
OBJECTIVE_MS = declared().slo.objectives.latency.threshold_ms


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """A run of 100 requests a second for 80 s by two workers, faultless but for what is asked."""

    def make(
        *,
        rate: int = 100,
        seconds: int = 80,
        change: Callable[[int, Cell], None] = lambda second, cell: None,
        release: Callable[[int], str] = lambda second: "r1",
        finished: int = 2,
        cpu: float = 0.3,
        aborted: str = "",
        **plan: object,
    ) -> Record:
        workers = {}
        for number in range(2):
            figures = Figures(lags={bucket(1000): rate * seconds})
            for offset in range(-WARM_UP, seconds):
                second = int(STARTED) + WARM_UP + offset
                cell = figures.cell(second, release(offset))
                share = rate // 2
                cell.requests = cell.right = cell.fast = cell.prompt = share
                cell.durations[bucket(20_000)] = share
                change(offset, cell)
                figures.cpu[second] = cpu
            workers[f"worker{number}"] = WorkerRecord(figures=figures, finished=number < finished)
        return Record(
            plan=Plan(
                **{
                    "run": "made",
                    "rate": rate,
                    "duration": seconds,
                    "workers": 2,
                    "warm_up": WARM_UP,
                    "url": "http://127.0.0.1",
                    **plan,  # type: ignore[arg-type]
                }
            ),
            slo=declared().slo,
            started_at=STARTED,
            ended_at=STARTED + WARM_UP + seconds + 1,
            aborted=aborted,
            workers=workers,
        )

    return make


def slow(cell: Cell, milliseconds: int) -> None:
    """Every answer of the cell took this long."""
    cell.durations.clear()
    cell.durations[bucket(milliseconds * 1000)] = cell.requests
    cell.fast = cell.prompt = cell.right if milliseconds < OBJECTIVE_MS else 0


def fail(cell: Cell, count: int, kind: str = "status 503") -> None:
    """So many of the cell's requests failed."""
    cell.right -= count
    cell.fast -= count
    cell.prompt -= count
    cell.failures[kind] = cell.failures.get(kind, 0) + count
