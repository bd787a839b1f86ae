"""A VM converges by the real roles, and is left as it was by a release that cannot be installed."""

from __future__ import annotations

import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from skfleet import declared
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet.polling import wait_until
from skfleet.settings import Settings, environment_of
from skfleet_operator.builds.bundle import make_bundle

REPO = Path(__file__).parents[3]

_numbers = itertools.count(2)


@pytest.fixture(scope="module")
def vm(make_vm: Any) -> Iterator[Any]:
    """One VM for the tests of this file, with the desired release r1."""
    with make_vm() as result:
        result.cloud.release("r1")
        result.cloud.desire("r1")
        yield result


@pytest.fixture
def at_r1(vm: Any) -> Any:
    """That VM, serving r1."""
    machine = vm.machine
    machine.set_environment(vm.cloud.endpoint, vm.metadata.address)
    vm.metadata.up = True
    if (machine.served(), machine.link("current")) != ("r1", "r1"):
        vm.converge()
    return vm


@pytest.fixture
def fresh(make_vm: Any) -> Iterator[Any]:
    """A VM that never converged."""
    with make_vm() as result:
        yield result


@pytest.fixture
def other(vm: Any) -> str:
    """Another release than r1, of the same build."""
    number = next(_numbers)
    vm.cloud.release(f"r{number}", settings={"workers": number})
    return f"r{number}"


def test_host_serves_the_release_it_converged_to(at_r1: Any) -> None:
    machine = at_r1.machine
    assert machine.served() == "r1"
    assert machine.get("/readyz")[0] == 200
    state = machine.state()
    assert (state["release"], state["stale"], state["reason"]) == ("r1", False, "")
    assert state["signatures_required"] is False
    assert json.loads((machine.run_dir / "staged.json").read_bytes()) == {"release": "r1"}


def test_service_has_the_environment_of_host_and_release_and_no_other(at_r1: Any) -> None:
    environment = at_r1.machine.get("/version")[1]["environment"]
    assert environment["SKFLEET_RELEASE"] == "r1"
    assert environment["SKFLEET_WORKERS"] == "3"
    assert environment["SKFLEET_APP_VERSION"] == "1.0"
    assert environment["SKFLEET_REQUIRE_CONVERGED"] == "true"
    assert environment["SKFLEET_BIND_ADDRESS"] == at_r1.machine.address
    assert environment["SKFLEET_SERVICE_ENV"].endswith("/opt/skfleet/current/service.env")
    name, directory = environment["SKFLEET_MODELS"].split("=")
    assert name == "tiny"
    assert (Path(directory) / "manifest.json").is_file()
    assert not [name for name in environment if name.startswith(("SUPERVISOR_", "PYTEST_"))]


def test_second_converge_changes_nothing_and_restarts_nothing(at_r1: Any) -> None:
    at_r1.converge()
    machine = at_r1.machine
    before, pid = machine.tree(), machine.get("/version")[1]["pid"]
    assert at_r1.converge()[-1]["changed"] == 0
    assert machine.get("/version")[1]["pid"] == pid
    assert machine.tree() == before


def test_what_was_altered_by_hand_is_put_right(at_r1: Any) -> None:
    (at_r1.machine.prefix / "opt/skfleet/current").unlink()
    at_r1.converge()
    assert at_r1.machine.link("current") == "r1"


def test_check_on_a_new_host_changes_nothing(fresh: Any) -> None:
    fresh.cloud.release("r1")
    fresh.cloud.desire("r1")
    before = fresh.machine.tree()
    assert fresh.converge("--check")[-1]["changed"] > 0
    assert fresh.machine.tree() == before


def test_check_on_a_serving_host_changes_nothing(at_r1: Any, other: str) -> None:
    before = at_r1.machine.tree()
    assert at_r1.converge(other, "--check")[-1]["changed"] > 0
    assert at_r1.machine.tree() == before
    assert at_r1.machine.served() == "r1"


def test_stage_leaves_the_service_alone_and_activate_needs_no_bucket(
    at_r1: Any, other: str
) -> None:
    machine = at_r1.machine
    pid = machine.get("/version")[1]["pid"]
    at_r1.converge(other, "--only", "stage")
    assert machine.get("/version")[1]["pid"] == pid
    assert machine.state()["release"] == "r1"
    machine.set_environment("http://127.0.0.1:9", at_r1.metadata.address)
    at_r1.converge(other, "--only", "activate")
    assert machine.served() == other
    assert machine.state()["release"] == other
    assert (machine.link("current"), machine.link("previous")) == (other, "r1")


def test_going_back_is_converging_to_the_release_before(at_r1: Any, other: str) -> None:
    at_r1.converge(other)
    at_r1.converge("r1")
    assert at_r1.machine.served() == "r1"
    assert at_r1.machine.link("previous") == other


def test_releases_that_share_a_build_install_it_once(at_r1: Any, other: str) -> None:
    builds = at_r1.machine.prefix / "opt/skfleet/builds"
    before = sorted(builds.iterdir())
    at_r1.converge(other, "--only", "stage")
    assert sorted(builds.iterdir()) == before


def test_release_of_several_models_serves_the_default_one_first(at_r1: Any) -> None:
    pin = at_r1.cloud.model()
    models = [msgspec.structs.replace(pin, name=name) for name in ("first", "second", "third")]
    at_r1.cloud.release("several", models=models, default_model="second")
    at_r1.converge("several")
    value = at_r1.machine.get("/version")[1]["environment"]["SKFLEET_MODELS"]
    assert [part.split("=")[0] for part in value.split(",")] == ["second", "first", "third"]


def bundle_of(directory: Path, edge: Any, slo: Any) -> bytes:
    """The roles bundle of a checkout with other declarations."""
    for name in ("roles", "playbooks"):
        (directory / name).symlink_to(REPO / name)
    for name, change in ((EDGE, edge), (SLO, slo)):
        document = yaml.safe_load((REPO / name).read_text())
        change(document)
        (directory / name).write_text(yaml.safe_dump(document))
    return make_bundle(directory)


def test_the_host_follows_what_its_release_declares(
    fresh: Any, make_wheelhouse: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other ports, times and objectives: forward, back by itself when the release fails, and back."""

    def edge(document: Any) -> None:
        for number, listener in enumerate(document["listeners"].values()):
            listener |= {"port": 9180 + number, "also": 9280 + number}
        document["timeouts"] |= {"drain_s": 44.5, "backend_keepalive_s": 620}

    def slo(document: Any) -> None:
        document["objectives"]["latency"]["threshold_ms"] = 250

    machine, cloud = fresh.machine, fresh.cloud
    machine.set_environment(cloud.endpoint, fresh.metadata.address, told="SKFLEET_PORT_IAP=7001")
    old = machine.health_port = declared.declared().edge.listeners.health.port
    cloud.release("r1")
    other = bundle_of(tmp_path, edge, slo)
    cloud.release("r2", bundle=other)
    cloud.release("broken", bundle=cloud.bundle, wheelhouse=make_wheelhouse(broken=True))
    fresh.converge("r1")
    assert machine.served() == "r1"
    fresh.converge("r2")
    assert machine.served() is None, "nothing is left on the old port"
    machine.health_port = 9182
    found = machine.get("/version")[1]["environment"]
    there = declared.load(tmp_path)
    monkeypatch.setattr(declared, "declared", lambda: there)
    wanted = environment_of(Settings())
    named = [name for name in wanted if name in found and name.startswith("SKFLEET_PORT_")]
    timed = ["SKFLEET_LATENCY_OBJECTIVE_MS", "SKFLEET_KEEPALIVE_S", "SKFLEET_GRACEFUL_TIMEOUT_S"]
    assert len(named) == 7
    told = {"SKFLEET_PORT_IAP": "7001"}  # by host.env
    assert {name: found[name] for name in (*named, *timed)} == {
        name: {**wanted, **told}[name] for name in (*named, *timed)
    }
    assert machine.converge("broken").returncode == 1
    assert machine.served() == "r2"
    assert "back at" in machine.state()["reason"]
    fresh.converge("r1")
    machine.health_port = old
    assert machine.served() == "r1"


def publish_bad(cloud: Any, make_wheelhouse: Any, make_tar: Any, fault: str, name: str) -> None:
    """Publish a release with one thing wrong."""
    if fault == "wheel of another hash":
        cloud.release(name, wheelhouse=make_wheelhouse(wrong_hash=True))
    elif fault == "wheelhouse is no archive":
        cloud.release(name, wheelhouse=b"rubbish" * 1000)
    elif fault == "application cannot be imported":
        cloud.release(name, wheelhouse=make_wheelhouse(unimportable=True))
    elif fault == "model does not reproduce its golden vectors":
        cloud.release(name, wheelhouse=make_wheelhouse(unverifiable=True))
    elif fault == "model of another digest":
        pin = cloud.model()
        manifest = msgspec.structs.replace(pin.manifest, sha256="0" * 64)
        cloud.release(name, models=[msgspec.structs.replace(pin, manifest=manifest)])
    elif fault == "bundle of another digest":
        pin = cloud.put(f"bundles/{name}.tar", cloud.bundle)
        cloud.release(name, bundle_pin=msgspec.structs.replace(pin, sha256="1" * 64))
    elif fault == "bundle is no archive":
        cloud.release(name, bundle=b"rubbish" * 1000)
    elif fault == "bundle leaves its directory":
        cloud.release(name, bundle=make_tar({"../../../etc/passwd": b"x"}))
    elif fault == "roles do not parse":
        cloud.release(name, bundle=make_tar({"ansible.cfg": b"", "converge.yml": b"- hosts: ["}))
    elif fault == "Python of another version":
        cloud.release(name, python="3.99")
    elif fault == "image contract of another image":
        cloud.release(name, image_contract=99)
    elif fault == "setting that nobody knows":
        cloud.release(name, settings={"colour": "red"})
    else:
        raise AssertionError(fault)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wheel of another hash", "Hash mismatch"),
        ("wheelhouse is no archive", "tar archive"),
        ("application cannot be imported", "ZeroDivisionError"),
        ("model does not reproduce its golden vectors", "golden vector 3 differs"),
        ("model of another digest", "SHA-256"),
        ("bundle of another digest", "SHA-256"),
        ("bundle is no archive", "tar archive"),
        ("bundle leaves its directory", "does not belong"),
        ("roles do not parse", "roles failed"),
        ("Python of another version", "3.99"),
        ("image contract of another image", "image contract 99"),
        ("setting that nobody knows", "colour"),
    ],
)
def test_release_that_cannot_be_installed_leaves_the_old_one(
    at_r1: Any, make_wheelhouse: Any, make_tar: Any, fault: str, said: str
) -> None:
    machine = at_r1.machine
    name = fault.replace(" ", "-").lower()
    publish_bad(at_r1.cloud, make_wheelhouse, make_tar, fault, name)
    pid = machine.get("/version")[1]["pid"]
    done = machine.converge(name)
    assert done.returncode == (2 if fault == "setting that nobody knows" else 1), done.stderr
    assert said in done.stderr, done.stdout + done.stderr
    assert machine.get("/version")[1]["pid"] == pid
    assert machine.get("/readyz")[0] == 200
    assert machine.link("current") == "r1"
    state = machine.state()
    assert (state["release"], state["stale"]) == ("r1", False)
    assert f"Converging to {name} failed" in state["reason"]
    assert not (machine.prefix / "opt/skfleet/releases" / name / "release.json").exists()


def test_release_that_does_not_come_up_goes_back_by_itself(
    at_r1: Any, make_wheelhouse: Any
) -> None:
    at_r1.cloud.release("broken", wheelhouse=make_wheelhouse(broken=True))
    done = at_r1.machine.converge("broken")
    assert done.returncode == 1
    assert "back at 'r1'" in done.stderr
    assert at_r1.machine.served() == "r1"
    assert at_r1.machine.get("/readyz")[0] == 200
    assert at_r1.machine.link("current") == "r1"
    assert at_r1.machine.state()["release"] == "r1"


def test_release_is_never_installed_from_another_document(at_r1: Any, other: str) -> None:
    at_r1.converge(other, "--only", "stage")
    uri = f"{at_r1.cloud.bucket}/releases/{other}.json"
    document = json.loads(at_r1.cloud.store.read(uri).data) | {"notes": "changed"}
    at_r1.cloud.store.update(uri, lambda _: json.dumps(document).encode())
    done = at_r1.machine.converge(other)
    assert done.returncode == 1
    assert "another document" in done.stderr


def test_build_that_was_cut_off_is_made_again(at_r1: Any, make_wheelhouse: Any) -> None:
    release = at_r1.cloud.release("cutoff", wheelhouse=make_wheelhouse(note="cut off"))
    build = at_r1.machine.prefix / "opt/skfleet/builds" / release.app.sha256
    (build / "bin").mkdir(parents=True)
    (build / "bin/gunicorn").write_text("half")
    at_r1.converge("cutoff")
    assert at_r1.machine.served() == "cutoff"


def test_converge_killed_in_the_middle_is_finished_by_the_next(at_r1: Any, other: str) -> None:
    process = at_r1.machine.start("skfleet.vm.converge", other)
    wait_until(lambda: at_r1.machine.link("current") == other, 60, "the link")
    process.kill()
    # Ansible goes on without its parent, and holds the lock as long as it does.
    at_r1.converge(other)
    assert at_r1.machine.served() == other
    assert at_r1.machine.state()["release"] == other


def test_two_converges_take_turns(at_r1: Any) -> None:
    first = at_r1.machine.start("skfleet.vm.converge", "r1")
    wait_until(lambda: holder(at_r1.machine) == first.pid, 20, "the lock's holder")
    second = at_r1.machine.start("skfleet.vm.converge", "r1")
    assert first.wait(60) == 0
    ended = time.monotonic()
    assert second.wait(60) == 0
    assert time.monotonic() - ended > 1, "the second ran beside the first"


def test_sigterm_ends_a_converge_and_frees_the_host(at_r1: Any) -> None:
    process = at_r1.machine.start("skfleet.vm.converge", "r1")
    wait_until(lambda: holder(at_r1.machine) == process.pid, 20, "the lock's holder")
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(60) != 0
    at_r1.converge()


def holder(machine: Any) -> int:
    """The process that holds the lock, or held it last."""
    try:
        return int((machine.run_dir / "converge.lock").read_text())
    except (OSError, ValueError):
        return 0


def test_host_without_a_description_is_told_so(fresh: Any) -> None:
    (fresh.machine.host_dir / "host.yml").unlink()
    done = fresh.machine.converge()
    assert done.returncode == 2
    assert "host.yml" in done.stderr


def test_unreachable_cloud_is_another_exit_code(at_r1: Any) -> None:
    at_r1.metadata.up = False
    assert at_r1.machine.converge().returncode == 3
    assert at_r1.machine.served() == "r1"


def test_release_for_another_fleet_is_refused(at_r1: Any) -> None:
    at_r1.cloud.release("elsewhere", fleets=["other"])
    done = at_r1.machine.converge("elsewhere")
    assert done.returncode == 1
    assert "only for other, not for 'test'" in done.stderr
    assert at_r1.machine.served() == "r1"
