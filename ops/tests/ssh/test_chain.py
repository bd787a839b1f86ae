"""The whole chain: a key that `skfleet ssh setup` registered lets `ansible` in through inventories/gcp.

Real: the command, Ansible, the inventory's own variables, ssh, sshd on loopback. OS Login and the Compute
API are the emulator's; `gcloud` on PATH stands for IAP's tunnel, and takes its arguments alone. sshd asks for
keys as Google's guest agent does, and knows OS Login's users in a mount namespace of its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skfleet.polling import wait_until

from .conftest import DEPLOYER, Skfleet
from .emulator import ANSWERS, PROJECT, Google

REPOSITORY = Path(__file__).resolve().parents[3]
SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
SETUP = ("ssh", "setup", "--project", PROJECT)
VM, GENERATOR = "skfleet-7h2k", "skfleet-loadgen-2"
# Quick: no second try, no search for the VM's Python.
QUICK = ("-e", "ansible_ssh_retries=0 ansible_python_interpreter=/usr/bin/python3")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or SSHD is None,
    reason="needs root and sshd: apt-get install openssh-server",
)

# What guest-oslogin's google_authorized_keys does: no keys of whoever may not log in, and none that expired.
AUTHORIZED_KEYS = """\
#!/usr/bin/python3
import json, sys, time, urllib.error, urllib.request
base = "{url}/computeMetadata/v1/oslogin"
def ask(path):
    return json.load(urllib.request.urlopen(base + path, timeout=5))
try:
    profile = ask("/users?username=" + sys.argv[1])["loginProfiles"][0]
except urllib.error.HTTPError:
    sys.exit(0)
if ask("/authorize?policy=adminLogin&email=" + profile["name"])["success"]:
    for key in profile.get("sshPublicKeys", {{}}).values():
        if int(key["expirationTimeUsec"]) > time.time() * 1e6:
            print(key["key"])
"""

# `gcloud compute start-iap-tunnel VM 22 --listen-on-stdin …`, and nothing else of it.
GCLOUD = """\
#!{python}
import argparse, os, socket, sys, threading
parser = argparse.ArgumentParser()
for name in ("compute", "start-iap-tunnel"):
    parser.add_argument(name, choices=[name])
parser.add_argument("instance")
parser.add_argument("port", choices=["22"])
parser.add_argument("--listen-on-stdin", action="store_true", required=True)
parser.add_argument("--project", required=True, choices=["example-prod"])
parser.add_argument("--zone", required=True)
parser.add_argument("--verbosity", choices=["warning"])
asked = parser.parse_args()
with open("{log}", "a") as log:
    print(asked.instance, asked.zone, file=log)
vm = socket.create_connection(("127.0.0.1", {port}))
def upward():
    while data := os.read(0, 65536):
        vm.sendall(data)
    vm.shutdown(socket.SHUT_WR)
threading.Thread(target=upward, daemon=True).start()
while data := vm.recv(65536):
    os.write(1, data)
"""

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile none
AuthorizedKeysCommand /mnt/google_authorized_keys
AuthorizedKeysCommandUser root
PasswordAuthentication no
KbdInteractiveAuthentication no
PidFile none
UsePAM no
"""


@dataclass
class Vm:
    """The sshd that both VMs of the group are, behind the tunnel."""

    port: int
    folder: Path
    google: Google

    @property
    def log(self) -> str:
        """What sshd said."""
        return (self.folder / "sshd.log").read_text()

    def make_host_key(self) -> None:
        """As the guest agent does at a VM's first boot: it publishes the key, too."""
        key = self.folder / "host_key"
        key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        self.google.host_key = " ".join(Path(f"{key}.pub").read_text().split()[:2])


@pytest.fixture
def vm(google: Google, url: str) -> Iterator[Vm]:
    folder = Path(tempfile.mkdtemp(prefix="vm-"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    made = Vm(port, folder, google)
    made.make_host_key()
    (folder / "sshd_config").write_text(CONFIG.format(port=port, folder=folder))
    mnt = folder / "mnt"
    mnt.mkdir(mode=0o755)
    (mnt / "google_authorized_keys").write_text(AUTHORIZED_KEYS.format(url=url))
    (mnt / "google_authorized_keys").chmod(0o755)
    users = "".join(
        f"{user}:x:{20001 + n}:{20001 + n}::/tmp:/bin/sh\n"
        for n, user in enumerate(google.users.values())
    )
    system = [
        line
        for line in Path("/etc/passwd").read_text().splitlines()
        if not line.startswith("sshd:")
    ]
    system.append("sshd:x:65500:65534::/run/sshd:/usr/sbin/nologin")
    (folder / "passwd").write_text("\n".join(system) + "\n" + users)
    mounts = (
        f"mount --bind {folder}/passwd /etc/passwd && mount --bind {mnt} /mnt && mount -t tmpfs none /run "
        f"&& mkdir -m 755 /run/sshd && exec {SSHD} -D -e -f {folder}/sshd_config"
    )
    with (folder / "sshd.log").open("w") as log:
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "sh", "-c", mounts], stderr=log
        )

    def listens() -> bool:
        assert process.poll() is None, made.log
        return "listening" in made.log

    wait_until(listens, 10, lambda: f"sshd ({made.log})", interval_s=0.02)
    yield made
    process.send_signal(signal.SIGTERM)
    process.wait(10)
    shutil.rmtree(folder)


Ansible = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ansible(environment: dict[str, str], vm: Vm, tmp_path: Path) -> Iterator[Ansible]:
    """`ansible -i inventories/gcp …` in the repository's root; connections of one call are not another's."""
    inventory = tmp_path / "gcp"
    ignored = shutil.ignore_patterns("terraform.json")
    shutil.copytree(REPOSITORY / "inventories/gcp", inventory, ignore=ignored)
    shutil.copy(ANSWERS / "terraform.json", inventory / "terraform.json")
    tools = tmp_path / "bin"
    tools.mkdir()
    stub = GCLOUD.format(python=sys.executable, log=tmp_path / "tunnels", port=vm.port)
    (tools / "gcloud").write_text(stub)
    (tools / "gcloud").chmod(0o755)
    sockets = Path(tempfile.mkdtemp(prefix="cp-"))

    def disconnect() -> None:
        for path in sockets.iterdir():
            subprocess.run(
                ["ssh", "-O", "exit", "-o", f"ControlPath={path}", VM],
                capture_output=True,
                check=False,
            )

    def run(*arguments: str, **changed: str) -> subprocess.CompletedProcess[str]:
        env = {
            **environment,
            "PATH": f"{tools}:{environment['PATH']}",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(sockets),
            **changed,
        }
        try:
            return subprocess.run(
                ["ansible", "-i", str(inventory), *QUICK, *arguments],
                env=env, cwd=REPOSITORY,
                capture_output=True, text=True, check=False, timeout=120,
            )  # fmt: skip
        finally:
            disconnect()

    yield run
    disconnect()
    shutil.rmtree(sockets)


def test_a_key_that_setup_registered_logs_in_until_it_expires(
    skfleet: Skfleet, ansible: Ansible, vm: Vm, google: Google, tmp_path: Path
) -> None:
    assert skfleet(*SETUP).returncode == 0
    done = ansible(f"{VM},{GENERATOR}", "-m", "ansible.builtin.ping")
    assert done.returncode == 0, done.stdout + done.stderr + vm.log
    assert done.stdout.count('"ping": "pong"') + done.stdout.count("ping: pong") == 2, done.stdout
    assert set(re.findall(r"Accepted publickey for (\S+)", vm.log)) == {"sa_104857"}
    tunnels = set((tmp_path / "tunnels").read_text().splitlines())
    assert tunnels == {f"{VM} europe-west1-b", f"{GENERATOR} europe-west1-c"}

    google.expire_keys()
    refused = ansible(VM, "-m", "ansible.builtin.ping")
    assert refused.returncode != 0
    assert "Permission denied (publickey)" in refused.stdout + refused.stderr

    renewed = skfleet(*SETUP)
    assert renewed.stdout.startswith("Registered a new key"), renewed.stderr
    assert ansible(VM, "-m", "ansible.builtin.ping").returncode == 0, vm.log
    assert google.faults == []


@pytest.mark.parametrize("state", ["never set up", "expired", "damaged", "of another project"])
def test_without_a_login_every_playbook_stops_before_it_does_anything(
    skfleet: Skfleet, ansible: Ansible, vm: Vm, environment: dict[str, str], state: str
) -> None:
    folder = Path(environment["SKFLEET_SSH_DIRECTORY"]) / PROJECT
    if state != "never set up":
        skfleet(*SETUP)
        record = json.loads((folder / "login.json").read_text())
        changed = {
            "expired": {"expires_at": "2026-01-01T00:00:00Z"},
            "damaged": {"user": "{{ lookup('pipe', 'touch /tmp/skfleet-evaluated') }}"},
            "of another project": {"project": "example-dev"},
        }[state]
        (folder / "login.json").write_text(json.dumps({**record, **changed}))
    done = ansible("localhost", "-m", "ansible.builtin.debug")
    assert done.returncode != 0
    assert "Run `skfleet ssh setup`" in " ".join(done.stderr.split())
    assert "runner" not in done.stderr + vm.log


def test_a_user_and_keys_of_ones_own_need_no_setup(
    ansible: Ansible, vm: Vm, google: Google, tmp_path: Path
) -> None:
    key = tmp_path / ".ssh/id_ed25519"
    key.parent.mkdir(mode=0o700)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "skfleet", "-f", str(key)], check=True
    )
    public = Path(f"{key}.pub").read_text().strip()
    google.keys[DEPLOYER] = {
        "f": {"key": public, "expirationTimeUsec": str(int(time.time() + 60) * 1_000_000)}
    }
    # ssh reads its own files from the home of the user database, not from HOME.
    arguments = f"-o IdentityFile={key}"
    done = ansible(
        *(VM, "-m", "ansible.builtin.ping", f"--ssh-extra-args={arguments}"),
        SKFLEET_SSH_USER="sa_104857",
    )
    assert done.returncode == 0, done.stdout + done.stderr + vm.log


def test_first_use_reaches_vms_that_may_not_publish_host_keys(
    skfleet: Skfleet, ansible: Ansible, vm: Vm, google: Google, environment: dict[str, str]
) -> None:
    skfleet(*SETUP)
    google.guest_attributes_are_forbidden = True
    refused = ansible(VM, "-m", "ansible.builtin.ping")
    assert refused.returncode != 0
    assert "compute.disableGuestAttributesAccess" in refused.stdout + refused.stderr

    done = ansible(VM, "-m", "ansible.builtin.ping", SKFLEET_SSH_HOST_KEYS="first-use")
    assert done.returncode == 0, done.stdout + done.stderr + vm.log
    assert "trusts the key that a VM shows first" in " ".join(done.stderr.split())
    known = Path(environment["SKFLEET_SSH_DIRECTORY"]) / PROJECT / "known_hosts"
    named = ["ssh-keygen", "-F", "compute.2748190374650194723", "-f", str(known)]
    assert (
        google.host_key in subprocess.run(named, capture_output=True, text=True, check=True).stdout
    )

    vm.make_host_key()  # the same VM, by its id, with another key
    spoofed = ansible(VM, "-m", "ansible.builtin.ping", SKFLEET_SSH_HOST_KEYS="first-use")
    assert spoofed.returncode != 0
    assert "HOST IDENTIFICATION HAS CHANGED" in spoofed.stdout + spoofed.stderr


def test_a_choice_of_host_keys_that_is_none_is_refused(ansible: Ansible) -> None:
    done = ansible("localhost", "-m", "ansible.builtin.debug", SKFLEET_SSH_HOST_KEYS="none")
    assert done.returncode != 0
    said = " ".join(done.stderr.split())
    assert "Invalid SKFLEET_SSH_HOST_KEYS 'none': expected guest-attributes or first-use." in said
