"""A booting VM serves what it can, says what it lacks, and gets there by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skfleet import documents
from skfleet.documents.environment import Environment, InternalPolicy
from skfleet.polling import wait_until
from skfleet.vm.fallback import Fallback
from skfleet_operator.builds import image
from skfleet_operator.releases import operations

ADMITTED = Environment(fleet="one", internal=InternalPolicy(allowed_callers=["batch@example.com"]))


@pytest.fixture
def vm(make_vm: Any) -> Iterator[Any]:
    with make_vm() as result:
        yield result


def test_host_without_a_desired_release_is_live_and_says_why_it_is_not_ready(vm: Any) -> None:
    machine = vm.machine
    machine.put_image_bundle(vm.cloud.bundle)
    boot = machine.start("skfleet.vm.converge", "--boot", "--poll", "0.5")
    wait_until(lambda: machine.get("/livez")[0] == 200, 60, "/livez")
    assert machine.get("/readyz")[0] == 503
    assert machine.served() == ""
    state = machine.state()
    assert (state["release"], state["stale"]) == (None, False)
    assert "no desired release yet" in state["reason"]
    assert boot.poll() is None

    # It sees the first one without being told.
    vm.cloud.release("r1")
    vm.cloud.desire("r1")
    assert boot.wait(90) == 0
    assert machine.served() == "r1"
    assert machine.get("/readyz")[0] == 200


def test_rebooted_host_serves_stale_while_the_bucket_is_away_and_recovers(vm: Any) -> None:
    machine = vm.machine
    vm.cloud.release("r1")
    vm.cloud.desire("r1")
    vm.converge()
    machine.halt()
    machine.set_environment("http://127.0.0.1:9", vm.metadata.address)
    machine.boot()
    boot = machine.start("skfleet.vm.converge", "--boot")
    wait_until(lambda: machine.get("/readyz")[0] == 200, 30, "/readyz")
    state = machine.state()
    assert (state["release"], state["stale"]) == ("r1", True)
    assert state["reason"]
    assert boot.poll() is None
    boot.terminate()
    boot.wait(30)

    vm.cloud.release("r2", settings={"workers": 4})
    vm.cloud.desire("r2")
    machine.set_environment(vm.cloud.endpoint, vm.metadata.address)
    assert machine.start("skfleet.vm.converge", "--boot").wait(90) == 0
    state = machine.state()
    assert (state["release"], state["stale"], state["reason"]) == ("r2", False, "")
    assert machine.served() == "r2"


def test_metadata_server_that_comes_late_is_waited_for(vm: Any) -> None:
    vm.cloud.release("r1")
    vm.cloud.desire("r1")
    vm.metadata.up = False
    boot = vm.machine.start("skfleet.vm.converge", "--boot")
    wait_until(lambda: (vm.machine.run_dir / "converge.json").exists(), 30, "converge.json")
    assert "metadata server" in vm.machine.state()["reason"]
    vm.metadata.up = True
    assert boot.wait(90) == 0
    assert vm.machine.served() == "r1"


def test_desired_release_that_is_bad_leaves_the_one_of_an_earlier_boot(
    vm: Any, make_wheelhouse: Any
) -> None:
    machine = vm.machine
    vm.cloud.release("r1")
    vm.cloud.desire("r1")
    vm.converge()
    vm.cloud.release("bad", wheelhouse=make_wheelhouse(unverifiable=True))
    vm.cloud.desire("bad")
    machine.halt()
    machine.boot()
    boot = machine.start("skfleet.vm.converge", "--boot")
    wait_until(lambda: machine.get("/readyz")[0] == 200, 60, "/readyz")
    state = machine.state()
    assert (state["release"], state["stale"]) == ("r1", True)
    assert "golden vector" in state["reason"]
    assert boot.poll() is None

    # Desired again is what runs: the next try says so.
    vm.cloud.desire("r1")
    assert boot.wait(90) == 0
    assert json.loads((machine.run_dir / "converge.json").read_bytes())["stale"] is False


@pytest.mark.parametrize("of_this_fleet", [True, False])
def test_fresh_vm_serves_its_images_release_without_the_bucket_where_its_image_says_so(
    vm: Any, tmp_path: Path, of_this_fleet: bool
) -> None:
    """Of another fleet's image it takes nothing: it would admit that fleet's callers."""
    machine, cloud = vm.machine, vm.cloud
    cloud.release("baked")
    fleet = cloud.fleet if of_this_fleet else f"{cloud.bucket}/fleets/another"
    bake(vm, tmp_path, Fallback(fleet=fleet, release="baked", environment=ADMITTED))
    machine.set_environment("http://127.0.0.1:9", vm.metadata.address)
    boot = machine.start("skfleet.vm.converge", "--boot")
    admitted = machine.prefix / "var/lib/skfleet/identity/environment.json"
    if of_this_fleet:
        wait_until(lambda: machine.get("/readyz")[0] == 200, 60, "/readyz")
        assert documents.read(Environment, admitted.read_bytes(), "test") == ADMITTED
    else:
        wait_until(lambda: (machine.run_dir / "converge.json").exists(), 60, "converge.json")
        assert not admitted.exists()
    state = machine.state()
    assert (state["release"], state["stale"]) == (
        ("baked", True) if of_this_fleet else (None, False)
    )
    assert "cannot be reached" in state["reason"]
    assert boot.poll() is None
    boot.terminate()
    boot.wait(30)
    if not of_this_fleet:
        return

    # The bucket's word counts as soon as it is heard.
    cloud.release("new", settings={"workers": 5})
    cloud.desire("new")
    machine.set_environment(cloud.endpoint, vm.metadata.address)
    assert machine.start("skfleet.vm.converge", "--boot").wait(90) == 0
    state = machine.state()
    assert (state["release"], state["stale"], state["reason"]) == ("new", False, "")


def bake(vm: Any, room: Path, fallback: Fallback) -> None:
    """What Packer does with what `skfleet app image` collected."""
    release = operations.load(vm.cloud.store, vm.cloud.bucket, fallback.release)
    image._collect(vm.cloud.store, *release, room, fallback)
    python = vm.machine.command("skfleet.vm.bake")[0]
    unpack = [python, "-m", "skfleet.vm.unpack", str(room / "release.tar"), str(room / "release")]
    subprocess.run(unpack, check=True)
    subprocess.run([*vm.machine.command("skfleet.vm.bake"), str(room / "release")], check=True)
