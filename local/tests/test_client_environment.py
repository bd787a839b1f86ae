"""What an operator's shell is told."""

from __future__ import annotations

import shlex

import pytest

from skfleet_local import up
from skfleet_local.addresses import Addresses
from skfleet_local.run import Run, State

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture
def state(addresses: Addresses, monkeypatch: pytest.MonkeyPatch) -> State:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return State(subnet=addresses.subnet, project="p", repository="/", runtime="", time_scale=5.0)


def test_every_line_can_be_read_by_a_shell(run: Run, state: State) -> None:
    odd = Run(run.root / "with a 'quote")
    odd.root.mkdir()
    up.write_client_environment(odd, state)
    for line in odd.client_env.read_text().splitlines():
        name, _, value = line.partition("=")
        assert name.isidentifier()
        assert len(shlex.split(value)) == 1
    assert "NO_PROXY" not in odd.client_env.read_text()


def test_a_proxy_of_the_users_is_passed_by_and_its_exceptions_kept(
    run: Run, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "intranet.example")
    environment = up.client_environment(run, state)
    assert environment["NO_PROXY"] == "intranet.example,127.0.0.0/8"
