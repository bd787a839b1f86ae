"""Prometheus metrics across workers: each process writes a file, whoever is asked adds them up.

`PROMETHEUS_MULTIPROC_DIR` is set by `serving.gunicorn` before prometheus_client is imported. What
every process knows alike (model, age of the keys, readiness) is said at the scrape instead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import multiprocess as prometheus_multiprocess
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
# Seconds. 0.4 is the latency objective of slo.yml: the share below it can be read off exactly.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 5.0)

M = TypeVar("M", Counter, Histogram)


class Metrics:
    """The service's metrics, on a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "skfleet_requests", "Requests answered.", ["route", "status", "listener"],
            registry=self._registry,
        )  # fmt: skip
        self.latency = Histogram(
            "skfleet_request_seconds", "Time from the request's headers to the answer.",
            ["route"], buckets=BUCKETS, registry=self._registry,
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
        self._children: dict[tuple[str, int, str], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def observe(self, route: str, status: int, listener: str, seconds: float) -> None:
        """Count one answer. `route` is a template, never a path: labels stay few."""
        key = (route, status, listener)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = self.requests.labels(route, str(status), listener)
            self._histograms.setdefault(route, self.latency.labels(route))
        child.inc()
        self._histograms[route].observe(seconds)

    def render(self, local: Callable[[], Iterable[Metric]]) -> bytes:
        """The exposition: all processes' files when there are any, and what `local` gives."""
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
