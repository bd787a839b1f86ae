"""After `down` nothing is left, whatever happened before; and nobody else's is touched."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skfleet.declared import declared
from skfleet_local import processes
from skfleet_local.addresses import first_taken
from skfleet_local.run import Run

pytestmark = pytest.mark.fleet

PORTS = declared().edge.ports()


def left(run: Run, listeners: list[tuple[str, int]]) -> list[str]:
    """Whatever of the run is still there."""
    found = [f"process {p.pid}" for p in processes.of_run(run.root)]
    found += [str(path) for path in (run.root, run.short_directory) if path.exists()]
    if taken := first_taken(listeners):
        found.append(f"port {taken}")
    return found


def listeners(fleet: Any) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = fleet.state.addresses.listeners(3, PORTS)
    return found


def test_down_leaves_nothing_and_can_be_said_twice(start_fleet: Callable[..., Any]) -> None:
    fleet = start_fleet("--vms", "1")
    ports = listeners(fleet)
    assert first_taken(ports)
    with fleet.watching() as lines:
        next(line for line in lines if "us-central1-" in line)
        assert "ended" in fleet.command("down").stdout
        next(line for line in lines if "The fleet is down" in line)
    assert left(fleet.run, ports) == []
    assert "nothing to end" in fleet.command("down").stdout


def test_down_after_kill_9_of_everything(start_fleet: Callable[..., Any]) -> None:
    fleet = start_fleet("--vms", "1")
    ports = listeners(fleet)
    for process in processes.of_run(fleet.run.root):
        os.kill(process.pid, signal.SIGKILL)
    fleet.command("down")
    assert left(fleet.run, ports) == []


def test_down_after_kill_9_of_the_cloud_and_every_init(start_fleet: Callable[..., Any]) -> None:
    """What supervised the services is gone; the services themselves are orphans."""
    fleet = start_fleet("--vms", "1")
    ports = listeners(fleet)
    for process in processes.of_run(fleet.run.root):
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        if b"skfleet_local.cloud" in command or b"supervisord" in command:
            os.kill(process.pid, signal.SIGKILL)
    assert processes.of_run(fleet.run.root)
    fleet.command("down")
    assert left(fleet.run, ports) == []


def test_down_after_the_run_directory_was_deleted(start_fleet: Callable[..., Any]) -> None:
    fleet = start_fleet("--vms", "1")
    ports = listeners(fleet)
    shutil.rmtree(fleet.run.root)
    fleet.command("down")
    assert left(fleet.run, ports) == []


def test_up_again_after_kill_9_of_everything(start_fleet: Callable[..., Any]) -> None:
    fleet = start_fleet("--vms", "1")
    before = fleet.state.subnet
    for process in processes.of_run(fleet.run.root):
        os.kill(process.pid, signal.SIGKILL)
    fleet.command("up")
    assert fleet.state.subnet == before
    assert all(process.alive() for process in fleet.state.processes.values())


def test_two_runs_side_by_side_do_not_touch_each_other(start_fleet: Callable[..., Any]) -> None:
    one, other = start_fleet("--vms", "1"), start_fleet("--vms", "1")
    assert one.state.subnet != other.state.subnet
    running = set(processes.of_run(other.run.root))
    one.command("down")
    assert set(processes.of_run(other.run.root)) >= running
    assert other.command("status").returncode == 0
    assert other.environment()["SKFLEET_URL"] in other.command("env").stdout


def test_a_deep_run_directory_has_its_sockets_elsewhere_and_leaves_none(
    tmp_path: Path, stub_runtime: Path, make_fleet: Callable[[Path], Any]
) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60) / "run"
    fleet = make_fleet(deep)
    try:
        fleet.command("up", "--vms", "1", "--runtime", str(stub_runtime))
        assert list(fleet.run.short_directory.iterdir())
    finally:
        fleet.command("down")
    assert not fleet.run.short_directory.exists()
    assert not fleet.run.root.exists()


def test_a_program_of_the_users_own_on_a_port_is_no_obstacle(
    start_fleet: Callable[..., Any], stub_runtime: Path
) -> None:
    fleet = start_fleet("--vms", "1")
    subnet = fleet.state.subnet
    fleet.command("down")
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((f"{subnet}.1", 4443))
        other.listen()
        fleet.command("up", "--vms", "1", "--runtime", str(stub_runtime))
        assert fleet.state.subnet != subnet


def test_commands_without_a_fleet_say_so(tmp_path: Path, make_fleet: Callable[[Path], Any]) -> None:
    fleet = make_fleet(tmp_path / "none")
    for command in (["status"], ["logs"], ["env"], ["scale", "3"], ["break", "kill", "x"]):
        result = fleet.command(*command, check=False)
        assert result.returncode == 1
        assert "no local fleet" in result.stderr
        assert "hint:" in result.stderr
        assert "Traceback" not in result.stderr


def test_up_says_what_is_wrong_with_the_image(
    tmp_path: Path, make_fleet: Callable[[Path], Any]
) -> None:
    (tmp_path / "bin").mkdir()
    fleet = make_fleet(tmp_path / "run")
    try:
        result = fleet.command("up", "--runtime", str(tmp_path), check=False)
        assert result.returncode == 1
        assert "no skfleet-converge" in result.stderr
        assert "Traceback" not in result.stderr
    finally:
        fleet.command("down")
