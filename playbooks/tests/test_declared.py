"""A fleet whose ports and objectives are others, from the first boot to a rollout under load."""

from __future__ import annotations

import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from skfleet.declared import declared
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet_testing.fleet import REPOSITORY, Fleet, assert_clean, serving

pytestmark = [pytest.mark.fleet, pytest.mark.load, pytest.mark.timeout(900)]

PORTS = {"iap": 9180, "internal": 9181, "health": 9182}
METRICS = 9183
LATER = {"iap": 9280, "internal": 9281, "health": 9282}
CHECKOUT = (
    "ansible.cfg",
    "app",
    "inventories",
    "loadtest",
    "local",
    "playbooks",
    "requirements",
    "roles",
)


def declare(checkout: Path, ports: dict[str, int], also: dict[str, int] | None = None) -> None:
    """What a user does: edit edge.yml and slo.yml."""
    edge = yaml.safe_load((REPOSITORY / EDGE).read_text())
    for name, port in ports.items():
        edge["listeners"][name] |= {"port": port} | ({"also": also[name]} if also else {})
    edge["loopback"]["metrics"]["port"] = METRICS
    (checkout / EDGE).write_text(yaml.safe_dump(edge))
    slo = yaml.safe_load((REPOSITORY / SLO).read_text())
    slo["objectives"]["latency"] |= {"threshold_ms": 350, "percentile": 85}
    (checkout / SLO).write_text(yaml.safe_dump(slo))


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two VMs of a checkout with other declarations, at release `a`."""
    directory = tmp_path_factory.mktemp("declared")
    checkout = directory / "checkout"
    checkout.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "tests")
    for name in (*CHECKOUT, EDGE, SLO):
        if (REPOSITORY / name).is_dir():
            shutil.copytree(REPOSITORY / name, checkout / name, ignore=ignore)
        else:
            shutil.copy(REPOSITORY / name, checkout / name)
    declare(checkout, PORTS)
    with serving(directory, 2, 180, checkout=checkout) as made:
        yield made


def listens(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, port)) == 0


def test_a_fleet_with_other_ports_and_objectives_passes_a_rollout_under_load(moved: Fleet) -> None:
    """And half a move to yet other ports: the new release listens on both."""
    checkout, addresses = moved.shell.repository, [vm["address"] for vm in moved.shell.status()]
    for address in addresses:
        assert [listens(address, port) for port in (*PORTS.values(), METRICS)] == [True] * 4
        assert not any(listens(address, port) for port in declared().edge.ports())
    declare(checkout, LATER)
    moved.command("skfleet", "release", "create", "--model", "flight-delay", "--id", "elsewhere")
    refused = moved.playbook("rollout", "--check", release="elsewhere")
    assert refused.code != 0
    assert re.search(r"\(ports\).*9180 \(http-iap\)", refused.output), refused.output[-3000:]

    declare(checkout, PORTS, also=LATER)
    moved.command("skfleet", "release", "create", "--model", "flight-delay", "--id", "both")
    with moved.witnessed() as record:
        result = moved.playbook("rollout", release="both", rollout_capacity=0.5)
    assert result.code == 0, result.output[-3000:]
    assert result.evidence["verdict"] == "rolled-out"
    assert_clean(record)
    assert set(record["releases"]) == {"a", "both"}, "traffic on both sides of the rollout"
    assert all(door["p85_ms"] for door in record["doors"].values()), "both load balancers"
    moved.assert_at("both", 2)
    for vm in moved.shell.status():
        both = (*PORTS.values(), *LATER.values(), METRICS)
        assert [listens(vm["address"], port) for port in both] == [True] * 7
        assert objectives(vm) == {"0.175", "0.35", "0.7", "1.4", "4.375"}


def objectives(vm: dict[str, Any]) -> set[str]:
    """The bounds of a VM's histogram above 0.1 s."""
    text = requests.get(f"http://{vm['address']}:{METRICS}/metrics", timeout=5).text
    bounds = set(re.findall(r'skfleet_request_seconds_bucket\{le="([0-9.]+)"', text))
    return {bound for bound in bounds if float(bound) > 0.1}
