"""How the times of edge.yml are scaled for a fleet that a person waits for.

Google's intervals are seconds and minutes. Here the load balancers' intervals, ejections and drain are
divided by one factor (`time_scale`), autohealing's by two fifths of it: what it must not take for a hang, a
restart of the service, lasts as long here as there. Thresholds, retries, request timeouts and the
initial delay, which is the time of a boot, stay what they are in the cloud.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from skfleet.documents.edge import Edge, HealthCheck, HealthChecks

# Autohealing gives a VM up after this long at least: a release that does not come up goes back by itself
# before.
HEALING_S = 40.0

C = TypeVar("C", bound=HealthCheck)


def scale_edge(edge: Edge, factor: float) -> Edge:
    """The same edge in faster time."""
    checks = edge.health_checks
    return msgspec.structs.replace(
        edge,
        health_checks=HealthChecks(
            readiness=scale_check(checks.readiness, factor),
            liveness=scale_check(checks.liveness, _healing_factor(checks.liveness, factor)),
        ),
        outliers=msgspec.structs.replace(
            edge.outliers,
            interval_s=edge.outliers.interval_s / factor,
            ejection_s=edge.outliers.ejection_s / factor,
        ),
        timeouts=msgspec.structs.replace(
            edge.timeouts, drain_s=max(edge.timeouts.drain_s / factor, edge.timeouts.request_s)
        ),
    )


def scale_check(check: C, factor: float) -> C:
    """More often. A timeout shrinks only where it would exceed its interval."""
    interval = check.interval_s / factor
    return msgspec.structs.replace(
        check, interval_s=interval, timeout_s=min(check.timeout_s, interval)
    )


def _healing_factor(check: HealthCheck, factor: float) -> float:
    """How much faster autohealing may be: what it must wait for, a VM's work, takes as long here."""
    most = check.interval_s * check.unhealthy_threshold / HEALING_S
    return max(1.0, min(factor, most))
