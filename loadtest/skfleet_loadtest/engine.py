"""One worker's generator: requests are sent when they are due, whether or not others were answered.

Every request gets a greenlet and a connection of its own, from pools that are bounded: what is due when
all are taken is counted as dropped. A response time begins at the intended start, so a pause of the
fleet (or of this process) is seen by every request that was due in it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator

import gevent
import msgspec
from gevent.event import Event
from gevent.pool import Pool

from skfleet.polling import wait_until
from skfleet_loadtest.arrivals import Timeline
from skfleet_loadtest.caller import REFUSED, Reply
from skfleet_loadtest.figures import NO_RELEASE, Figures
from skfleet_loadtest.flights import Flights
from skfleet_loadtest.histogram import bucket
from skfleet_loadtest.protocols import Form, Question

# After so many requests without a pause the others get a turn; else a late worker never reads answers.
_BURST = 16
_WRONG_KEPT = 20
_log = logging.getLogger(__name__)


class Wrong(msgspec.Struct, frozen=True):
    """Evidence of a wrong answer."""

    at: float
    release: str
    question: str
    answer: str


class Outcome(msgspec.Struct, frozen=True):
    """For Locust's own table."""

    name: str
    seconds: float
    length: int
    failure: str


Post = Callable[[Question], Reply]


class Engine:
    """Sends for the users who have joined: each adds one arrival a second."""

    def __init__(
        self,
        *,
        arrivals: Iterator[float],
        post: Post,
        flights: Flights,
        slots: int,
        fast_s: float,
        report: Callable[[Outcome], None],
        seed: str,
    ) -> None:
        self.figures = Figures()
        self.wrong: list[Wrong] = []
        self._arrivals = arrivals
        self._post = post
        self._flights = flights
        self._pool = Pool(slots)
        self._fast_s = fast_s
        self._report = report
        self._random = random.Random(seed)  # noqa: S311 - which flight is asked, no secret
        self._forms: list[Form] = []
        self._timeline = Timeline()
        self._changed = Event()
        self._ended = False
        self._in_flight = 0
        # Monotonic inside, wall clock in figures: hosts are compared by the latter.
        self._epoch = time.time() - time.monotonic()

    def join(self, form: Form) -> None:
        """One more arrival a second, asked in this form as often as any other member's."""
        self._forms.append(form)
        self._set_rate()

    def leave(self, form: Form) -> None:
        """One arrival a second less."""
        if form in self._forms:
            self._forms.remove(form)
            self._set_rate()

    def _set_rate(self) -> None:
        self._timeline.change(time.monotonic(), len(self._forms))
        self._changed.set()

    def run(self) -> None:
        """Send until `end`: the work of one greenlet."""
        position = next(self._arrivals)
        burst = 0
        while not self._ended:
            wait = self._timeline.due(position) - time.monotonic()
            if wait > 0:
                burst = 0
                self._changed.clear()
                self._changed.wait(min(wait, 1.0))
                continue
            self._start(self._timeline.due(position))
            position = next(self._arrivals)
            burst += 1
            if burst % _BURST == 0:
                gevent.sleep(0)

    def _start(self, due: float) -> None:
        if not self._forms:
            return
        form = self._random.choice(self._forms)
        if self._pool.free_count() == 0:
            self.figures.cell(int(due + self._epoch), NO_RELEASE).dropped += 1
            self._report(Outcome("dropped", 0.0, 0, "dropped: every slot waits for an answer"))
            return
        self._pool.spawn(self.call, form, due)

    def call(self, form: Form, due: float) -> None:
        """One request from question to figures; `due` is the monotonic time of its intended start."""
        if self._ended:  # a user of a closed loop who has not been told yet
            gevent.sleep(1)
            return
        question = form.ask(self._random)
        sent = time.monotonic()
        lag = bucket(int((sent - due) * 1e6))
        self.figures.lags[lag] = self.figures.lags.get(lag, 0) + 1
        self._in_flight += 1
        try:
            reply = self._post(question)
            self._count(form, question, reply, due, sent)
        finally:
            self._in_flight -= 1

    def _count(self, form: Form, question: Question, reply: Reply, due: float, sent: float) -> None:
        now = time.monotonic()
        seconds = now - due
        cell = self.figures.cell(int(due + self._epoch), reply.release)
        cell.requests += 1
        index = bucket(int(seconds * 1e6))
        cell.durations[index] = cell.durations.get(index, 0) + 1
        failure = ""
        if reply.status == 200:
            if form.is_right(question, reply.body, self._flights.of(reply.release)):
                cell.right += 1
                cell.fast += seconds < self._fast_s
                cell.prompt += now - sent < self._fast_s
            else:
                cell.wrong += 1
                failure = "wrong answer"
                self._keep(question, reply, due)
        elif reply.status in REFUSED:
            cell.refused += 1
            failure = f"refused: {reply.status}"
        else:
            failure = reply.failure or f"status {reply.status}"
            cell.failures[failure] = cell.failures.get(failure, 0) + 1
        self._report(Outcome(question.name, seconds, len(reply.body), failure))

    def _keep(self, question: Question, reply: Reply, due: float) -> None:
        if len(self.wrong) < _WRONG_KEPT:
            texts = (part.decode(errors="replace")[:400] for part in (question.body, reply.body))
            self.wrong.append(Wrong(due + self._epoch, reply.release, *texts))

    def end(self, patience_s: float) -> int:
        """Send nothing more and wait for what is in flight; returns how many never came back."""
        self._ended = True
        self._changed.set()
        with contextlib.suppress(TimeoutError):
            wait_until(
                lambda: not self._in_flight,
                patience_s,
                "answers",
                interval_s=0.01,
                sleep=gevent.sleep,
            )
        left = self._in_flight
        if left:
            cell = self.figures.cell(int(time.time()), NO_RELEASE)
            cell.requests += left
            cell.failures["no answer"] = cell.failures.get("no answer", 0) + left
        self._pool.kill(block=False)
        return left

    def take(self) -> Figures:
        """What is new since the last time."""
        figures, self.figures = self.figures, Figures()
        return figures
