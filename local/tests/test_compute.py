"""The Compute API and the group behind it, with VMs that are stubs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from skfleet.declared import declared
from skfleet_local import client, processes
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.client import Compute
from skfleet_local.compute.project import (
    AUTOSCALER,
    EXTERNAL_BACKEND,
    GROUP,
    INTERNAL_BACKEND,
    TEMPLATE,
    ZONES,
)
from skfleet_operator.google_rest import CallFailed

pytestmark = pytest.mark.fleet

HEALTH = declared().edge.listeners.health.port

Eventually = Callable[[str, float, Callable[[], Any]], Any]


@pytest.fixture(scope="module")
def fleet(start_fleet: Callable[..., Any]) -> Any:
    return start_fleet("--vms", "3", "--time-scale", "20")


@pytest.fixture(scope="module")
def compute(fleet: Any) -> Compute:
    return compute_as(fleet, "deployer")


def compute_as(fleet: Any, account: str) -> Compute:
    token = client.access_token(fleet.run, ACCOUNTS[account])
    return Compute(fleet.state.addresses, token)


def managed(compute: Compute) -> list[dict[str, Any]]:
    url = f"{compute.links.manager(GROUP)}/listManagedInstances"
    found: list[dict[str, Any]] = compute.call("POST", url)["managedInstances"]
    return found


def stable(compute: Compute, size: int) -> list[dict[str, Any]] | None:
    group = compute.call("GET", compute.links.manager(GROUP))
    vms = managed(compute)
    done = group["status"]["isStable"] and len(vms) == size
    return vms if done else None


def settle(compute: Compute, eventually: Eventually, size: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = eventually(
        f"{size} stable VMs", 60, lambda: stable(compute, size)
    )
    return found


def test_vms_are_spread_over_three_zones(compute: Compute, eventually: Eventually) -> None:
    vms = settle(compute, eventually, 3)
    assert {vm["instance"].split("/zones/")[1].split("/")[0] for vm in vms} == set(ZONES)
    for vm in vms:
        assert vm["instanceStatus"] == "RUNNING"
        assert vm["currentAction"] == "NONE"
        assert vm["instanceHealth"][0]["detailedHealthState"] == "HEALTHY"
        assert isinstance(vm["id"], str)
        assert compute.call("GET", vm["instance"])["networkInterfaces"][0]["networkIP"]


def test_a_vm_knows_its_fleet_from_its_metadata_alone(fleet: Any) -> None:
    for vm in fleet.run.vms.iterdir():
        held = {str(path.relative_to(vm)) for path in (vm / "etc").rglob("*") if path.is_file()}
        assert held == {
            "etc/skfleet/host.yml",
            "etc/skfleet/host.env",
            "etc/supervisor/supervisord.conf",
            "etc/supervisor/conf.d/skfleet.conf",  # the stub's own
        }
        assert "fleets/local" not in (vm / "etc/skfleet/host.env").read_text()
        assert "fleets/local" in (vm / "var/log/skfleet-converge.log").read_text()


def test_each_operation_takes_its_time_and_ends(compute: Compute) -> None:
    url = f"{compute.links.manager(GROUP)}/resize?size=3"
    operation = compute.call("POST", url)
    assert operation["status"] in ("PENDING", "RUNNING")
    assert operation["operationType"] == "resize"
    assert operation["user"] == ACCOUNTS["deployer"].email
    assert compute.call("GET", operation["selfLink"])["name"] == operation["name"]
    assert compute.call("POST", operation["selfLink"] + "/wait")["status"] == "DONE"
    assert compute.call("GET", operation["selfLink"])["progress"] == 100


def test_scaling_out_and_in(fleet: Any, compute: Compute, eventually: Eventually) -> None:
    before = {vm["name"] for vm in settle(compute, eventually, 3)}
    fleet.command("scale", "5")
    vms = settle(compute, eventually, 5)
    assert before < {vm["name"] for vm in vms}
    fleet.command("scale", "3")
    settle(compute, eventually, 3)
    left = {vm["name"] for vm in managed(compute)}
    assert {path.name for path in fleet.run.vms.iterdir()} == left
    for gone in {vm["name"] for vm in vms} - left:
        assert not processes.of_run(fleet.run.root, gone)


def test_deleting_instances_shrinks_the_group(compute: Compute, eventually: Eventually) -> None:
    vms = settle(compute, eventually, 3)
    autoscaler = f"{compute.links.region}/autoscalers?autoscaler={AUTOSCALER}"
    compute.change(autoscaler, {"autoscalingPolicy": {"mode": "OFF"}}, method="PATCH")
    url = f"{compute.links.manager(GROUP)}/deleteInstances"
    compute.change(url, {"instances": [vms[0]["instance"]]})
    left = settle(compute, eventually, 2)
    assert vms[0]["name"] not in {vm["name"] for vm in left}
    # With its autoscaler at work the group is back at the minimum by itself.
    compute.change(autoscaler, {"autoscalingPolicy": {"mode": "ON"}}, method="PATCH")
    settle(compute, eventually, 3)


def test_a_schedule_that_is_in_force_brings_its_vms_and_says_so(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    settle(compute, eventually, 3)
    url = f"{compute.links.region}/autoscalers?autoscaler={AUTOSCALER}"
    opening = {"minRequiredReplicas": 4, "schedule": "* * * * *", "durationSec": 3600}

    def patch(**policy: Any) -> None:
        compute.change(url, {"autoscalingPolicy": policy}, method="PATCH")

    with pytest.raises(CallFailed, match="cron expression"):
        patch(scalingSchedules={"opening": {**opening, "schedule": "always"}})
    patch(scalingSchedules={"opening": opening})
    try:
        settle(compute, eventually, 4)
    finally:
        patch(scalingSchedules={"opening": {**opening, "disabled": True}})
    events = [json.loads(line) for line in fleet.run.events_file.read_text().splitlines()]
    said = [event["reason"] for event in events if event["event"] == "autoscale"]
    assert "schedule 'opening' asks for 4" in said[-1]
    fleet.command("scale", "3")
    settle(compute, eventually, 3)


def identity(compute: Compute, name: str) -> tuple[str, str]:
    vm = next(vm for vm in managed(compute) if vm["name"] == name)
    return vm.get("id", ""), vm["instance"]


def test_recreating_gives_the_same_vm_from_a_fresh_disk(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    vm = settle(compute, eventually, 3)[0]
    trace = fleet.run.vms / vm["name"] / "var/lib/skfleet/trace"
    trace.touch()
    url = f"{compute.links.manager(GROUP)}/recreateInstances"
    compute.change(url, {"instances": [vm["instance"]]})
    eventually("a new id", 60, lambda: identity(compute, vm["name"])[0] not in ("", vm["id"]))
    settle(compute, eventually, 3)
    assert identity(compute, vm["name"])[1] == vm["instance"]
    assert not trace.exists()


def test_a_killed_vm_is_replaced_within_seconds(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    vm = settle(compute, eventually, 3)[1]
    fleet.command("break", "kill", vm["name"])
    eventually("a new id", 20, lambda: identity(compute, vm["name"])[0] not in ("", vm["id"]))
    settle(compute, eventually, 3)
    events = [json.loads(line) for line in fleet.run.events_file.read_text().splitlines()]
    reasons = [e["reason"] for e in events if e["event"] == "recreating" and e["vm"] == vm["name"]]
    assert "init process ended" in reasons[-1]


@pytest.mark.parametrize("how", ["stopped", "failing"])
def test_a_vm_that_fails_its_liveness_check_is_replaced(
    fleet: Any, compute: Compute, eventually: Eventually, how: str
) -> None:
    vm = settle(compute, eventually, 3)[2]
    if how == "failing":
        (fleet.run.vms / vm["name"] / "run/dead").touch()
    else:
        for process in processes.of_run(fleet.run.root, vm["name"]):
            process.signal(signal.SIGSTOP)
    eventually("a new id", 120, lambda: identity(compute, vm["name"])[0] not in ("", vm["id"]))
    settle(compute, eventually, 3)


def test_a_vms_init_restarts_what_ends_on_the_vm(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    vm = settle(compute, eventually, 3)[0]
    service = next(
        process
        for process in processes.of_run(fleet.run.root, vm["name"])
        if b"service.py" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    )
    processes.kill(lambda: [service])
    address = compute.call("GET", vm["instance"])["networkInterfaces"][0]["networkIP"]

    def live() -> bool:
        try:
            return requests.get(f"http://{address}:{HEALTH}/livez", timeout=1).status_code == 200
        except requests.RequestException:
            return False

    eventually("it is back", 20, live)
    assert identity(compute, vm["name"])[0] == vm["id"]


def test_a_reset_boots_the_same_vm_from_the_same_disk(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    vm = settle(compute, eventually, 3)[0]
    trace = fleet.run.vms / vm["name"] / "var/lib/skfleet/trace"
    trace.touch()
    before = {process.pid for process in processes.of_run(fleet.run.root, vm["name"])}
    fleet.command("break", "reboot", vm["name"])

    def booted() -> bool:
        now = {process.pid for process in processes.of_run(fleet.run.root, vm["name"])}
        return bool(now) and not now & before

    eventually("its processes are others", 30, booted)
    settle(compute, eventually, 3)
    assert identity(compute, vm["name"])[0] == vm["id"]
    assert trace.exists()


def test_backend_health_is_the_load_balancers_view(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    settle(compute, eventually, 3)
    group = {"group": compute.links.group(GROUP)}

    def states(backend: str, regional: bool) -> dict[str, str]:
        url = compute.links.backend(backend, regional) + "/getHealth"
        answer = compute.call("POST", url, group)
        assert answer["kind"] == "compute#backendServiceGroupHealth"
        return {s["instance"]: s["healthState"] for s in answer["healthStatus"]}

    both = ((EXTERNAL_BACKEND, False), (INTERNAL_BACKEND, True))
    eventually(
        "all healthy",
        30,
        lambda: all(list(states(*b).values()) == ["HEALTHY"] * 3 for b in both),
    )
    vm = sorted(fleet.run.vms.iterdir())[0]
    (vm / "run/unready").touch()
    try:
        eventually(
            "one is not",
            30,
            lambda: all(sorted(states(*b).values()).count("UNHEALTHY") == 1 for b in both),
        )
    finally:
        (vm / "run/unready").unlink()


def test_status_names_vms_and_the_reason_of_an_unready_one(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    settle(compute, eventually, 3)
    vm = sorted(fleet.run.vms.iterdir())[0]
    (vm / "run/unready").touch()
    try:
        status = json.loads(fleet.command("status", "--json").stdout)
        found = {item["name"]: item for item in status["vms"]}
        assert found[vm.name]["readyz"] == "503"
        assert found[vm.name]["why_not_ready"] == "told to"
        assert {item["release"] for item in status["vms"]} == {"stub"}
        assert "told to" in fleet.command("status").stdout
    finally:
        (vm / "run/unready").unlink()
    assert "converged" in fleet.command("logs", vm.name).stdout


def test_only_who_may_speaks_to_the_api(fleet: Any, compute: Compute) -> None:
    url = compute.links.manager(GROUP)
    assert requests.get(url, timeout=5).status_code == 401
    for account in ("caller", "publisher", "stranger"):
        with pytest.raises(CallFailed, match=ACCOUNTS[account].email) as refused:
            compute_as(fleet, account).call("GET", url)
        assert refused.value.status == 403


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/regions/us-central1/instanceGroupManagers/none", None, 404),
        ("GET", "/regions/mars/instanceGroupManagers/skfleet", None, 404),
        ("GET", "/regions/us-central1/operations/none", None, 404),
        ("GET", "/global/backendServices/skfleet-internal", None, 404),
        ("GET", "/global/images", None, 404),
        ("POST", "/global/instanceTemplates", {"name": TEMPLATE, "properties": {}}, 409),
        ("POST", "/global/instanceTemplates", {"name": "No Name", "properties": {}}, 400),
        ("POST", f"/regions/us-central1/instanceGroupManagers/{GROUP}/resize?size=-1", None, 400),
        (
            "POST",
            f"/regions/us-central1/instanceGroupManagers/{GROUP}/recreateInstances",
            {"instances": ["zones/us-central1-a/instances/none"]},
            400,
        ),
    ],
)
def test_refusals_have_googles_form(
    compute: Compute, method: str, path: str, body: Any, status: int
) -> None:
    with pytest.raises(CallFailed) as refused:
        compute.call(method, compute.links.project + path, body)
    assert refused.value.status == status


def test_the_cloud_comes_back_with_what_it_knew(
    fleet: Any, compute: Compute, eventually: Eventually
) -> None:
    before = {vm["name"]: vm["id"] for vm in settle(compute, eventually, 3)}
    cloud = fleet.state.processes["cloud"]
    os.kill(cloud.pid, signal.SIGKILL)
    fleet.command("up")
    assert {vm["name"]: vm["id"] for vm in settle(compute, eventually, 3)} == before
