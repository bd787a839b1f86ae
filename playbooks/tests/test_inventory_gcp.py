"""inventories/gcp, on answers in the form that Google publishes."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

REPOSITORY = Path(__file__).resolve().parents[2]
ANSWERS = Path(__file__).parent / "answers"
RECORDED = json.loads((ANSWERS / "compute.json").read_text())


class Google(BaseHTTPRequestHandler):
    """The recorded answers, and a token for whoever asks."""

    def do_GET(self) -> None:
        self._answer(self.path.partition("?")[0].removeprefix("/compute/v1"))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.do_GET()

    def _answer(self, path: str) -> None:
        known = RECORDED.get(path)
        body = known["answer"] if known else {"error": {"code": 404, "message": path}}
        if path == "/token":
            body = {"access_token": "recorded", "expires_in": 3599, "token_type": "Bearer"}
        data = json.dumps(body).encode()
        self.send_response(200 if known or path == "/token" else 404)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Google)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path_factory.mktemp("gcp") / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "project_id": "example-prod",
                "private_key": key.decode(),
                "client_email": "deployer@example-prod.iam.gserviceaccount.com",
                "token_uri": f"{base}/token",
            }
        )
    )
    yield {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(file.parent),
        "NO_PROXY": "127.0.0.1",
        "GOOGLE_APPLICATION_CREDENTIALS": str(file),
        "SKFLEET_COMPUTE_ENDPOINT": f"{base}/compute/v1",
        "SKFLEET_SSH_USER": "sa_104857",
    }
    server.shutdown()


def inventory(directory: Path, environment: dict[str, str]) -> dict[str, Any]:
    """`ansible-inventory --list`, with every expression resolved."""
    copy = directory / "gcp"
    shutil.copytree(
        REPOSITORY / "inventories/gcp", copy, ignore=shutil.ignore_patterns("terraform.json")
    )
    shutil.copy(ANSWERS / "terraform.json", copy / "terraform.json")
    done = subprocess.run(
        ["ansible-inventory", "-i", str(copy), "--list"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def resolved(directory: Path, environment: dict[str, str], host: str, *names: str) -> list[Any]:
    """Variables of a host as a playbook sees them."""
    shown = ", ".join(names)
    done = subprocess.run(
        [
            *("ansible", "-i", str(directory / "gcp"), host, "-m", "ansible.builtin.debug"),
            *("-a", f"msg={{{{ [{shown}] | to_json | b64encode }}}}"),
            *("-e", "ansible_connection=local"),
        ],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    match = re.search(r'"?msg"?: "?([A-Za-z0-9+/=]+)', done.stdout)
    assert match, done.stdout
    values: list[Any] = json.loads(base64.b64decode(match[1]))
    return values


def test_the_recorded_answers_have_the_published_form() -> None:
    """Fields of the answers are those of the API's own description."""
    import googleapiclient.discovery_cache

    folder = Path(googleapiclient.discovery_cache.__file__).parent / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text())["schemas"]

    def check(value: Any, schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = schemas[schema["$ref"]]
        if schema.get("type") == "object" and "properties" in schema:
            unknown = value.keys() - schema["properties"].keys()
            assert not unknown, f"{where}: {unknown}"
            for name, item in value.items():
                check(item, schema["properties"][name], f"{where}.{name}")
        elif schema.get("type") == "array":
            for item in value:
                check(item, schema["items"], where)

    for path, recorded in RECORDED.items():
        check(recorded["answer"], {"$ref": recorded["schema"]}, path)


def test_vms_of_the_group_are_listed_and_those_that_leave_are_not(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    found = inventory(tmp_path, environment)
    hosts = found["_meta"]["hostvars"]
    assert {name for zone in found["fleet"]["children"] for name in found[zone]["hosts"]} == {
        "skfleet-7h2k",
        "skfleet-q9xd",
    }
    # What an API says is data: Ansible takes it for no template.
    assert hosts["skfleet-7h2k"]["ansible_host"] == {"__ansible_unsafe": "10.132.0.11"}
    assert hosts["skfleet-7h2k"]["skfleet_zone"] == {"__ansible_unsafe": "europe-west1-b"}
    assert found["loadgen"]["hosts"] == ["skfleet-loadgen-2", "skfleet-loadgen-1"], "leader first"


def test_variables_are_made_of_what_terraform_says(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    inventory(tmp_path, environment)
    compute, bucket, fleet, waves, user, args = resolved(
        tmp_path,
        environment,
        "skfleet-7h2k",
        *("skfleet_compute", "skfleet_bucket", "skfleet_fleet", "skfleet_waves", "ansible_user"),
        "ansible_ssh_common_args",
    )
    assert waves == [["skfleet-europe-west1"], ["skfleet-us-east1"]], "one fleet after another"
    assert (compute["project"], compute["region"]) == ("example-prod", "europe-west1")
    assert compute["group"] == "skfleet-europe-west1"
    assert compute["backends"] == [
        {"name": "skfleet-external", "regional": False},
        {"name": "skfleet-internal-europe-west1", "regional": True},
    ]
    assert (bucket, fleet, user) == (
        "gs://example-prod-skfleet",
        "skfleet-europe-west1",
        "sa_104857",
    )
    options = dict(
        part.split("=", 1) for part in shlex.split(args) if "=" in part and part[0] != "-"
    )
    assert options["StrictHostKeyChecking"] == "yes"
    assert options["HostKeyAlias"] == "compute.2748190374650194723"
    assert options["ControlPersist"] == "15m"
    assert options["ProxyCommand"].split()[:5] == [
        *("gcloud", "compute", "start-iap-tunnel", "skfleet-7h2k", "%p"),
    ]
    assert "--zone=europe-west1-b" in options["ProxyCommand"]
    assert options["KnownHostsCommand"].split()[2:6] == [
        *("skfleet_operator.compute.hostkeys", "example-prod", "europe-west1-b", "skfleet-7h2k"),
    ]


def test_a_runner_inside_the_vpc_needs_no_tunnel(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    inventory(tmp_path, environment)
    (args,) = resolved(
        tmp_path,
        {**environment, "SKFLEET_SSH": "direct"},
        *("skfleet-q9xd", "ansible_ssh_common_args"),
    )
    assert "ProxyCommand" not in args
    assert "StrictHostKeyChecking=yes" in args


def test_host_keys_are_what_the_vm_published(environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "skfleet_operator.compute.hostkeys",
        "example-prod",
        "europe-west1-b",
    ]
    endpoint = environment["SKFLEET_COMPUTE_ENDPOINT"]
    done = subprocess.run(
        [*command, "skfleet-7h2k", "compute.2748190374650194723", endpoint],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["compute.2748190374650194723", "ssh-ed25519"],
        ["compute.2748190374650194723", "ecdsa-sha2-nistp256"],
    ]


def test_a_vm_that_published_no_key_is_not_trusted(environment: dict[str, str]) -> None:
    command = [
        sys.executable,
        "-m",
        "skfleet_operator.compute.hostkeys",
        "example-prod",
        "europe-west1-c",
    ]
    endpoint = environment["SKFLEET_COMPUTE_ENDPOINT"]
    done = subprocess.run(
        [*command, "skfleet-q9xd", "compute.1", endpoint],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "", "no line, and ssh refuses a host it does not know"


def test_a_delegated_task_reaches_the_host_that_it_is_delegated_to() -> None:
    """`inventory_hostname` stays the delegating host's: tunnel and host keys would be another VM's."""
    for path in (
        "inventories/gcp/group_vars/skfleet.yml",
        "molecule/shared/inventory/group_vars/fleet.yml",
    ):
        assert "inventory_hostname" not in (REPOSITORY / path).read_text(), path
