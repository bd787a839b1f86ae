"""One host on disk: a directory with its writable layer, its keys and what it is.

host.json        this record
upper/ work/     its disk, above `layers`
root/            where its disk is mounted, in the machine process's own mount namespace
var/log/         its console
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skfleet import documents
from skfleet.errors import SkfleetError
from skfleet.polling import wait_until
from skfleet_local import processes
from skfleet_local.hosts import base, network
from skfleet_local.processes import Process

BOOT_S = 40.0
_NETWORK = """\
[Match]
Name=host0
[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
[Route]
Destination={metadata}/32
Scope=link
"""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """host.json"""

    name: str
    address: str
    layers: list[str]  # root file systems below its own, the uppermost first


@dataclass(frozen=True, slots=True)
class Host:
    """A host, running or not."""

    directory: Path
    record: Record

    @classmethod
    def read(cls, directory: Path) -> Host:
        """The host of a directory; raises FileNotFoundError."""
        data = (directory / "host.json").read_bytes()
        return cls(directory, msgspec.json.decode(data, type=Record))

    @property
    def name(self) -> str:
        """Its host name."""
        return self.record.name

    @property
    def address(self) -> str:
        """Its address in the network."""
        return self.record.address

    @property
    def layers(self) -> list[Path]:
        """What its disk is made of."""
        return [Path(layer) for layer in self.record.layers]

    @property
    def upper(self) -> Path:
        """What was written to its disk."""
        return self.directory / "upper"

    @property
    def work(self) -> Path:
        """The overlay's own."""
        return self.directory / "work"

    @property
    def root(self) -> Path:
        """Where the disk is mounted."""
        return self.directory / "root"

    @property
    def console(self) -> Path:
        """What the machine says."""
        return self.directory / "var/log/console.log"

    @property
    def group(self) -> str:
        """Name of its control groups."""
        digest = documents.sha256(os.fsencode(self.directory))[:8]
        return f"skfleet-{digest}-{self.name}"

    @property
    def scoped(self) -> bool:
        """Whether this machine's systemd gives it control groups, as on most people's machines."""
        return Path("/run/systemd/system").is_dir()

    @property
    def public_key(self) -> str:
        """The host key that its sshd shows, as `type key`."""
        text = (self.upper / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(text.split()[:2])

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file on its disk while it does not run."""
        target = self.upper / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def boot(self, marks: dict[str, str]) -> Process:
        """Start it; it takes about a second until sshd answers. `marks` find its processes again."""
        return processes.spawn(
            self.command(),
            {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **marks},
            self.console,
        )

    def command(self) -> list[str]:
        """What runs it: in the network, in its own mount namespace, in a scope where there is systemd."""
        machine = [sys.executable, "-m", "skfleet_local.hosts.machine", str(self.directory)]
        scope = ["systemd-run", "--quiet", "--collect", "--scope", "--property=Delegate=yes"]
        scope.append(f"--unit={self.group}")
        unshared = ["unshare", "--mount", "--propagation=private", "--", *machine]
        return network.run_in([*(scope if self.scoped else []), *unshared])

    def wait(self, until: float = BOOT_S) -> None:
        """Until sshd answers; raises SkfleetError with the console's last lines."""
        error = ""

        def answers() -> bool:
            nonlocal error
            command = [*ssh(self.address), "true"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            error = done.stderr.strip()
            return done.returncode == 0

        try:
            wait_until(answers, until, f"sshd of host {self.name}")
        except TimeoutError as late:
            said = self.console.read_text(errors="replace")[-1500:] if self.console.exists() else ""
            raise SkfleetError(f"{late} {error}\n{said}", where=str(self.console)) from None


def make(directory: Path, name: str, address: str, layers: list[Path], authorized: str) -> Host:
    """A host with a fresh disk. `authorized` is the public key that may log in."""
    remove(directory)
    directory.mkdir(parents=True)
    record = Record(name=name, address=address, layers=[str(layer) for layer in layers])
    (directory / "host.json").write_bytes(msgspec.json.encode(record))
    host = Host(directory, record)
    host.upper.mkdir()
    host.upper.chmod(0o755)
    host.write("etc/hostname", f"{name}\n")
    # Google's images have the line of the metadata server too.
    host.write(
        "etc/hosts",
        f"127.0.0.1 localhost\n::1 localhost\n{address} {name}\n"
        f"{network.METADATA} metadata.google.internal metadata\n",
    )
    network_file = _NETWORK.format(
        address=address, gateway=network.ADDRESSES.cloud, metadata=network.METADATA
    )
    host.write("etc/systemd/network/10-host0.network", network_file)
    # As OS Login does: asked of a command, so that no home has to be there.
    host.write("etc/ssh/authorized_keys", authorized)
    host.write(
        "etc/ssh/sshd_config.d/90-hosts.conf", "AuthorizedKeysFile /etc/ssh/authorized_keys\n"
    )
    key = host.upper / "etc/ssh/ssh_host_ed25519_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)], check=True
    )
    return host


def remove(directory: Path) -> None:
    """Delete the disk of a host that does not run."""
    shutil.rmtree(directory, ignore_errors=True)


def ssh(address: str) -> list[str]:
    """The operator's ssh to a host, from anywhere on this machine; host keys are not of interest here."""
    options = {
        "IdentityFile": str(identity()),
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": "2",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
    }
    arguments = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    return network.run_in(["ssh", *arguments, f"{base.USER}@{address}"])


def identity() -> Path:
    """The operator's private key; made when first asked for."""
    path = base.CACHE / "id_ed25519"
    if not path.exists():
        base.CACHE.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "operator", "-f", str(path)],
            check=True,
        )
    return path


def authorized() -> str:
    """Its public half."""
    return Path(f"{identity()}.pub").read_text()
