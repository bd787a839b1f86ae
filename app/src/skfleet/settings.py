"""Settings of a host's programs, each declared once: name, type, default, unit, meaning.

They come from the environment (`/etc/skfleet/host.env` and, for the service, the release's
`service.env`). `skfleet settings` prints the table; the roles write only names declared here.
A value that does not parse stops the program at start with the setting's name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from skfleet import declared
from skfleet.documents.edge import Edge
from skfleet.documents.slo import Slo
from skfleet.errors import ConfigurationError


def setting(
    env: str,
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    release: bool = False,
) -> Any:
    """One declared setting. `default`: a value, or a function that reads it from edge.yml or slo.yml.

    `release=True`: a release may set it in its `settings`.
    """
    metadata = {
        "env": env,
        "meaning": meaning,
        "unit": unit,
        "low": low,
        "high": high,
        "choices": choices,
        "release": release,
    }
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def of_edge(read: Callable[[Edge], float]) -> Callable[[], int]:
    """A default that edge.yml declares."""
    return lambda: math.ceil(read(declared.declared().edge))


def of_slo(read: Callable[[Slo], float]) -> Callable[[], int]:
    """A default that slo.yml declares."""
    return lambda: math.ceil(read(declared.declared().slo))


def port_setting(env: str, read: Callable[[Edge], float], meaning: str, low: int = 1) -> Any:
    """A port that edge.yml declares."""
    return setting(env, of_edge(read), f"{meaning}; default: edge.yml", low=low, high=65535)


# The service closes idle connections later than the load balancers: none sends a request into the closing.
KEEPALIVE_MARGIN_S = 50


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one process, parsed and checked."""

    # What is served
    release: str = setting("SKFLEET_RELEASE", "", "id of the release this process belongs to")
    models: str = setting(
        "SKFLEET_MODELS",
        "",
        "models to serve, `name=directory` by commas; the first is the default",
    )
    model_uri: str = setting(
        "MODEL_URI",
        "",
        "without SKFLEET_MODELS: one model's manifest (`gs://…/manifest.json[#generation]`) or directory",
    )

    # Listeners
    bind_address: str = setting(
        "SKFLEET_BIND_ADDRESS",
        "0.0.0.0",
        "address of the three listeners for the network",
    )
    loopback_address: str = setting(
        "SKFLEET_LOOPBACK_ADDRESS", "127.0.0.1", "address of the metrics listener"
    )
    port_iap: int = port_setting(
        "SKFLEET_PORT_IAP", lambda edge: edge.listeners.iap.port, "listener behind IAP"
    )
    port_internal: int = port_setting(
        "SKFLEET_PORT_INTERNAL",
        lambda edge: edge.listeners.internal.port,
        "listener for callers in the VPC",
    )
    port_health: int = port_setting(
        "SKFLEET_PORT_HEALTH", lambda edge: edge.listeners.health.port, "health listener"
    )
    port_metrics: int = port_setting(
        "SKFLEET_PORT_METRICS", lambda edge: edge.loopback.metrics.port, "metrics listener"
    )
    port_iap_also: int = port_setting(
        "SKFLEET_PORT_IAP_ALSO",
        lambda edge: edge.listeners.iap.also or 0,
        "second port of the listener behind IAP; 0: none",
        low=0,
    )
    port_internal_also: int = port_setting(
        "SKFLEET_PORT_INTERNAL_ALSO",
        lambda edge: edge.listeners.internal.also or 0,
        "second port for callers in the VPC; 0: none",
        low=0,
    )
    port_health_also: int = port_setting(
        "SKFLEET_PORT_HEALTH_ALSO",
        lambda edge: edge.listeners.health.also or 0,
        "second port of the health listener; 0: none",
        low=0,
    )

    # The service
    fast_lane: bool = setting(
        "SKFLEET_FAST_LANE",
        True,
        "answer common predictions and probes before Flask; off: Flask answers everything, in threads",
        release=True,
    )
    workers: int = setting("SKFLEET_WORKERS", 2, "worker processes", low=1, high=64, release=True)
    threads: int = setting(
        "SKFLEET_THREADS", 8, "Flask threads a worker", low=1, high=256, release=True
    )
    max_body_bytes: int = setting(
        "SKFLEET_MAX_BODY_BYTES",
        4 * 1024 * 1024,
        "largest request body",
        unit="bytes",
        low=1024,
        high=1024**3,
        release=True,
    )
    max_in_flight: int = setting(
        "SKFLEET_MAX_IN_FLIGHT",
        256,
        "requests in flight a worker before new ones get 429",
        low=1,
        high=100_000,
        release=True,
    )
    latency_objective_ms: int = setting(
        "SKFLEET_LATENCY_OBJECTIVE_MS",
        of_slo(lambda slo: slo.objectives.latency.threshold_ms),
        "latency objective: a bound of the histogram, and what load shedding keeps; default: slo.yml",
        unit="ms",
        low=1,
        high=600_000,
    )
    head_timeout_s: int = setting(
        "SKFLEET_HEAD_TIMEOUT_S",
        10,
        "time from the first byte of a request to the end of its headers, then 408",
        unit="s",
        low=1,
        high=600,
        release=True,
    )
    body_timeout_s: int = setting(
        "SKFLEET_BODY_TIMEOUT_S",
        30,
        "time for a whole request body to arrive, then 408; and for a client to take more of an answer",
        unit="s",
        low=1,
        high=600,
        release=True,
    )
    keepalive_s: int = setting(
        "SKFLEET_KEEPALIVE_S",
        of_edge(lambda edge: edge.timeouts.backend_keepalive_s + KEEPALIVE_MARGIN_S),
        f"lifetime of idle connections; default: edge.yml's backend_keepalive_s and {KEEPALIVE_MARGIN_S} s",
        unit="s",
        low=1,
        high=3600,
        release=True,
    )
    graceful_timeout_s: int = setting(
        "SKFLEET_GRACEFUL_TIMEOUT_S",
        of_edge(lambda edge: edge.timeouts.drain_s),
        "time for requests in flight when a worker stops; default: edge.yml's drain_s",
        unit="s",
        low=1,
        high=3600,
        release=True,
    )
    reload_linger_s: int = setting(
        "SKFLEET_RELOAD_LINGER_S",
        60,
        "time that a reload leaves idle connections of the old workers for one more request",
        unit="s",
        low=1,
        high=600,
        release=True,
    )
    log_level: str = setting(
        "SKFLEET_LOG_LEVEL",
        "info",
        "debug, info, warning or error",
        choices=("debug", "info", "warning", "error"),
        release=True,
    )

    # Files that other units of the host write and the service rereads
    identity_dir: Path = setting(
        "SKFLEET_IDENTITY_DIR",
        Path("/var/lib/skfleet/identity"),
        "environment.json and the identity providers' keys",
    )
    run_dir: Path = setting(
        "SKFLEET_RUN_DIR", Path("/run/skfleet"), "converge state and drain mark; gone at reboot"
    )
    require_converged: bool = setting(
        "SKFLEET_REQUIRE_CONVERGED",
        False,
        "ready only after this host has converged to the process's own release",
    )

    # Where the host finds the cloud
    storage_endpoint: str = setting(
        "SKFLEET_STORAGE_ENDPOINT", "", "Cloud Storage API endpoint; empty: Google's"
    )
    iap_keys_url: str = setting(
        "SKFLEET_IAP_KEYS_URL",
        "https://www.gstatic.com/iap/verify/public_key-jwk",
        "IAP's public keys (JWKS)",
    )
    google_keys_url: str = setting(
        "SKFLEET_GOOGLE_KEYS_URL",
        "https://www.googleapis.com/oauth2/v3/certs",
        "public keys of Google's ID tokens (JWKS)",
    )
    cache_dir: Path = setting(
        "SKFLEET_CACHE_DIR", Path("/var/lib/skfleet/cache"), "verified artefacts, by digest"
    )
    trusted_keys: Path = setting(
        "SKFLEET_TRUSTED_KEYS",
        Path("/etc/skfleet/trusted-keys"),
        "public keys `*.pub`, PEM: what is fetched must be signed by one; none: signatures are not asked for",
    )
    refresh_interval_s: int = setting(
        "SKFLEET_REFRESH_INTERVAL_S",
        60,
        "time between looks at environment and keys",
        unit="s",
        low=1,
        high=3600,
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Parse the process environment; raises ConfigurationError naming the setting."""
        environ = os.environ if environ is None else environ
        types = get_type_hints(cls)
        values: dict[str, Any] = {}
        for item in fields(cls):
            raw = environ.get(item.metadata["env"])
            if raw is not None and raw != "":
                values[item.name] = _parse(item.metadata, types[item.name], raw)
        return cls(**values)


def release_settings(values: Mapping[str, Any]) -> dict[str, str]:
    """The environment variables for a release's `settings`; refuses unknown names and bad values."""
    types = get_type_hints(Settings)
    allowed = {f.name: f for f in fields(Settings) if f.metadata["release"]}
    result: dict[str, str] = {}
    for name, value in sorted(values.items()):
        item = allowed.get(name)
        if item is None:
            raise ConfigurationError(
                f"A release has no setting '{name}'.",
                where=f"settings.{name}",
                hint="Known: " + ", ".join(sorted(allowed)) + ".",
            )
        raw = str(value).lower() if isinstance(value, bool) else str(value)
        _parse(item.metadata, types[name], raw)
        result[item.metadata["env"]] = raw
    return result


def environment_of(settings: Settings) -> dict[str, str]:
    """The environment variables that give these settings."""
    return {f.metadata["env"]: str(getattr(settings, f.name)) for f in fields(settings)}


def table() -> list[tuple[str, str, str, str, str]]:
    """(environment variable, type, default, unit, meaning) of every setting."""
    types = get_type_hints(Settings)
    return [
        (
            f.metadata["env"],
            types[f.name].__name__,
            str(_default(f)),
            f.metadata["unit"],
            f.metadata["meaning"],
        )
        for f in fields(Settings)
    ]


def _default(item: Field[Any]) -> Any:
    return item.default_factory() if callable(item.default_factory) else item.default


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _parse(metadata: Mapping[str, Any], kind: type, raw: str) -> Any:
    env = metadata["env"]
    if kind is bool:
        if raw.lower() not in _BOOLEANS:
            raise ConfigurationError(
                f"'{raw}' is neither true nor false.", where=env, hint="Set true or false."
            )
        return _BOOLEANS[raw.lower()]
    if kind is int:
        try:
            number = int(raw)
        except ValueError:
            raise ConfigurationError(
                f"'{raw}' is not a whole number.", where=env, hint=metadata["meaning"] + "."
            ) from None
        low, high = metadata["low"], metadata["high"]
        if (low is not None and number < low) or (high is not None and number > high):
            raise ConfigurationError(
                f"{number} is out of range.", where=env, hint=f"Allowed: {low} to {high}."
            )
        return number
    if metadata["choices"] and raw.lower() not in metadata["choices"]:
        raise ConfigurationError(
            f"Invalid value {raw!r}: expected one of {', '.join(metadata['choices'])}.",
            where=env,
            hint=metadata["meaning"] + ".",
        )
    return kind(raw)
