"""edge.yml, and how its times are scaled for a fleet that a person waits for.

Google's intervals are seconds and minutes. Here the load balancers' intervals, ejections and drain are
divided by one factor (`time_scale`), autohealing's by two fifths of it: what it must not take for a hang, a
restart of the service, lasts as long here as there. Thresholds, retries, request timeouts and the
initial delay, which is the time of a boot, stay what they are in the cloud.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import yaml

from skfleet.declared import Listeners, Loopback, edge_of
from skfleet.errors import DocumentError


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One of Google's health checks; times in seconds."""

    path: str
    interval_s: float
    timeout_s: float
    healthy_threshold: int
    unhealthy_threshold: int
    initial_delay_s: float = 0.0

    def scaled(self, factor: float) -> HealthCheck:
        """More often. A timeout shrinks only where it would exceed its interval."""
        interval = self.interval_s / factor
        return msgspec.structs.replace(
            self, interval_s=interval, timeout_s=min(self.timeout_s, interval)
        )


class HealthChecks(msgspec.Struct, frozen=True, kw_only=True):
    """The load balancers' check and autohealing's."""

    readiness: HealthCheck
    liveness: HealthCheck


# Autohealing gives a VM up after this long at least: a release that does not come up goes back by itself
# before.
HEALING_S = 40.0


class Retries(msgspec.Struct, frozen=True, kw_only=True):
    """What the load balancers try again."""

    conditions: list[str]
    attempts: int
    per_try_timeout_s: float


class Outliers(msgspec.Struct, frozen=True, kw_only=True):
    """When a load balancer takes a VM out by what it answers; times in seconds."""

    consecutive_gateway_failures: int
    interval_s: float
    ejection_s: float
    max_ejection_percent: int


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds."""

    request_s: float
    drain_s: float
    backend_keepalive_s: float
    client_keepalive_s: float


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The document."""

    listeners: Listeners
    loopback: Loopback
    health_checks: HealthChecks
    retries: Retries
    outliers: Outliers
    timeouts: Timeouts

    def ports(self) -> tuple[int, ...]:
        """Every port that a VM listens on."""
        return (*self.listeners.ports(), self.loopback.metrics.port)

    def _healing_factor(self, factor: float) -> float:
        """How much faster autohealing may be: what it must wait for, a VM's work, takes as long here."""
        check = self.health_checks.liveness
        most = check.interval_s * check.unhealthy_threshold / HEALING_S
        return max(1.0, min(factor, most))

    def scaled(self, factor: float) -> Edge:
        """The same edge in faster time."""
        return msgspec.structs.replace(
            self,
            health_checks=HealthChecks(
                readiness=self.health_checks.readiness.scaled(factor),
                liveness=self.health_checks.liveness.scaled(self._healing_factor(factor)),
            ),
            outliers=msgspec.structs.replace(
                self.outliers,
                interval_s=self.outliers.interval_s / factor,
                ejection_s=self.outliers.ejection_s / factor,
            ),
            timeouts=msgspec.structs.replace(
                self.timeouts, drain_s=max(self.timeouts.drain_s / factor, self.timeouts.request_s)
            ),
        )


# What retry conditions Google's URL maps know; Envoy knows more, and promises more than the cloud holds.
GOOGLE_RETRY_CONDITIONS = frozenset(
    {"5xx", "gateway-error", "connect-failure", "retriable-4xx", "refused-stream"}
)


def read(path: Path) -> Edge:
    """Parse edge.yml; raises DocumentError naming the field."""
    try:
        document = yaml.safe_load(path.read_text())
        edge_of(document, str(path))  # what VMs could not serve
        edge = msgspec.convert(document, Edge)
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        raise DocumentError(f"edge.yml cannot be used: {error}.", where=str(path)) from None
    unknown = set(edge.retries.conditions) - GOOGLE_RETRY_CONDITIONS
    if unknown:
        raise DocumentError(
            f"Google's URL maps do not retry on {', '.join(sorted(unknown))}.",
            where=f"{path}: retries.conditions",
            hint="Known: " + ", ".join(sorted(GOOGLE_RETRY_CONDITIONS)) + ".",
        )
    return edge
