"""A group that grows, shrinks, loses VMs and heals under load answers everything, and rightly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skfleet_local import client, processes
from skfleet_local.demo.fleet import serves
from skfleet_testing.fleet import VMS, Fleet, assert_clean

from .test_going_back import assert_went_back

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(600)]


def there(fleet: Fleet, size: int, seconds: float = 180) -> None:
    """So many VMs, all of them serving `a`."""
    assert fleet.shell.wait(
        f"{size} VMs serve",
        lambda vms: len(vms) == size and all(serves(vm, "a") for vm in vms),
        seconds,
    ), fleet.command("skfleet-local", "status")


def replaced(fleet: Fleet, vm: dict[str, Any], seconds: float = 180) -> None:
    """The same name, another machine, serving."""
    assert fleet.shell.wait(
        f"{vm['name']} is another",
        lambda vms: any(
            one["name"] == vm["name"] and one["id"] != vm["id"] and serves(one, "a") for one in vms
        ),
        seconds,
    ), fleet.command("skfleet-local", "status")


def grow_of(fleet: Fleet) -> Callable[[str], None]:
    """What makes the group larger in the middle of a rollout."""

    def grow(_: str) -> None:
        fleet.command("skfleet-local", "scale", "5")

    return grow


def reasons(fleet: Fleet, vm: str, event: str = "recreating") -> list[str]:
    return [one["reason"] for one in fleet.events() if (one["vm"], one["event"]) == (vm, event)]


@pytest.mark.load
def test_a_vm_that_is_killed_whole_is_recreated_as_it_was(at_a: Fleet) -> None:
    vm, was = at_a.shell.status()[0], at_a.templates()
    with at_a.witnessed() as record:
        at_a.command("skfleet-local", "break", "kill", vm["name"])
        replaced(at_a, vm)
    assert_clean(record)
    assert "its init process ended" in reasons(at_a, vm["name"])[-1]
    assert at_a.templates() == was
    at_a.assert_at("a")


@pytest.mark.load
@pytest.mark.full
def test_a_vm_that_hangs_is_taken_out_and_recreated(at_a: Fleet) -> None:
    """What is in its hands is asked again elsewhere, after the time of one try."""
    vm = at_a.shell.status()[1]
    with at_a.witnessed() as record:
        for process in processes.of_run(at_a.shell.run.root, vm["name"]):
            process.signal(signal.SIGSTOP)
        replaced(at_a, vm)
    assert_clean(record)
    assert "/livez: no answer, 6 times in a row" in reasons(at_a, vm["name"])[-1]
    at_a.assert_at("a")


@pytest.mark.load
@pytest.mark.full
def test_a_vm_whose_livez_fails_is_recreated_and_not_before_its_time(at_a: Fleet) -> None:
    vm = at_a.shell.status()[2]
    configuration = at_a.shell.run.vms / vm["name"] / "etc/supervisor/supervisord.conf"
    control = str(Path(sys.executable).parent / "supervisorctl")
    with at_a.witnessed() as record:
        began = time.monotonic()
        subprocess.run(
            [control, "-c", str(configuration), "stop", "skfleet"], check=True, capture_output=True
        )
        at_a.shell.wait(
            "it is given up",
            lambda _: bool(reasons(at_a, vm["name"])) and "/livez" in reasons(at_a, vm["name"])[-1],
            120,
        )
        patience = time.monotonic() - began
        replaced(at_a, vm)
    assert_clean(record)
    assert patience > 30, "a service that restarts must not be taken for a dead VM"
    at_a.assert_at("a")


@pytest.mark.load
@pytest.mark.full
def test_from_three_to_eight_and_back_loses_no_request(at_a: Fleet) -> None:
    first = {vm["name"] for vm in at_a.shell.status()}
    with at_a.witnessed() as record:
        at_a.command("skfleet-local", "scale", "8")
        there(at_a, 8, 300)
        zones = [vm["zone"] for vm in at_a.shell.status()]
        assert {zones.count(zone) for zone in set(zones)} == {2, 3}, "spread over the zones"
        at_a.command("skfleet-local", "scale", str(VMS))
        there(at_a, VMS)
    assert_clean(record)
    assert {vm["name"] for vm in at_a.shell.status()} == first, "the newest go first"
    at_a.assert_at("a")


@pytest.fixture
def by_load(at_a: Fleet) -> Iterator[Fleet]:
    """An autoscaler that this machine's load can move: its CPU target far below a real one."""
    at_a.set_autoscaler(cpuUtilization={"utilizationTarget": 0.03})
    yield at_a
    at_a.set_autoscaler(cpuUtilization={"utilizationTarget": 0.6})
    at_a.command("skfleet-local", "scale", str(VMS))
    there(at_a, VMS)


@pytest.mark.load
@pytest.mark.full
def test_ten_times_the_load_brings_vms_and_loses_no_request(by_load: Fleet) -> None:
    with by_load.witnessed(enough=0, rate=20) as base:
        with by_load.witnessed() as spike:
            by_load.shell.wait("the group grows", lambda vms: len(vms) > VMS, 90)
            by_load.shell.wait("they serve", lambda vms: all(serves(vm, "a") for vm in vms), 180)
        assert len(by_load.shell.status()) > VMS
    assert_clean(spike)
    assert (base["failed"], base["wrong"]) == (0, 0), base["samples"]
    grown = [one["reason"] for one in by_load.events() if one["event"] == "autoscale"]
    assert any("scale out" in reason and "worth of CPU" in reason for reason in grown)


@pytest.mark.load
@pytest.mark.full
def test_vms_that_come_in_a_rollout_that_fails_end_where_the_fleet_is(at_a: Fleet) -> None:
    with at_a.witnessed() as record, at_a.when("stage", grow_of(at_a)) as grown:
        result = at_a.playbook("rollout", release="unready")
    assert grown
    assert_went_back(at_a, result, "gate:")
    assert_clean(record)
    assert set(record["releases"]) == {"a"}, "a VM was ready with another release"
    boots = [one for one in at_a.events() if one["event"] == "boot"][-2:]
    assert all(one["vm"] not in grown for one in boots)


@pytest.mark.load
@pytest.mark.full
def test_vms_that_come_in_a_rollout_end_at_its_release(at_a: Fleet) -> None:
    with at_a.witnessed() as record, at_a.when("activate", grow_of(at_a)) as grown:
        result = at_a.playbook("rollout", release="b")
    assert grown
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    assert set(record["releases"]) == {"a", "b"}
    at_a.assert_at("b")


@pytest.fixture
def zone_lost(at_a: Fleet) -> Iterator[str]:
    """A zone whose VMs are gone and that has no machines; it comes back after the test."""
    zone = sorted({vm["zone"] for vm in at_a.shell.status()})[0]
    yield zone
    at_a.command("skfleet-local", "break", "stockout", "--end")
    at_a.shell.wait("it is back", lambda vms: all(vm["phase"] == "run" for vm in vms), 120)


def lose(fleet: Fleet, zone: str) -> list[dict[str, Any]]:
    lost = [vm for vm in fleet.shell.status() if vm["zone"] == zone]
    fleet.command("skfleet-local", "break", "stockout", zone)
    for vm in lost:
        fleet.command("skfleet-local", "break", "kill", vm["name"])
    return lost


@pytest.mark.load
@pytest.mark.full
def test_a_lost_zone_costs_no_request_and_a_hotfix_is_possible(at_a: Fleet, zone_lost: str) -> None:
    with at_a.witnessed() as record:
        lost = lose(at_a, zone_lost)
        refused = at_a.playbook("rollout", release="b", rollout_settle_s=4)
        assert refused.code != 0
        assert refused.evidence["verdict"] == "refused", refused.words
        result = at_a.playbook(
            "rollout",
            release="b",
            rollout_settle_s=20,
            rollout_capacity=0.3,
            rollout_override=["unstable", "counts"],
            rollout_reason="hotfix while a zone is lost",
        )
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    assert result.evidence["reason"] == "hotfix while a zone is lost"
    overridden = [one for one in result.evidence["plan"]["refusals"] if one["overridden"]]
    assert overridden, "the override is in the evidence"
    at_a.command("skfleet-local", "break", "stockout", "--end")
    at_a.shell.wait(
        "the zone is back",
        lambda vms: {vm["name"] for vm in lost} <= {v["name"] for v in vms if serves(v, "b")},
        120,
    )
    at_a.assert_at("b")


@pytest.mark.load
@pytest.mark.full
def test_a_vm_that_comes_while_the_bucket_is_away_waits_and_says_so(at_a: Fleet) -> None:
    fault = f"{at_a.shell.run.require_state().addresses.admin_url}/storage/fault"
    first = {vm["name"] for vm in at_a.shell.status()}
    with at_a.witnessed() as record:
        client.session().post(fault, json={"mode": "unavailable"}, timeout=5).raise_for_status()
        try:
            at_a.command("skfleet-local", "scale", str(VMS + 1))
            assert at_a.shell.wait(
                "it lives and waits",
                lambda vms: any(
                    vm["name"] not in first
                    and (vm["livez"], vm["readyz"]) == ("200", "503")
                    and "503" in vm["why_not_ready"]
                    for vm in vms
                ),
                90,
            ), at_a.command("skfleet-local", "status")
        finally:
            client.session().post(fault, json={"mode": "none"}, timeout=5).raise_for_status()
        there(at_a, VMS + 1)
    assert_clean(record)
    at_a.command("skfleet-local", "scale", str(VMS))
    there(at_a, VMS)
