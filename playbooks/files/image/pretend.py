"""Make a host that is being baked look like one of a fleet: `pretend.py RELEASE`, or `--end` to undo it.

Its service is then the unit of every VM, with the sandbox of every VM, on the baked release. The fleet
asks nobody who they are on the internal listener; its key for IAP is made here and kept by nobody.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet import documents, state
from skfleet.documents.environment import Environment, InternalPolicy
from skfleet.vm.host import Host


def begin(host: Host, release: str) -> None:
    """Environment, keys, what was converged to, and the current release."""
    environment = Environment(fleet="image", internal=InternalPolicy(identity="none"))
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    key = jwt.algorithms.ECAlgorithm.to_jwk(public, as_dict=True) | {"kid": "image", "alg": "ES256"}
    put(host.identity / "environment.json", documents.write(environment))
    put(host.identity / "iap-keys.json", json.dumps({"keys": [key]}).encode())
    state.write(host.run, release)
    link(host).symlink_to(f"releases/{release}")


def end(host: Host) -> None:
    """As if it had never been."""
    link(host).unlink(missing_ok=True)
    for directory in (host.identity, host.run):
        for file in directory.glob("*.json"):
            file.unlink()


def link(host: Host) -> Path:
    """What a VM serves."""
    return host.prefix / "opt/skfleet/current"


def put(path: Path, data: bytes) -> None:
    """A file that the service's user may read."""
    path.write_bytes(data)
    path.chmod(0o644)


def main() -> None:
    """The script."""
    host = Host.read()
    end(host)
    if sys.argv[1] != "--end":
        begin(host, sys.argv[1])


main()
