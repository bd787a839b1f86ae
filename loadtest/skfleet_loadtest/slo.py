"""The objectives and the load balancers' times, as slo.yml and edge.yml declare them.

No threshold of the gate is anywhere else; what a load test adds is only what makes its own figures
trustworthy (gate.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import yaml

from skfleet.errors import DocumentError

T = TypeVar("T")

# The checkout, or the tree that the role `locust` copied to a generator.
TREE = Path(__file__).resolve().parents[2]


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Share of requests answered rightly and in time."""

    target: float


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of time is good when its percentile is below the threshold."""

    percentile: float
    threshold_ms: float
    slice_seconds: int
    slices_target: float

    @property
    def fast_share(self) -> float:
        """The share of a good slice's requests that is faster than the threshold."""
        return self.percentile / 100


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """What a load generator can see; memory is the VMs' own figure."""

    availability: Availability
    latency: Latency


class BurnAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Fires when the budget burns `factor` times too fast in both windows."""

    long_window: str
    short_window: str
    factor: float


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """By urgency."""

    page: list[BurnAlert]


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """slo.yml."""

    window_days: int
    objectives: Objectives
    alerts: Alerts

    @property
    def page_factor(self) -> float:
        """The burn that wakes somebody at once."""
        return max(alert.factor for alert in self.alerts.page)


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Of edge.yml; in seconds."""

    request_s: float


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The part of edge.yml that a client must know."""

    timeouts: Timeouts


def read_slo(path: Path = TREE / "slo.yml") -> Slo:
    """Parse slo.yml; raises DocumentError naming the field."""
    return _read(path, Slo)


def read_edge(path: Path = TREE / "edge.yml") -> Edge:
    """Parse edge.yml; raises DocumentError naming the field."""
    return _read(path, Edge)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.convert(yaml.safe_load(path.read_text()), kind)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise DocumentError(f"{path.name} cannot be used: {error}.", where=str(path)) from None
