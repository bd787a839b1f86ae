"""Free ports differ, and can be listened on."""

from __future__ import annotations

import socket

from skfleet_operator.ports import free_ports


def test_free_ports_differ_and_can_be_listened_on() -> None:
    ports = free_ports(8)
    assert len(set(ports)) == 8
    for port in ports:
        with socket.create_server(("127.0.0.1", port)):
            pass
