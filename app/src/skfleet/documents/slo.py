"""slo.yml: what the service promises. No other file holds a threshold of the service."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from skfleet.errors import DocumentError

SLO = "slo.yml"


class Availability(msgspec.Struct, frozen=True, kw_only=True):
    """Share of requests answered rightly and in time."""

    target: float


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of time is good when its percentile is below the threshold."""

    percentile: Annotated[float, msgspec.Meta(gt=0, lt=100)]
    threshold_ms: Annotated[float, msgspec.Meta(gt=0)]
    slice_seconds: int
    slices_target: float

    @property
    def fast_share(self) -> float:
        """The share of a good slice's requests that is faster than the threshold."""
        return self.percentile / 100


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Of the service's control group."""

    max_mib: Annotated[int, msgspec.Meta(gt=0)]


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """The service's."""

    availability: Availability
    latency: Latency
    memory: Memory | None = None  # None: in a load test's record of a previous version


class BurnAlert(msgspec.Struct, frozen=True, kw_only=True):
    """Fires when the budget burns `factor` times too fast in both windows."""

    long_window: str
    short_window: str
    factor: float


class Alerts(msgspec.Struct, frozen=True, kw_only=True):
    """By urgency."""

    page: list[BurnAlert]


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    window_days: int
    objectives: Objectives
    alerts: Alerts

    @property
    def page_factor(self) -> float:
        """The burn that wakes somebody at once."""
        return max(alert.factor for alert in self.alerts.page)


def parse_slo(document: Any, where: str) -> Slo:
    """Check a parsed slo.yml; raises DocumentError naming the field."""
    try:
        slo = msgspec.convert(document, Slo)
    except msgspec.ValidationError as error:
        raise DocumentError(f"{SLO} cannot be used: {error}.", where=where) from None
    memory_limit_mib(slo, where)
    return slo


def memory_limit_mib(slo: Slo, where: str) -> int:
    """The service's memory on each VM; raises DocumentError where none is declared."""
    if slo.objectives.memory is None:
        raise DocumentError(
            f"{SLO} declares no memory.",
            where=f"{where}: objectives.memory",
            hint="Set its max_mib, in MiB.",
        )
    return slo.objectives.memory.max_mib
