"""Progress: a line for each file that ends, with what is done and what is left."""

from __future__ import annotations

from typing import Any

import pytest

from skfleet_testing import progress
from skfleet_testing.progress import Progress

A, B = "app/tests/a/test_a.py", "app/tests/b/test_b.py"


class Reporter:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, line: str, **_: object) -> None:
        self.lines.append(line)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "recorded", lambda: {A: 10.0, B: 30.0})
    return now


def report(nodeid: str, duration: float = 0.1, outcome: str = "passed", when: str = "call") -> Any:
    return pytest.TestReport(nodeid, (nodeid, 0, ""), {}, outcome, None, when, duration=duration)  # type: ignore[arg-type]


def run(made: Progress, nodeid: str, duration: float = 0.1, outcome: str = "passed") -> None:
    made.pytest_runtest_logreport(report(nodeid, 0, when="setup"))
    made.pytest_runtest_logreport(report(nodeid, duration, outcome))
    made.pytest_runtest_logreport(report(nodeid, 0, when="teardown"))


def test_a_file_is_a_line_when_its_last_test_has_ended(clock: list[float]) -> None:
    reporter = Reporter()
    made = Progress(reporter)  # type: ignore[arg-type]
    made.expect([f"{A}::test_1[@x]@{A}", f"{A}::test_2@{A}", f"{B}::test_3@{B}"])
    clock[0] = 4.0
    run(made, f"{A}::test_1[@x]@{A}")
    assert reporter.lines == []
    clock[0] = 20.0
    run(made, f"{A}::test_2@{A}", outcome="skipped")
    # 10 recorded seconds took 20, so that the 30 that are left will take 60.
    assert reporter.lines == [
        f"[1/2 files, 2/3 tests, 20 s, about 60 s left] {A}: 1 passed, 1 skipped in 0.2 s"
    ]
    run(made, f"{B}::test_3@{B}")
    assert "[2/2 files, 3/3 tests, 20 s, about 0 s left]" in reporter.lines[-1]


def test_a_failure_and_a_long_test_are_lines_at_once(clock: list[float]) -> None:
    reporter = Reporter()
    made = Progress(reporter)  # type: ignore[arg-type]
    made.expect([f"{A}::test_1@{A}", f"{A}::test_2@{A}"])
    run(made, f"{A}::test_1@{A}", 12.0, "failed")
    assert reporter.lines == [f"FAILED {A}::test_1 (call)", f"     12 s call of {A}::test_1"]
