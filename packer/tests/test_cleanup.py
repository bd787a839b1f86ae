"""roles/image_cleanup: what is a host's own goes, what is the image's stays, what remains is named."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import REPOSITORY

CLEAN = REPOSITORY / "roles/image_cleanup/files/clean.py"
KEY = "-----BEGIN " + "OPENSSH PRIVATE KEY-----\n" + "QUFB" * 30 + "\n-----END X-----\n"

OWN = {
    "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
    "etc/ssh/ssh_host_ed25519_key": KEY,
    "etc/google_instance_id": "42",
    "etc/skfleet/host.env": "TOKEN=x\n",
    "etc/shadow-": "root:!::\n",
    "root/.ssh/authorized_keys": "ssh-ed25519 AAAA someone\n",
    "root/.bash_history": "export TOKEN=x\n",
    "root/notes": "x",
    "home/sa_123/.ssh/known_hosts": "x",  # came by OS Login: is in no passwd
    "var/log/journal/0123456789abcdef/system.journal": "x",
    "var/log/apt/history.log": "x",
    "var/lib/systemd/random-seed": "x",
    "var/lib/dhcp/dhclient.leases": "x",
    "var/lib/apt/lists/archive": "x",
    "var/lib/skfleet/identity/environment.json": "{}",
    "var/lib/skfleet/ansible/run-1/variables.json": "{}",
    "tmp/left": "x",
}
IMAGES = {
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n",
    "etc/shadow": "root:*:1::::::\n",
    "etc/skfleet/host.yml": "skfleet_prefix: ''\n",
    "root/.bashrc": "x",
    "opt/skfleet/releases/r1/release.json": "{}",
    "var/lib/skfleet/cache/objects/abc": "x",
    "var/cache/apt/archives/partial/.keep": "",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (OWN | IMAGES).items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    hosts = tmp_path / "etc/hosts"
    hosts.write_text(hosts.read_text() + "10.0.0.2 vm.c.p.internal vm  # Added by Google\n")
    return tmp_path


def clean(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(CLEAN), str(root), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_is_a_hosts_own_goes_and_what_is_the_images_stays(root: Path) -> None:
    done = clean(root)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    assert left == {*IMAGES, "etc/machine-id"}
    assert (root / "etc/machine-id").read_bytes() == b""
    assert (root / "etc/hosts").read_text() == IMAGES["etc/hosts"]


def test_a_look_changes_nothing_and_names_everything(root: Path) -> None:
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    done = clean(root, "--look")
    assert done.returncode == 1
    for name in OWN:
        if name.startswith(("root/.ssh", "home/", "var/log/journal", "var/lib/skfleet/ansible")):
            continue  # named by their folder
        assert f"/{name}:" in done.stdout, name
    for folder in ("/root/.ssh:", "/home/sa_123:", "/var/lib/skfleet/ansible:"):
        assert folder in done.stdout
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("opt/app/server.pem", KEY, "holds a private key"),
        ("srv/account.json", '{"private_key": "x"}', "holds a private key"),
        ("etc/shadow", "root:$y$j9T$abc:1::::::\n", "user root has a password"),
        ("etc/passwd", "me:x:1000:1000::/home/me:/bin/sh\n", "user me is a person's"),
    ],
)
def test_a_secret_that_no_rule_removes_refuses_the_image(
    root: Path, name: str, text: str, reason: str
) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    done = clean(root)
    assert done.returncode == 1
    assert done.stdout.strip() == f"/{name}: {reason}"


def test_an_active_release_refuses_the_image(root: Path) -> None:
    (root / "opt/skfleet/current").symlink_to("releases/r1")
    done = clean(root)
    assert done.returncode == 1
    assert done.stdout.strip() == "/opt/skfleet/current: an image serves nothing"


def test_the_bases_own_users_may_stay(root: Path) -> None:
    (root / "etc/passwd").write_text("ops:x:1000:1000::/home/ops:/bin/sh\n")
    assert clean(root, "ops").returncode == 0
