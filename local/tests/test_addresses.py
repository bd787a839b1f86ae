"""Runs find their own addresses again, and stay off each other's."""

from __future__ import annotations

import socket
from itertools import islice
from pathlib import Path

import pytest

from skfleet.errors import ConfigurationError
from skfleet_local.addresses import Addresses, candidates, choose, first_taken


def test_a_run_gets_the_same_addresses_every_time() -> None:
    assert list(islice(candidates(Path("/x")), 3)) == list(islice(candidates(Path("/x")), 3))


def test_two_runs_start_with_different_addresses() -> None:
    firsts = {next(candidates(Path(f"/run/{number}"))).subnet for number in range(200)}
    assert len(firsts) > 195


def test_all_candidates_are_loopback_and_not_the_usual_ones() -> None:
    for addresses in candidates(Path("/y")):
        first, second, third = (int(part) for part in addresses.subnet.split("."))
        assert first == 127
        assert second >= 16
        assert 0 <= third <= 255


def test_a_taken_subnet_is_passed_over() -> None:
    run = Path("/somewhere/else")
    own = choose(run, 1, (9080,))
    with socket.socket() as other:
        other.bind((own.cloud, 4443))
        other.listen()
        assert choose(run, 1, (9080,)) != own
    assert choose(run, 1, (9080,)) == own


def test_a_port_taken_everywhere_is_named() -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigurationError, match=str(port)):
            choose(Path("/z"), 1, (port,))


def test_every_listener_of_a_run_is_on_its_subnet() -> None:
    listeners = Addresses("127.20.30").listeners(3, (9080, 9081, 9082))
    assert all(address.startswith("127.20.30.") for address, _ in listeners)
    assert len(listeners) == len(set(listeners))
    assert first_taken([]) is None
