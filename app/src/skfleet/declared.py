"""edge.yml and slo.yml: what the load balancers do and what the service promises, as code reads them.

Both are at the checkout's root. The build writes them into the wheel as `declared.json`, since a build
that only serves has no YAML. On a VM those of the release's roles bundle come first (roles/release).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from skfleet.errors import DocumentError

EDGE, SLO = "edge.yml", "slo.yml"
PACKAGED = "declared.json"

# The service may not bind privileged ports: its unit has no capability.
Port = Annotated[int, msgspec.Meta(ge=1024, le=65535)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]


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


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Only this route says whether a VM should get traffic."""

    path: Literal["/readyz"]


class Liveness(msgspec.Struct, frozen=True, kw_only=True):
    """Only this route answers whatever the service lacks."""

    path: Literal["/livez"]


class Checks(msgspec.Struct, frozen=True, kw_only=True):
    """The routes that health checks ask for."""

    readiness: Readiness
    liveness: Liveness


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """In seconds."""

    request_s: Seconds
    drain_s: Seconds
    backend_keepalive_s: Seconds


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """The part of edge.yml that VMs and their rollouts must know."""

    listeners: Listeners
    loopback: Loopback
    health_checks: Checks
    timeouts: Timeouts

    def ports(self) -> tuple[int, ...]:
        """Every port that a VM listens on."""
        return (*self.listeners.ports(), self.loopback.metrics.port)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A slice of time is good when its percentile is below the threshold."""

    percentile: Annotated[float, msgspec.Meta(gt=0, lt=100)]
    threshold_ms: Annotated[float, msgspec.Meta(gt=0)]


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Of the service's control group."""

    max_mib: Annotated[int, msgspec.Meta(gt=0)]


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM must know of them."""

    latency: Latency
    memory: Memory


class Slo(msgspec.Struct, frozen=True, kw_only=True):
    """The part of slo.yml that VMs must know."""

    objectives: Objectives


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """Both documents."""

    edge: Edge
    slo: Slo


def edge_of(document: Any, where: str) -> Edge:
    """A parsed edge.yml, checked; raises DocumentError naming the field."""
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
    return edge


def slo_of(document: Any, where: str) -> Slo:
    """A parsed slo.yml, checked; raises DocumentError naming the field."""
    try:
        return msgspec.convert(document, Slo)
    except msgspec.ValidationError as error:
        raise DocumentError(f"{SLO} cannot be used: {error}.", where=where) from None


def load(repository: Path) -> Declared:
    """The declarations of a checkout."""
    return _declared(documents(repository), str(repository))


def documents(repository: Path) -> dict[str, Any]:
    """Both documents of a checkout whole, as `declared.json` holds them; raises DocumentError."""
    return {
        "edge": parse((repository / EDGE).read_text, str(repository / EDGE)),
        "slo": parse((repository / SLO).read_text, str(repository / SLO)),
    }


def parse(read: Any, where: str) -> Any:
    """YAML that `read()` returns; raises DocumentError where there is none."""
    import yaml  # Ansible brings it; a build that only serves has none

    try:
        return yaml.safe_load(read())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DocumentError(
            f"{Path(where).name} cannot be read: {error}.",
            where=where,
            hint="Work in a whole checkout of skfleet.",
        ) from None


@functools.cache
def declared() -> Declared:
    """The declarations of this package: those of its wheel, or of the checkout it is imported from."""
    package = Path(__file__).parent
    packaged = package / PACKAGED
    if packaged.exists():
        return _declared(msgspec.json.decode(packaged.read_bytes()), str(packaged))
    return load(package.parents[2])


def _declared(found: dict[str, Any], where: str) -> Declared:
    return Declared(edge=edge_of(found["edge"], where), slo=slo_of(found["slo"], where))
