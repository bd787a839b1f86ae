"""Other users of the machine, and web pages in its user's own browser, get nothing from a local fleet.

Listeners and sockets are those that the fleet's processes have: a new one is tried without being named here.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from skfleet.declared import declared
from skfleet.errors import Refused
from skfleet_local import client, processes
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.addresses import METADATA_PORT, TLS_PORT
from skfleet_local.compute.project import BUCKET
from skfleet_local.run import claim, make_socket_directory

OTHER = "nobody"
FLAVOR = {"Metadata-Flavor": "Google"}
ENVIRONMENT = "fleets/local/environment.json"
OBJECT = f"/storage/v1/b/{BUCKET}/o/{ENVIRONMENT.replace('/', '%2F')}"
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
# What emulators and Envoy offer, and a bucket's server without tokens would: tried on every listener.
ATTEMPTS: list[tuple[str, str, dict[str, str], str]] = [
    *(
        ("GET", path, FLAVOR, "")
        for path in (
            "/", f"/storage/v1/b/{BUCKET}/o", f"{OBJECT}?alt=media", f"/{BUCKET}/{ENVIRONMENT}", TOKEN,
            "/computeMetadata/v1/?recursive=true", "/alive", "/fleet", "/compute/faults", "/ready",
            "/config_dump", "/clusters", "/oauth2/v3/certs", "/compute/v1/projects/skfleet-local",
        )
    ),
    *(
        ("POST", path, {"Content-Type": "text/plain"}, body)
        for path, body in (
            (f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={ENVIRONMENT}", "{}"),
            ("/storage/fault", '{"mode": "down", "seconds": 60}'),
            ("/runtime_modify?upstream.use_retry=0", ""),
            ("/quitquitquit", ""),
            ("/token", "grant_type=x"),
        )
    ),
    ("PUT", "/compute/faults", {}, '{"quota": 0}'),
    ("PUT", "/computeMetadata/v1/instance/guest-attributes/hostkeys/ssh-rsa", FLAVOR, "planted"),
]  # fmt: skip

# What the other user runs: requests, requests that nobody waits for, Unix sockets and files.
INTRUDER = """\
import contextlib, http.client, json, os, socket, sys

todo = json.load(sys.stdin)
found = {"user": os.getuid(), "answers": [], "connected": [], "read": []}
for address, port in todo["listeners"]:
    for method, path, headers, body in todo["attempts"]:
        connection = http.client.HTTPConnection(address, port, timeout=5)
        try:
            connection.request(method, path, body, headers)
            status = connection.getresponse().status
        except OSError as error:
            status = type(error).__name__
        found["answers"].append([address, port, method, path, status])
        connection.close()
        head = f"{method} {path} HTTP/1.1\\r\\nHost: {address}:{port}\\r\\nContent-Length: {len(body)}\\r\\n"
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=5) as blind:
            blind.sendall(f"{head}\\r\\n{body}".encode())
for path in todo["sockets"]:
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(path)
            found["connected"].append(path)
        except PermissionError:
            pass
for path in todo["files"]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).close()
        found["read"].append(path)
    except PermissionError:
        pass
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def fleet(start_fleet: Callable[..., Any]) -> Any:
    return start_fleet("--vms", "1")


def listeners(fleet: Any) -> list[tuple[str, int]]:
    """What the fleet listens on, but for the service's own doors: load balancers and VMs' ports."""
    addresses = fleet.state.addresses
    doors = {(addresses.external, TLS_PORT), (addresses.internal, TLS_PORT)}
    doors |= {(vm, port) for vm in addresses.vms() for port in declared().edge.ports()}
    found = {
        (connection.laddr.ip, connection.laddr.port)
        for process in processes.of_run(fleet.run.root)
        for connection in psutil.Process(process.pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert (addresses.external, TLS_PORT) in found, "the processes' listeners were not seen"
    return sorted(found - doors)


def sockets(fleet: Any) -> list[str]:
    """The Unix sockets that the fleet listens on."""
    return sorted(
        {
            connection.laddr
            for process in processes.of_run(fleet.run.root)
            for connection in psutil.Process(process.pid).net_connections("unix")
            if connection.laddr.startswith("/") and Path(connection.laddr).is_socket()
        }
    )


def as_other_user() -> list[str]:
    """What runs a command as another user; skips where this user cannot."""
    if os.getuid() == 0:
        return ["setpriv", f"--reuid={OTHER}", "--regid=nogroup", "--clear-groups", "--"]
    sudo = ["sudo", "-n", "-u", OTHER, "--"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False).returncode == 0:
        return sudo
    pytest.skip("Needs root or passwordless sudo, to become another user: sudo make test.")


def environment(fleet: Any) -> bytes:
    """environment.json, as the operator reads it."""
    token = client.access_token(fleet.run, ACCOUNTS["operator"])
    answer = client.session().get(
        f"{fleet.state.addresses.storage_url}{OBJECT}?alt=media",
        headers={"Authorization": f"Bearer {token}"},
        timeout=5,
    )
    assert answer.status_code == 200
    return bytes(answer.content)


@pytest.mark.fleet
def test_another_user_is_refused_by_every_listener_socket_and_file(fleet: Any) -> None:
    before = environment(fleet)
    todo = {
        "listeners": listeners(fleet),
        "attempts": ATTEMPTS,
        "sockets": sockets(fleet),
        "files": [str(path) for path in (fleet.run.root, *fleet.run.root.rglob("*"))],
    }
    # The system's own, since an environment's may lie in a home that others cannot enter.
    python = shutil.which("python3", path=os.defpath) or os.path.realpath(sys.executable)
    done = subprocess.run(
        [*as_other_user(), python, "-I", "-c", INTRUDER],
        input=json.dumps(todo),
        capture_output=True,
        text=True,
        check=False,
    )
    if "Permission denied" in done.stderr:
        pytest.skip(f"Needs a Python that {OTHER} may run, not {python}: apt install python3.")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["user"] == pwd.getpwnam(OTHER).pw_uid
    assert len(found["answers"]) == len(todo["listeners"]) * len(ATTEMPTS)
    assert [answer for answer in found["answers"] if answer[-1] != 403] == []
    assert found["connected"] == []
    assert found["read"] == []
    # Nor did anything happen that was not answered.
    assert environment(fleet) == before
    assert all(process.alive() for process in fleet.state.processes.values())
    faults = f"{fleet.state.addresses.admin_url}/compute/faults"
    assert client.session().get(faults, timeout=5).json()["quota"] is None


@pytest.mark.fleet
def test_sockets_and_the_run_directory_are_the_users_alone(fleet: Any) -> None:
    found = sockets(fleet)
    assert str(fleet.run.envoy_admin_socket) in found
    assert str(fleet.run.iap_socket) in found
    assert fleet.run.root.stat().st_mode & 0o777 == 0o700
    for path in map(Path, found):
        private = [folder for folder in path.parents if folder.stat().st_mode & 0o077 == 0]
        assert private, path


@pytest.mark.fleet
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://page.test"},
        {"Origin": "null", "Content-Type": "text/plain"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "page.test:4443"},
        {"Host": "page.test", "Origin": "http://page.test"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_a_web_page_is_refused_whatever_it_knows(fleet: Any, headers: dict[str, str]) -> None:
    token = client.access_token(fleet.run, ACCOUNTS["operator"])
    before = environment(fleet)
    for address, port in listeners(fleet):
        for method, path, usual, body in ATTEMPTS:
            sent = {**usual, "Authorization": f"Bearer {token}", **headers}
            assert_refused(address, port, method, path, sent, body)
        asked = {"Access-Control-Request-Method": "PUT", **headers}
        assert_refused(address, port, "OPTIONS", "/compute/faults", asked, "")
    assert environment(fleet) == before


def assert_refused(
    address: str, port: int, method: str, path: str, headers: dict[str, str], body: str
) -> None:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    where = f"{method} {address}:{port}{path}"
    assert answer.status == 403, where
    assert not [name for name in answer.headers if name.lower().startswith("access-control")], where
    connection.close()


@pytest.mark.fleet
def test_the_fleets_own_user_is_answered_by_all(fleet: Any) -> None:
    from skfleet_local.envoy_admin import ask_now

    addresses = fleet.state.addresses
    vm = next(addresses.vms())
    get = client.session().get
    assert get(f"{addresses.admin_url}/alive", timeout=5).json() == {"run": str(fleet.run.root)}
    assert get(f"http://{vm}:{METADATA_PORT}{TOKEN}", headers=FLAVOR, timeout=5).ok
    assert get(addresses.google_keys_url, timeout=5).ok
    assert environment(fleet)
    fleet.command("up")  # of what runs already: its sockets stay
    assert b"LIVE" in ask_now(fleet.run.envoy_admin_socket, "/ready")
    assert fleet.command("break", "retries").stdout == "retries off\n"
    assert fleet.command("break", "retries", "--end").stdout == "retries on\n"


def test_a_directory_that_others_could_read_is_closed(tmp_path: Path) -> None:
    open_to_all = tmp_path / "run"
    open_to_all.mkdir(mode=0o755)
    claim(open_to_all)
    assert open_to_all.stat().st_mode & 0o777 == 0o700


def test_a_socket_is_never_put_into_another_users_directory(tmp_path: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    ours.mkdir()
    theirs.symlink_to(ours)
    with pytest.raises(Refused, match="another user"):
        make_socket_directory(theirs / "envoy-admin.sock")
    if os.getuid() == 0:
        os.chown(ours, pwd.getpwnam(OTHER).pw_uid, -1)
        with pytest.raises(Refused, match="another user"):
            make_socket_directory(ours / "envoy-admin.sock")
