"""edge.yml: what the load balancers do, and on which ports VMs listen for them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from skfleet.errors import DocumentError

EDGE = "edge.yml"

# The service may not bind privileged ports: its unit has no capability.
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

# The retry conditions of Google's URL maps; Envoy knows more, and promises more than the cloud holds.
GOOGLE_RETRY_CONDITIONS = frozenset(
    {"5xx", "gateway-error", "connect-failure", "retriable-4xx", "refused-stream"}
)


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """A port on every VM and its name in the instance group. `also`: a second one, for a move."""

    name: str
    port: Port
    also: Port | None = None

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that VMs listen on for it."""
        return (self.port,) if self.also is None else (self.port, self.also)


class Listeners(msgspec.Struct, frozen=True, kw_only=True):
    """A VM's listeners for the network."""

    iap: Listener
    internal: Listener
    health: Listener

    def ports(self) -> tuple[int, ...]:
        """All of them."""
        return (*self.iap.ports, *self.internal.ports, *self.health.ports)


class LoopbackListener(msgspec.Struct, frozen=True, kw_only=True):
    """A port for the VM itself."""

    port: Port


class Loopback(msgspec.Struct, frozen=True, kw_only=True):
    """A VM's listeners for itself."""

    metrics: LoopbackListener


class HealthCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One of Google's health checks; times in seconds."""

    path: str
    interval_s: float
    timeout_s: float
    healthy_threshold: int
    unhealthy_threshold: int
    initial_delay_s: float = 0.0


class Readiness(HealthCheck, frozen=True, kw_only=True):
    """The load balancers'. Only this route says whether a VM should get traffic."""

    path: Literal["/readyz"]


class Liveness(HealthCheck, frozen=True, kw_only=True):
    """Autohealing's. Only this route answers whatever the service lacks."""

    path: Literal["/livez"]


class HealthChecks(msgspec.Struct, frozen=True, kw_only=True):
    """The load balancers' check and autohealing's."""

    readiness: Readiness
    liveness: Liveness


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

    request_s: Seconds
    drain_s: Seconds
    backend_keepalive_s: Seconds
    client_keepalive_s: Seconds


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


def parse_edge(document: Any, where: str) -> Edge:
    """Check a parsed edge.yml; raises DocumentError naming the field."""
    try:
        edge = msgspec.convert(document, Edge)
    except msgspec.ValidationError as error:
        raise DocumentError(f"{EDGE} cannot be used: {error}.", where=where) from None
    ports = edge.ports()
    twice = sorted({port for port in ports if ports.count(port) > 1})
    if twice:
        raise DocumentError(
            f"Invalid listeners: port {twice[0]} has two meanings.",
            where=where,
            hint="Give each listener a port of its own.",
        )
    unknown = set(edge.retries.conditions) - GOOGLE_RETRY_CONDITIONS
    if unknown:
        raise DocumentError(
            f"Google's URL maps do not retry on {', '.join(sorted(unknown))}.",
            where=f"{where}: retries.conditions",
            hint="Known: " + ", ".join(sorted(GOOGLE_RETRY_CONDITIONS)) + ".",
        )
    return edge
