"""From a trained model to a prediction, with the real app, roles and commands on one VM."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet.declared import declared
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.demo.calls import Doors
from skfleet_local.demo.fleet import Fleet, serves
from skfleet_local.demo.report import Report
from skfleet_local.run import Run
from skfleet_operator.client.predict import Client

pytestmark = [pytest.mark.fleet, pytest.mark.timeout(420)]

REPOSITORY = Path(__file__).resolve().parents[2]
EDGE = declared().edge


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, str]]:
    """A fleet of one VM with a first desired release, and the release's id."""
    root = tmp_path_factory.mktemp("spine") / "run"
    fleet = Fleet(Run(root), REPOSITORY, Report(phases=0, out=io.StringIO()))
    key, public = signing_key(tmp_path_factory.mktemp("keys"))
    patch = pytest.MonkeyPatch()
    patch.setenv("SKFLEET_SIGNING_KEY", str(key))
    try:
        fleet.command("skfleet-local", "up", "--vms", "1", "--trust", str(public))
        model = root / "model"
        fleet.command("skfleet", "model", "train", "flight-delay", "--output", str(model))
        fleet.command("skfleet", "model", "publish", str(model))
        fleet.command("skfleet", "app", "publish")
        release = fleet.command("skfleet", "release", "create", "--model", "flight-delay")
        assert fleet.status()[0]["readyz"] == "503", "ready without a desired release"
        fleet.command("skfleet", "release", "desire", release)
        assert wait_for_ready(fleet, release), fleet.command("skfleet-local", "logs")
        yield fleet, release
    finally:
        patch.undo()
        fleet.command("skfleet-local", "down")
        assert not root.exists()


def signing_key(directory: Path) -> tuple[Path, Path]:
    """As docs/security.md makes them, without the program: the private key and the public one."""
    private, public = directory / "key.pem", directory / "fleet.pub"
    key = ec.generate_private_key(ec.SECP256R1())
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def wait_for_ready(fleet: Fleet, release: str, other_than: str = "") -> bool:
    return fleet.wait(
        "ready",
        lambda vms: len(vms) == 1 and vms[0]["id"] != other_than and serves(vms[0], release),
        seconds=180,
    )


def test_the_list_of_models_says_what_the_vms_answer(
    released: tuple[Fleet, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, release = released
    [model] = json.loads(fleet.command("skfleet", "model", "list", "--json"))
    assert model["desired_by"] == [f"local ({release})"]
    [vm] = model["served_by"]
    assert (vm["release"], vm["ready"], vm["models"]) == (
        release, True, {"flight-delay": model["digest"]},
    )  # fmt: skip
    assert "1 of 1 VMs" in fleet.command("skfleet", "model", "list")
    unknown = json.loads(fleet.command("skfleet", "model", "list", "--json", "--group", ""))
    assert unknown[0]["served_by"] is None
    assert "not asked" in fleet.command("skfleet", "model", "list", "--group", "")


def test_a_vm_refuses_what_nobody_signed(
    released: tuple[Fleet, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the VM, by the command that a rollout runs there; what is signed meanwhile it takes."""
    fleet, release = released
    [vm] = fleet.status()
    host = fleet.run.vms / vm["name"]
    command = [
        str(host / "opt/skfleet/runtime/bin/skfleet-converge"), "--only", "stage",
        "--host-dir", str(host / "etc/skfleet"), "unsigned",
    ]  # fmt: skip
    monkeypatch.delenv("SKFLEET_SIGNING_KEY")
    create = ("skfleet", "release", "create", "--from", "desired", "--set", "threads=7")
    fleet.command(*create, "--id", "unsigned")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stdout
    assert "not signed" in done.stderr
    assert serves(fleet.status()[0], release)
    assert fleet.status()[0]["signatures"] == "required"
    monkeypatch.undo()
    fleet.command("skfleet", "release", "sign", "unsigned")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_predictions_come_through_both_load_balancers(released: tuple[Fleet, str]) -> None:
    fleet, release = released
    doors = Doors.from_environment(fleet.environment)
    tokens = Tokens.load(fleet.run)
    row = [0.0] * 36 + [1.0]
    caller = tokens.id_token(ACCOUNTS["caller"], doors.internal_audience)
    user = tokens.id_token(ACCOUNTS["user"], doors.iap_audience)
    inside = Client(doors.inside, caller, doors.ca_file).instances("flight-delay", [row])
    outside = Client(doors.outside, user, doors.ca_file).form(row)
    assert (inside.status, outside.status) == (200, 200)
    assert outside.body["model_prediction"] == f"[{inside.body['predictions'][0]}]"
    assert inside.release == outside.release == release


def test_metrics_are_on_the_loopback_listener_alone(released: tuple[Fleet, str]) -> None:
    fleet, _ = released
    address = fleet.status()[0]["address"]
    metrics = requests.get(f"http://{address}:{EDGE.loopback.metrics.port}/metrics", timeout=5).text
    assert "skfleet_requests" in metrics
    assert "skfleet_memory_bytes" in metrics
    for port in EDGE.listeners.ports():
        answer = requests.get(f"http://{address}:{port}/metrics", timeout=5)
        assert answer.status_code in (401, 404), port


def test_the_serving_processes_have_no_connection_of_their_own(
    released: tuple[Fleet, str],
) -> None:
    import psutil

    fleet, _ = released
    vm = fleet.status()[0]
    listening = set(EDGE.ports())
    looked_at = 0
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
            connections = process.net_connections(kind="inet")
        except psutil.Error:
            continue
        if "skfleet.serving.application" not in line or vm["name"] not in line + str(
            process.environ().get("SKFLEET_RUN_DIR", "")
        ):
            continue
        looked_at += 1
        for connection in connections:
            assert connection.laddr.port in listening, connection
    assert looked_at >= 3, "a master and two workers"


def test_a_vm_boots_without_anything_of_the_operator(released: tuple[Fleet, str]) -> None:
    """Metadata and bucket are enough: the operator's inventory, keys and environment are gone."""
    fleet, release = released
    before = fleet.status()[0]
    hidden = fleet.run.root.parent / "hidden"
    hidden.mkdir()
    for path in [*fleet.run.keys.iterdir(), fleet.run.client_env]:
        shutil.move(path, hidden / path.name)
    try:
        fleet.command("skfleet-local", "break", "kill", before["name"])
        assert wait_for_ready(fleet, release, other_than=before["id"])
    finally:
        shutil.move(hidden / fleet.run.client_env.name, fleet.run.client_env)
        for path in hidden.iterdir():
            shutil.move(path, fleet.run.keys / path.name)
    state = json.loads((fleet.run.vms / before["name"] / "run/skfleet/converge.json").read_text())
    assert (state["release"], state["stale"]) == (release, False)
