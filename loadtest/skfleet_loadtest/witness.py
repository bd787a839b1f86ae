"""The load witness: an open loop of predictions through both load balancers while a fleet changes.

Each request has an intended start; its time is counted from there, and nothing is tried again, so that
whatever a caller would have seen is in the record. Answers are held against the model of the release
that they name: a 200 with another model's answer is `wrong`.
"""

from __future__ import annotations

import asyncio
import json
import resource
import ssl
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from skfleet.artifacts.fetch import fetch_model
from skfleet.artifacts.store import Store
from skfleet.backends import load_model
from skfleet.backends.compare import find_wrong_row
from skfleet.declared import declared
from skfleet.documents.manifest import TOLERANCES
from skfleet.errors import SkfleetError
from skfleet_loadtest.histogram import Histogram, merged
from skfleet_operator.releases import operations

SAMPLES = 20
# Nobody waits longer: the load balancers' own timeout is shorter.
TIMEOUT_S = 3 * declared().edge.timeouts.request_s
# A request that starts this much after its time says that the witness itself was held up.
LATE_S = 0.1
# More requests wait for one, on their own time. Without a limit a busy moment makes every request a new
# connection, whose handshakes keep the witness busy for good: it would then see nothing but itself.
CONNECTIONS = 300


@dataclass(frozen=True, slots=True)
class Door:
    """One way in. `token`: value of the Authorization header, empty for none."""

    name: str
    url: str
    token: str


class Expected:
    """What each release must answer to the witness's rows, learnt from the bucket when it first answers."""

    def __init__(self, store: Store, bucket: str, cache: Path, fleet: str) -> None:
        self._store, self._bucket, self._cache = store, bucket, cache
        # Digest → (label or number, probabilities or none) of each row.
        self._by_model: dict[str, list[tuple[Any, list[float]]]] = {}
        self._by_release: dict[str, tuple[str, float]] = {}
        there = operations.read_desired(store, bucket, fleet)
        if there is None:
            raise SkfleetError(
                f"Fleet '{fleet}' has no desired release.",
                where=bucket,
                hint="The witness asks the desired release's model; desire one first.",
            )
        first = operations.load(store, bucket, there[0].current.release)[0]
        self.model = first.default_model
        pin = next(model.manifest for model in first.models if model.name == self.model)
        directory = fetch_model(store, pin.uri, cache, pin.generation, pin.sha256)
        manifest = load_model(directory).manifest
        self.rows = manifest.golden.rows
        # A model that gives none refuses to be asked. A release that takes them away fails its callers.
        self.probabilities = manifest.has_probabilities
        self.learn(first.id)

    def learn(self, release: str) -> None:
        """Load the release's model and ask it the rows; raises SkfleetError for an unknown release."""
        if release in self._by_release:
            return
        document = operations.load(self._store, self._bucket, release)[0]
        pin = next((m.manifest for m in document.models if m.name == self.model), None)
        if pin is None:
            raise SkfleetError(f"Release '{release}' has no model '{self.model}'.", where=release)
        if pin.sha256 not in self._by_model:
            directory = fetch_model(self._store, pin.uri, self._cache, pin.generation, pin.sha256)
            model = load_model(directory)
            asked = self.probabilities and model.manifest.has_probabilities
            chances = model.backend.predict_proba(self.rows) if asked else [[] for _ in self.rows]
            labels = model.backend.predict(self.rows)
            self._by_model[pin.sha256] = list(zip(labels, chances, strict=True))
        # The VM may answer by another backend than this machine.
        self._by_release[release] = (pin.sha256, max(TOLERANCES.values()))

    def wrong(self, release: str, row: int, body: Any) -> str:
        """Why this answer is not the release's; empty where it is right."""
        known = self._by_release.get(release)
        if known is None:
            return f"nobody knows release '{release}'"
        return find_wrong_row(body, {row: self._by_model[known[0]][row]}, known[1])


@dataclass(slots=True)
class Tally:
    """What happened, by door and release and by second."""

    began: float
    by_door: dict[str, Histogram] = field(default_factory=dict)
    by_release: dict[str, Histogram] = field(default_factory=dict)
    requests: int = 0
    last: float = 0.0  # the latest intended start
    failed: Counter[str] = field(default_factory=Counter)
    wrong: int = 0
    late: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[int, list[int]] = field(default_factory=dict)  # requests, failed

    def count(self, door: str, release: str, intended: float, seconds: float, why: str) -> None:
        """One answer, or the lack of one. `why`: kind of failure and words, empty for a right answer."""
        self.requests += 1
        self.last = max(self.last, intended)
        for table, key in ((self.by_door, door), (self.by_release, release)):
            table.setdefault(key, Histogram()).add(seconds)
        bin_ = self.seconds.setdefault(int(intended - self.began), [0, 0])
        bin_[0] += 1
        if not why:
            return
        bin_[1] += 1
        kind = why.partition(":")[0]
        if kind == "wrong":
            self.wrong += 1
        else:
            self.failed[kind] += 1
        if len(self.samples) < SAMPLES:
            self.samples.append(
                {
                    "second": round(intended - self.began, 2),
                    "door": door,
                    "release": release,
                    "what": why,
                    "ms": round(seconds * 1000, 1),
                }
            )


class Witness:
    """One run."""

    def __init__(self, doors: list[Door], ca_file: str, expected: Expected, rate: float) -> None:
        self._doors, self._expected, self._rate = doors, expected, rate
        self._context = ssl.create_default_context(cafile=ca_file or None)
        self._bodies = [
            json.dumps(
                {"instances": [row], "parameters": {"probabilities": expected.probabilities}}
            ).encode()
            for row in expected.rows
        ]
        self._learning: dict[str, asyncio.Task[None]] = {}
        self.tally = Tally(time.monotonic())

    async def run(self, stop: Callable[[float], bool]) -> None:
        """Until `stop(seconds so far)`; then the last answers are waited for."""
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(
            limit=CONNECTIONS, ssl=self._context, keepalive_timeout=600
        )
        flying: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            began = self.tally.began = time.monotonic()
            number = 0
            while not stop(time.monotonic() - began):
                intended = began + number / self._rate
                pause = intended - time.monotonic()
                if pause > 0:
                    await asyncio.sleep(pause)
                elif -pause > LATE_S:
                    self.tally.late += 1
                task = asyncio.create_task(self._ask(session, number, intended))
                flying.add(task)
                task.add_done_callback(flying.discard)
                number += 1
            await asyncio.gather(*flying)

    async def _ask(self, session: aiohttp.ClientSession, number: int, intended: float) -> None:
        door = self._doors[number % len(self._doors)]
        row = number // len(self._doors) % len(self._bodies)
        headers = {"Content-Type": "application/json"}
        if door.token:
            headers["Authorization"] = door.token
        release, why, body = "", "", b""
        try:
            async with session.post(
                f"{door.url}/v1/models/{self._expected.model}:predict",
                data=self._bodies[row],
                headers=headers,
            ) as answer:
                body = await answer.read()
                release = answer.headers.get("X-Skfleet-Release", "")
                if answer.status != 200:
                    why = f"status {answer.status}: {body[:200].decode(errors='replace').strip()}"
        except TimeoutError:
            why = f"timeout: none within {TIMEOUT_S:.0f} s"
        except (aiohttp.ClientError, OSError) as error:
            why = f"{type(error).__name__}: {error}"
        seconds = time.monotonic() - intended
        if not why:
            await self._learn(release)
            try:
                words = self._expected.wrong(release, row, json.loads(body))
            except ValueError:
                words = "the body is no JSON"
            why = f"wrong: {words}" if words else ""
        self.tally.count(door.name, release, intended, seconds, why)

    async def _learn(self, release: str) -> None:
        """Know what this release answers, beside the loop: nothing is sent late for it."""
        if release not in self._learning:
            self._learning[release] = asyncio.create_task(self._load(release))
        await asyncio.shield(self._learning[release])

    async def _load(self, release: str) -> None:
        try:
            await asyncio.to_thread(self._expected.learn, release)
        except SkfleetError:
            return  # its answers are wrong: nobody knows the release


def record(tally: Tally, rate: float) -> dict[str, Any]:
    """The record of a run."""
    everything = merged(tally.by_door.values())
    lasted = max(tally.last - tally.began, 0.0) + 1 / rate
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "requests": tally.requests,
        "failed": sum(tally.failed.values()),
        "failures": dict(tally.failed),
        "wrong": tally.wrong,
        "late": tally.late,
        "rate_asked": rate,
        "rate": round(tally.requests / lasted, 1),
        "seconds": round(lasted, 2),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        **_times(everything),
        "doors": {name: _times(times) for name, times in tally.by_door.items()},
        "releases": {
            name: {"requests": times.total, **_times(times)}
            for name, times in tally.by_release.items()
        },
        "samples": tally.samples,
        "series": [[second, *counts] for second, counts in sorted(tally.seconds.items())],
    }


def _times(histogram: Histogram) -> dict[str, float | None]:
    percents = sorted({50, 90, 99, 99.9, 100, declared().slo.objectives.latency.percentile})
    return {f"p{percent:g}_ms": histogram.percentile(percent) for percent in percents}
