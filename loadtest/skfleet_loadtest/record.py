"""record.json: all that a run measured. Verdict, report and capacity are made from it, now or later."""

from __future__ import annotations

from pathlib import Path

import msgspec

from skfleet import documents
from skfleet.documents import Document
from skfleet.documents.slo import Slo
from skfleet.errors import DocumentError
from skfleet_loadtest.engine import Wrong
from skfleet_loadtest.figures import Figures
from skfleet_loadtest.plan import Plan

FILE_NAME = "record.json"


class WorkerRecord(msgspec.Struct, kw_only=True):
    """One worker's figures. `finished`: it reported after its last answer, so nothing is missing."""

    figures: Figures
    finished: bool = False
    last_seen: float = 0.0
    renewals: int = 0


class Record(Document, kw_only=True, frozen=True):
    """One run. Times are Unix seconds of the leader."""

    plan: Plan
    slo: Slo
    started_at: float  # of the warm-up
    ended_at: float
    aborted: str = ""  # why it ended before its time
    workers: dict[str, WorkerRecord] = {}
    wrong: list[Wrong] = []

    @property
    def start(self) -> int:
        """The first whole second that counts."""
        return int(-(-(self.started_at + self.plan.warm_up) // 1))

    @property
    def end(self) -> int:
        """The second after the last that counts."""
        planned = self.start + int(self.plan.profile.duration_s)
        return max(self.start, min(planned, int(self.ended_at)))

    @property
    def offset(self) -> float:
        """`start` in the profile's own time."""
        return self.start - self.started_at - self.plan.warm_up

    def figures(self) -> Figures:
        """All workers' as one."""
        result = Figures()
        for worker in self.workers.values():
            result.merge(worker.figures)
        return result


def read(directory: Path) -> Record:
    """The record of a run's directory."""
    path = directory / FILE_NAME
    try:
        return documents.read(Record, path.read_bytes(), str(path))
    except OSError:
        raise DocumentError(
            "There is no record of a run here.",
            where=str(path),
            hint="Name a directory below loadtest/results.",
        ) from None


def write(record: Record, directory: Path) -> None:
    """Keep it; one line, since it is for programs."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / FILE_NAME).write_bytes(msgspec.json.encode(record) + b"\n")
