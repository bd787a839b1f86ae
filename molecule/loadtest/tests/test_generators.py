"""loadtest.yml from generator hosts: the gate passes a fleet that keeps its SLO, fails one that does not."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from skfleet_local.demo.fleet import serves
from skfleet_local.hosts.host import ssh
from skfleet_testing.fleet import ENOUGH, REPOSITORY, Fleet, Result, at_a, fleet

__all__ = ["at_a", "fleet"]
pytestmark = pytest.mark.timeout(1500)

RESULTS = REPOSITORY / "loadtest/results"
GENERATORS = ("10.88.0.221", "10.88.0.222")
RATE = 150


def asked(fleet: Fleet, **options: Any) -> tuple[Result, dict[str, Any]]:
    """`ansible-playbook playbooks/loadtest.yml`: what it said, and its verdict."""
    before = set(RESULTS.glob("*"))
    result = fleet.playbook(
        "loadtest",
        *("-i", "molecule/inventory", "-i", "molecule/loadtest/inventory"),
        env={"MOLECULE_PROJECT_DIRECTORY": str(REPOSITORY)},
        model=str(fleet.directory / "model"),
        rate=RATE,
        warm_up=5,
        **options,
    )
    made = set(RESULTS.glob("*")) - before
    assert len(made) == 1, result.output[-3000:]
    verdict: dict[str, Any] = json.loads((made.pop() / "verdict.json").read_text())
    return result, verdict


def test_two_generators_find_a_fleet_that_keeps_its_slo(at_a: Fleet) -> None:
    result, verdict = asked(at_a, target="iap", duration=45)
    assert result.code == 0, result.output[-3000:]
    assert verdict["verdict"] == "PASS"
    assert (verdict["workers"]["expected"], verdict["workers"]["finished"]) == (2, 2)
    assert verdict["requests"] >= ENOUGH, "what 99.95 % takes at 95 % confidence"


@contextmanager
def services_that_restart_without_a_drain(fleet: Fleet) -> Iterator[None]:
    """One VM after the other, as nobody should, and load balancers that try nothing again."""
    ended = threading.Event()
    vms = fleet.shell.status()

    def restart() -> None:
        while not ended.is_set():
            for vm in vms:
                fleet.restart_service(vm)
                if ended.wait(1):
                    return

    fleet.command("skfleet-local", "break", "retries")
    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(60)
        fleet.command("skfleet-local", "break", "retries", "--end")
        fleet.shell.wait("it is back", lambda now: all(serves(vm, "a") for vm in now), 60)


def test_and_one_that_does_not(at_a: Fleet) -> None:
    """The negative control, through the other load balancer: the run ends early, the playbook fails."""
    with services_that_restart_without_a_drain(at_a):
        result, verdict = asked(at_a, target="internal", duration=40)
    assert result.code != 0
    assert verdict["verdict"] == "FAIL", verdict["reasons"]
    assert "FAIL" in result.output


def test_nothing_of_a_run_is_left_on_its_generators(fleet: Fleet) -> None:
    for address in GENERATORS:
        command = [*ssh(address), "systemctl", "list-units", "--all", "--plain", "--no-legend"]
        said = subprocess.run(
            [*command, "skfleet-locust-*"], capture_output=True, text=True, check=True
        )
        assert said.stdout.strip() == ""
