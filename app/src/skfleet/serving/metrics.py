"""Prometheus metrics across workers: each process writes a file, whoever is asked adds them up.

`PROMETHEUS_MULTIPROC_DIR` is set by `serving.gunicorn` before prometheus_client is imported. What
every process knows alike (model, age of the keys, readiness) is said at the scrape instead.
"""

from __future__ import annotations

import asyncio
import bisect
import os
import threading
from collections.abc import Callable, Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import multiprocess as prometheus_multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from skfleet.settings import Settings

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
# The histogram's bounds: seconds, and multiples of the latency objective, below which a share is exact.
FAST_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
OBJECTIVES = (0.5, 1.0, 2.0, 4.0, 12.5)
FLUSH_INTERVAL_S = 0.2
Key = tuple[str, int, str]  # route, status, listener

M = TypeVar("M", Counter, Histogram)


class Metrics:
    """The service's metrics, on a registry of its own. `objective_s`: by default slo.yml's."""

    def __init__(self, objective_s: float | None = None) -> None:
        if objective_s is None:
            objective_s = Settings().latency_objective_ms / 1000
        self._bounds = tuple(sorted({*FAST_S, *(share * objective_s for share in OBJECTIVES)}))
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "skfleet_requests", "Requests answered.", ["route", "status", "listener"],
            registry=self._registry,
        )  # fmt: skip
        self.latency = Histogram(
            "skfleet_request_seconds", "Time from the request's headers to the answer.",
            ["route"], buckets=self._bounds, registry=self._registry,
        )  # fmt: skip
        self.in_flight = Gauge(
            "skfleet_requests_in_flight", "Predictions that wait for a body, a batch or Flask.",
            multiprocess_mode="livesum", registry=self._registry,
        )  # fmt: skip
        self.rejected = Counter(
            "skfleet_identity_rejections", "Requests without a valid identity, by reason.",
            ["listener", "reason"], registry=self._registry,
        )  # fmt: skip
        self.shed = Counter(
            "skfleet_requests_shed", "Requests answered 429 at once.", registry=self._registry
        )
        self.reload_failures = Counter(
            "skfleet_reload_failures", "Reloads that kept the models as they were.",
            registry=self._registry,
        )  # fmt: skip
        self._children: dict[Key, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        # Of the event loop's answers since the last flush: (sum of seconds, count by bucket).
        self._gathered: dict[Key, list[float]] = {}
        self._lock = threading.Lock()

    def observe(self, route: str, status: int, listener: str, seconds: float) -> None:
        """Count one answer. `route` is a template, never a path: labels stay few."""
        child, histogram = self._metrics_of((route, status, listener))
        child.inc()
        histogram.observe(seconds)

    def observe_soon(self, route: str, status: int, listener: str, seconds: float) -> None:
        """The same for the event loop, at a tenth of the cost: told to the files a few times a second."""
        key = (route, status, listener)
        with self._lock:
            if not self._gathered:
                asyncio.get_running_loop().call_later(FLUSH_INTERVAL_S, self.flush)
            gathered = self._gathered.get(key)
            if gathered is None:
                gathered = self._gathered[key] = [0.0] * (len(self._bounds) + 2)
            gathered[0] += seconds
            gathered[1 + bisect.bisect_left(self._bounds, seconds)] += 1

    def flush(self) -> None:
        """Tell what has gathered."""
        with self._lock:
            gathered, self._gathered = self._gathered, {}
            for key, (seconds, *counts) in gathered.items():
                child, histogram = self._metrics_of(key)
                child.inc(sum(counts))
                # As Histogram.observe does for each by itself.
                histogram._sum.inc(seconds)
                for bucket, count in zip(histogram._buckets, counts, strict=True):
                    if count:
                        bucket.inc(count)

    def _metrics_of(self, key: Key) -> tuple[Counter, Histogram]:
        route, status, listener = key
        child = self._children.get(key)
        if child is None:
            child = self.requests.labels(route, str(status), listener)
            self._histograms.setdefault(route, self.latency.labels(route))
            self._children[key] = child
        return child, self._histograms[route]

    def render(self, local: Callable[[], Iterable[Metric]]) -> bytes:
        """The exposition: all processes' files when there are any, and what `local` gives."""
        self.flush()
        registry = CollectorRegistry()
        if os.environ.get(MULTIPROC_DIR):
            prometheus_multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(_Each(self._registry.collect))
        registry.register(_Each(local))
        return bytes(generate_latest(registry))


class _Each(Collector):
    def __init__(self, metrics: Callable[[], Iterable[Metric]]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics()
