"""Progress of a test run, as plain lines: each file when it ends, and each test that takes long."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

# Seconds of each file on two cores; `--record-seconds` writes them.
RECORDED = Path(__file__).parent / "seconds.json"
UNRECORDED_S = 1.0
LONG_S = 10.0


def recorded() -> defaultdict[str, float]:
    """Seconds of each file as they were recorded; of a new one, a guess."""
    found: dict[str, float] = json.loads(RECORDED.read_text())
    return defaultdict(lambda: UNRECORDED_S, found)


def file_of(nodeid: str) -> str:
    """The file of a test."""
    return nodeid.partition("::")[0]


def name_of(nodeid: str) -> str:
    """A test as people name it: without the group that pytest-xdist adds."""
    return nodeid.rpartition("@")[0] if nodeid.rfind("@") > nodeid.rfind("]") else nodeid


class Progress:
    """Counts what is done and says what may be left: recorded seconds, at the pace of this run."""

    def __init__(self, reporter: pytest.TerminalReporter) -> None:
        self._reporter = reporter
        self._recorded = recorded()
        self._began = self._first = time.monotonic()
        self._tests: Counter[str] = Counter()  # to come, of each file
        self._seconds: dict[str, float] = defaultdict(float)
        self._outcomes: dict[str, Counter[str]] = {}
        self._total = self._done = self._files_done = 0

    def expect(self, nodeids: list[str]) -> None:
        """What was collected; every worker says the same."""
        if not self._total:
            self._total = len(nodeids)
            self._tests.update(map(file_of, nodeids))
            self._files = len(self._tests)
            self._outcomes = {file: Counter() for file in self._tests}
            self._first = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Collected in this process."""
        self.expect([item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Collected by a worker."""
        self.expect(ids)

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(
        self,
    ) -> Generator[None, tuple[str, str, object], tuple[str, str, object]]:
        """No dots: the lines below report it."""
        category, _, word = yield
        return category, "", "" if category == "passed" else word

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One of the three phases of a test has ended."""
        file = file_of(report.nodeid)
        self._seconds[file] += report.duration
        if report.failed:
            self._reporter.write_line(f"FAILED {name_of(report.nodeid)} ({report.when})", red=True)
        if report.when == "call" or not report.passed:
            self._outcomes[file][report.outcome] += 1
        if report.duration >= LONG_S:
            self._reporter.write_line(
                f"  {report.duration:5.0f} s {report.when} of {name_of(report.nodeid)}"
            )
        if report.when == "teardown":
            self._done += 1
            self._tests[file] -= 1
            if not self._tests[file]:
                self._files_done += 1
                self._reporter.write_line(self.line(file))

    def line(self, file: str) -> str:
        """A file that has ended, and what is left."""
        outcomes = ", ".join(f"{count} {word}" for word, count in self._outcomes[file].items())
        now = time.monotonic()
        return (
            f"[{self._files_done}/{self._files} files, {self._done}/{self._total} tests, "
            f"{now - self._began:.0f} s, about {self.remaining(now - self._first):.0f} s left] "
            f"{file}: {outcomes} in {self._seconds[file]:.1f} s"
        )

    def remaining(self, elapsed: float) -> float:
        """Seconds until the end: recorded ones, at this run's pace so far."""
        left = done = 0.0
        for file, outcomes in self._outcomes.items():
            seconds = self._recorded[file]
            share = self._tests[file] / (self._tests[file] + sum(outcomes.values()) or 1)
            left += seconds * share
            done += seconds * (1 - share)
        pace = elapsed / done if done else 1.0
        return left * pace

    def record(self) -> None:
        """Write the seconds of this run's files over those that were recorded."""
        measured = {file: round(seconds, 1) for file, seconds in self._seconds.items()}
        merged = {**recorded(), **measured}
        known = {file: merged[file] for file in sorted(merged) if Path(file).exists()}
        RECORDED.write_text(json.dumps(known, indent=0) + "\n")
