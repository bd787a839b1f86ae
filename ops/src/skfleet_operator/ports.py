"""Ports of this machine for programs that are about to start."""

from __future__ import annotations

import random
import socket
from contextlib import ExitStack

# Below those of outgoing connections (ip_local_port_range), which could take one at any moment.
CANDIDATES = range(10_000, 32_000)


def free_ports(count: int) -> list[int]:
    """Different TCP ports of 127.0.0.1 that nobody listens on at this moment."""
    found: list[int] = []
    with ExitStack() as stack:
        for port in random.sample(CANDIDATES, len(CANDIDATES)):
            if len(found) == count:
                break
            try:
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found
