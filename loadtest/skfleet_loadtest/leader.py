"""The leader: collects what workers report, ends a run that burns, writes the record and the verdict."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import gevent
import msgspec
from locust.env import Environment

from skfleet.documents.slo import Slo
from skfleet.polling import wait_until
from skfleet_loadtest import gate, record, verdict
from skfleet_loadtest.engine import Wrong
from skfleet_loadtest.figures import Figures, decode
from skfleet_loadtest.plan import Plan
from skfleet_loadtest.record import Record, WorkerRecord
from skfleet_loadtest.watch import Burn
from skfleet_loadtest.worker import FINISH

# Beyond the request timeout: a worker that is alive has reported by then.
_PATIENCE_S = 5.0
_log = logging.getLogger(__name__)


class Leader:
    """One per master (or single process) of Locust; a test at a time."""

    def __init__(self, environment: Environment, slo: Slo, timeout_s: float) -> None:
        self.environment = environment
        self._runner: Any = environment.runner
        self.slo = slo
        self.timeout_s = timeout_s
        self.plan: Plan | None = None
        self.aborted = ""
        self._concluded = True
        self._forget()

    def _forget(self) -> None:
        self._started = 0.0
        self._workers: dict[str, WorkerRecord] = {}
        self._wrong: list[Wrong] = []
        self._burn = Burn(self.slo, 0)
        self._watch: gevent.Greenlet | None = None

    def start(self) -> None:
        """A test begins."""
        self._forget()
        self._concluded = False
        plan = Plan.parse(vars(self.environment.parsed_options))
        self.plan = plan
        if not plan.run or (Path(plan.results) / plan.run / record.FILE_NAME).exists():
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            self.plan = replace(plan, run=f"{stamp}-{plan.load_profile}")
        self._started = time.time()
        self._burn = Burn(self.slo, self._started + self.plan.warm_up)
        self._watch = gevent.spawn(self._watch_burn, self.plan)

    def receive(self, msg: Any, **_: Any) -> None:
        """A worker's report."""
        data = msg.data
        worker = self._workers.setdefault(data["worker"], WorkerRecord(figures=Figures()))
        figures = decode(data["figures"])
        worker.figures.merge(figures)
        self._burn.add(figures)
        worker.finished = data["last"]
        worker.last_seen = time.time()
        worker.renewals = data["renewals"]
        self._wrong += msgspec.msgpack.decode(data["wrong"], type=list[Wrong])

    def conclude(self) -> None:
        """The test ends: let workers finish, keep the record, judge it. Done once a test."""
        if self._concluded or self.plan is None:
            return
        self._concluded = True
        ended = time.time()
        if self._watch is not None:
            self._watch.kill(block=False)
        self._let_workers_finish()
        result = Record(
            plan=self.plan,
            slo=self.slo,
            started_at=self._started,
            ended_at=ended,
            aborted=self.aborted,
            workers=self._workers,
            wrong=self._wrong,
        )
        directory = Path(self.plan.results) / self.plan.run
        record.write(result, directory)
        judged = gate.judge(result)
        verdict.write(judged, directory)
        self.environment.process_exit_code = verdict.EXIT_CODES[judged.verdict]
        self.aborted = ""  # the web page may start another test

    def _let_workers_finish(self) -> None:
        self._runner.send_message(FINISH, {})

        def nobody_is_awaited() -> bool:
            silent = [w for w in self._workers.values() if not w.finished]
            # Who has not spoken for a while is dead, and is not waited for.
            return all(time.time() - worker.last_seen > self.timeout_s for worker in silent)

        with contextlib.suppress(TimeoutError):
            wait_until(
                nobody_is_awaited, self.timeout_s + _PATIENCE_S, "workers",
                interval_s=0.05, sleep=gevent.sleep,
            )  # fmt: skip

    def _watch_burn(self, plan: Plan) -> None:
        # Steps are meant to end beyond what the fleet can do.
        while plan.abort == "burn" and plan.load_profile != "steps":
            gevent.sleep(1)
            self.aborted = self._burn.reason(time.time())
            if self.aborted:
                _log.error("Ending the run: %s", self.aborted)
                return
