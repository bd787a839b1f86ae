"""Who listens where. Every listener of a run is on one /24 of the loopback network.

The /24 comes from a hash of the run directory, so that a run finds its own again and two runs do not
meet; where somebody else listens there, the next one is taken. Ports are fixed: only addresses differ.
"""

from __future__ import annotations

import errno
import hashlib
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from skfleet.errors import ConfigurationError

# On VMs; the ports of the service itself are edge.yml's.
METADATA_PORT = 8775

# The cloud's own.
STORAGE_PORT = 4443
IDENTITY_PORT = 8100
COMPUTE_PORT = 8102
ADMIN_PORT = 8103
TLS_PORT = 8443  # 443 is not for ordinary users

FIRST_VM = 11
LAST_VM = 250
_CANDIDATES = 64


@dataclass(frozen=True, slots=True)
class Addresses:
    """The addresses of one run. `subnet` is the first three numbers: `127.83.12`."""

    subnet: str

    @property
    def cloud(self) -> str:
        """All stand-ins."""
        return f"{self.subnet}.1"

    @property
    def external(self) -> str:
        """The load balancer on the internet, with IAP."""
        return f"{self.subnet}.2"

    @property
    def internal(self) -> str:
        """The load balancer in the VPC."""
        return f"{self.subnet}.3"

    def vms(self) -> Iterator[str]:
        """All addresses that VMs can have, in the order in which they are given out."""
        return (f"{self.subnet}.{number}" for number in range(FIRST_VM, LAST_VM + 1))

    @property
    def external_url(self) -> str:
        """Where users call."""
        return f"https://{self.external}:{TLS_PORT}"

    @property
    def internal_url(self) -> str:
        """Where callers in the VPC call."""
        return f"https://{self.internal}:{TLS_PORT}"

    @property
    def storage_url(self) -> str:
        """Cloud Storage."""
        return f"http://{self.cloud}:{STORAGE_PORT}"

    @property
    def identity_url(self) -> str:
        """Token endpoint and public keys."""
        return f"http://{self.cloud}:{IDENTITY_PORT}"

    @property
    def token_url(self) -> str:
        """`token_uri` of the service account key files."""
        return f"{self.identity_url}/token"

    @property
    def google_keys_url(self) -> str:
        """Public keys of ID tokens."""
        return f"{self.identity_url}/oauth2/v3/certs"

    @property
    def iap_keys_url(self) -> str:
        """Public keys of IAP's assertions."""
        return f"{self.identity_url}/iap/verify/public_key-jwk"

    @property
    def compute_url(self) -> str:
        """Base of the Compute API, as google-api-python-client spells it."""
        return f"http://{self.cloud}:{COMPUTE_PORT}/compute/v1"

    @property
    def admin_url(self) -> str:
        """What the command line asks about the run; Google has no such thing."""
        return f"http://{self.cloud}:{ADMIN_PORT}"

    def listeners(self, vms: int, vm_ports: Iterable[int]) -> list[tuple[str, int]]:
        """Everything a run with this many VMs listens on."""
        stand_ins = (STORAGE_PORT, IDENTITY_PORT, COMPUTE_PORT, ADMIN_PORT)
        result = [(self.cloud, port) for port in stand_ins]
        result += [(self.external, TLS_PORT), (self.internal, TLS_PORT)]
        ports = (*vm_ports, METADATA_PORT)
        for _, address in zip(range(vms), self.vms(), strict=False):
            result += [(address, port) for port in ports]
        return result


def candidates(run: Path) -> Iterator[Addresses]:
    """The /24s a run may have, its own first. 127.0–15 is left to what people use by hand."""
    number = int.from_bytes(hashlib.sha256(str(run).encode()).digest()[:4], "big")
    for step in range(_CANDIDATES):
        place = (number + step) % (240 * 256)
        yield Addresses(f"127.{16 + place // 256}.{place % 256}")


def choose(run: Path, vms: int, vm_ports: Iterable[int]) -> Addresses:
    """The first candidate where nobody listens; raises ConfigurationError naming the taken port."""
    ports = tuple(vm_ports)
    taken: tuple[str, int] | None = None
    for addresses in candidates(run):
        taken = first_taken(addresses.listeners(vms, ports))
        if taken is None:
            return addresses
    address, port = taken or ("", 0)
    raise ConfigurationError(
        f"Port {port} is taken on every loopback address that was tried, last {address}.",
        where=f"port {port}",
        hint=f"A program listens on it for all addresses; `ss -ltnp 'sport = :{port}'` names it.",
    )


def first_taken(listeners: Iterable[tuple[str, int]]) -> tuple[str, int] | None:
    """The first listener that cannot be had now."""
    for address, port in listeners:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # Connections of a run that just ended may linger; only listeners are in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
                return address, port
    return None
