"""Which listener a request came in on, and what each listener serves.

The only evidence is the port of the socket that accepted the connection (`scope["server"]` in ASGI,
`SERVER_PORT` in WSGI, which gunicorn takes from getsockname); no header can alter it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from skfleet.errors import ConfigurationError
from skfleet.settings import Settings


class Listener(enum.Enum):
    """A listener by what it is for."""

    IAP = "iap"
    INTERNAL = "internal"
    HEALTH = "health"
    METRICS = "metrics"


# Listeners that serve a fixed set of exact paths, without identity. The others serve every route
# except /metrics, and nothing at all without identity.
OPEN_PATHS: Mapping[Listener, frozenset[str]] = {
    Listener.HEALTH: frozenset({"/livez", "/readyz", "/version"}),
    Listener.METRICS: frozenset({"/metrics"}),
}
METRICS_PATH = "/metrics"


def by_port(settings: Settings) -> dict[int, Listener]:
    """Listener of each port; raises ConfigurationError where two listeners share one."""
    ports: dict[int, Listener] = {}
    for listener, *numbers in (
        (Listener.IAP, settings.port_iap, settings.port_iap_also),
        (Listener.INTERNAL, settings.port_internal, settings.port_internal_also),
        (Listener.HEALTH, settings.port_health, settings.port_health_also),
        (Listener.METRICS, settings.port_metrics),
    ):
        for port in filter(None, numbers):
            if ports.setdefault(port, listener) is not listener:
                raise ConfigurationError(
                    f"Two listeners have the same port, {port}, so requests could not be told apart.",
                    where=f"SKFLEET_PORT_{listener.name}",
                    hint="Give each listener a port of its own (edge.yml).",
                )
    return ports


def binds(settings: Settings) -> list[str]:
    """What to bind, as `address:port`."""
    return [
        f"{settings.loopback_address if listener is Listener.METRICS else settings.bind_address}:{port}"
        for port, listener in by_port(settings).items()
    ]


def serves(listener: Listener | None, path: str) -> bool:
    """Whether a listener serves this exact path (no prefixes, no normalisation)."""
    if listener is None:
        return False
    if listener in OPEN_PATHS:
        return path in OPEN_PATHS[listener]
    # Werkzeug's router drops repeated slashes at the start: `//metrics` would be /metrics to it.
    return path != METRICS_PATH and not path.startswith("//")


def needs_identity(listener: Listener) -> bool:
    """Whether every request on this listener must prove who sends it."""
    return listener not in OPEN_PATHS
