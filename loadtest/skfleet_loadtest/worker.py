"""A worker process: its engine, and the figures it reports to the leader."""

from __future__ import annotations

import logging
import time
from typing import Any

import gevent
import msgspec
from locust import events
from locust.env import Environment
from locust.runners import LocalRunner

from skfleet_loadtest import arrivals, flights, users
from skfleet_loadtest.bearer import Bearer, source
from skfleet_loadtest.caller import Caller, Reply
from skfleet_loadtest.engine import Engine, Outcome
from skfleet_loadtest.figures import encode
from skfleet_loadtest.plan import CA_VARIABLE, FLIGHTS_VARIABLE, Plan, host_file
from skfleet_loadtest.protocols import Form, Question

REPORT = "skfleet-report"
FINISH = "skfleet-finish"
_log = logging.getLogger(__name__)


class Worker:
    """What a worker process has from the start of a test to its end."""

    def __init__(self, environment: Environment, fast_s: float, timeout_s: float) -> None:
        options = vars(environment.parsed_options)
        plan = Plan.parse(options)
        rows = flights.read(host_file(FLIGHTS_VARIABLE))  # type: ignore[arg-type]
        ca_file = host_file(CA_VARIABLE, required=False)
        index = getattr(environment.runner, "worker_index", 0)
        slots = plan.slots_a_worker(timeout_s)
        if plan.profile.closed:
            slots = max(slots, plan.profile.peak)
        fetch = source(plan.token, plan.url, plan.audience)
        self._runner: Any = environment.runner
        self._fire: Any = events.request.fire
        self.timeout_s = timeout_s
        self.finished = False
        self.caller = Caller(plan.url, str(ca_file or ""), slots, timeout_s)
        self.bearer = Bearer(fetch) if fetch else None
        self.forms: dict[str, Form] = users.forms(rows)
        self.engine = Engine(
            arrivals=arrivals.schedule(plan.arrivals, plan.seed, index, plan.workers),
            post=self.post,
            flights=rows,
            slots=slots,
            fast_s=fast_s,
            report=self.tell_locust,
            seed=f"{plan.seed}/{index}",
        )
        self.greenlets = [gevent.spawn(self.engine.run), gevent.spawn(self._report_for_ever)]
        self.greenlets.append(gevent.spawn(self._watch_cpu))
        if self.bearer:
            self.greenlets.append(gevent.spawn(self.bearer.keep))

    def post(self, question: Question) -> Reply:
        """Send a question with this process's token."""
        headers = {"Content-Type": question.content_type}
        if self.bearer:
            headers["Authorization"] = self.bearer.header
        return self.caller.post(question.path, question.body, headers)

    def tell_locust(self, outcome: Outcome) -> None:
        """Locust's own table, charts and web page show the same requests."""
        self._fire(
            request_type="POST",
            name=outcome.name,
            response_time=outcome.seconds * 1000,
            response_length=outcome.length,
            exception=RuntimeError(outcome.failure) if outcome.failure else None,
            context={},
        )

    def finish(self) -> None:
        """Wait for what is in flight, then report for the last time."""
        if self.finished:
            return
        self.finished = True
        self.engine.end(self.timeout_s + 1)
        self.report(last=True)
        gevent.killall(self.greenlets, block=False)
        self.caller.close()

    def report(self, last: bool = False) -> None:
        """Hand the leader what is new."""
        wrong, self.engine.wrong = self.engine.wrong, []
        data = {
            "worker": self._runner.client_id,
            "figures": encode(self.engine.take()),
            "wrong": msgspec.msgpack.encode(wrong),
            "renewals": self.bearer.renewals if self.bearer else 0,
            "last": last,
        }
        self._runner.send_message(REPORT, data)

    def _report_for_ever(self) -> None:
        while True:
            gevent.sleep(1)
            self.report()

    def _watch_cpu(self) -> None:
        wall, used = time.monotonic(), time.process_time()
        while True:
            gevent.sleep(1)
            now, spent = time.monotonic(), time.process_time()
            self.engine.figures.cpu[int(time.time())] = (spent - used) / (now - wall)
            wall, used = now, spent


def is_worker(runner: Any) -> bool:
    """Whether users run in this process."""
    from locust.runners import WorkerRunner

    return isinstance(runner, (WorkerRunner, LocalRunner))
