"""A VM on this machine: a directory as its disk, a loopback address, supervisor as its init.

Its disk is made from the image; after that it is alone with its metadata server. Nothing here knows
what a release is.
"""

from __future__ import annotations

import getpass
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from skfleet_local import processes
from skfleet_local.addresses import METADATA_PORT, Addresses
from skfleet_local.processes import Process
from skfleet_local.run import Run, make_socket_directory

# Google gives a VM about two minutes to shut down; nobody waits that long here.
SHUTDOWN_S = 10.0
REFRESH_INTERVAL_S = 5

_SUPERVISORD = """\
; Init of this VM, in the place of systemd.
[unix_http_server]
file = {socket}
chmod = 0700

[supervisord]
nodaemon = true
; In the foreground it logs to the console as well.
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {prefix}/run/supervisord.pid
childlogdir = {prefix}/var/log
directory = {prefix}
{user}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface

[supervisorctl]
serverurl = unix://{socket}

[include]
files = conf.d/*.conf

; Boot: bring this host to its fleet's desired release. Done is done; a failure is tried again.
[program:skfleet-converge]
command = {prefix}/opt/skfleet/runtime/bin/skfleet-converge --boot --host-dir {prefix}/etc/skfleet
autorestart = unexpected
exitcodes = 0
startsecs = 0
stopasgroup = true
killasgroup = true
redirect_stderr = true
stdout_logfile = {prefix}/var/log/skfleet-converge.log
stdout_logfile_maxbytes = 1MB
stdout_logfile_backups = 1
"""


@dataclass(frozen=True, slots=True)
class Vm:
    """One VM of a run."""

    run: Run
    addresses: Addresses
    name: str
    address: str
    image: Path  # what its disk is made of

    @property
    def prefix(self) -> Path:
        """Its disk."""
        return self.run.vms / self.name

    @property
    def logs(self) -> Path:
        """Where its programs log."""
        return self.prefix / "var/log"

    @property
    def configuration(self) -> Path:
        """Its supervisor's."""
        return self.prefix / "etc/supervisor/supervisord.conf"

    def make_disk(self) -> None:
        """A fresh disk from the image."""
        self.remove_disk()
        self.prefix.mkdir()  # fails where the fleet's directory was deleted
        for folder in (
            "opt/skfleet/releases",
            "etc/skfleet",
            "etc/supervisor/conf.d",
            "var/lib/skfleet",
            "var/log",
            "run",
        ):
            (self.prefix / folder).mkdir(parents=True)
        (self.prefix / "opt/skfleet/runtime").symlink_to(self.image / "runtime")
        host = self.prefix / "etc/skfleet"
        host.joinpath("host.yml").write_text(yaml.safe_dump(self.host_variables(), sort_keys=False))
        if self.run.trusted_keys.exists():
            shutil.copytree(self.run.trusted_keys, host / "trusted-keys")
        lines = [f"{name}={value}\n" for name, value in self.host_environment().items()]
        host.joinpath("host.env").write_text("".join(lines))
        socket = self.run.socket(self.name)
        # Supervisor dislikes to be root without being told so.
        user = "user = root\n" if getpass.getuser() == "root" else ""
        self.configuration.write_text(
            _SUPERVISORD.format(prefix=_literal(self.prefix), socket=_literal(socket), user=user)
        )

    def remove_disk(self) -> None:
        """Delete it."""
        shutil.rmtree(self.prefix, ignore_errors=True)
        self.run.socket(self.name).unlink(missing_ok=True)

    def host_variables(self) -> dict[str, object]:
        """host.yml: what this host is."""
        return {
            "skfleet_prefix": str(self.prefix),
            "skfleet_become": False,
            "skfleet_service_manager": "supervisor",
            "skfleet_bind_address": self.address,
            "skfleet_loopback_address": self.address,
            "skfleet_user": getpass.getuser(),
            # Init's own tool; on real hosts it is on PATH.
            "skfleet_supervisorctl": [
                str(Path(sys.executable).parent / "supervisorctl"),
                "-c",
                str(self.configuration),
            ],
        }

    def host_environment(self) -> Mapping[str, str]:
        """host.env: where the cloud is. The marks let `down` find whatever a VM has started."""
        metadata = f"{self.address}:{METADATA_PORT}"
        return {
            "GCE_METADATA_HOST": metadata,
            "GCE_METADATA_IP": metadata,
            "NO_PROXY": "127.0.0.0/8",
            "SKFLEET_STORAGE_ENDPOINT": self.addresses.storage_url,
            "SKFLEET_IAP_KEYS_URL": self.addresses.iap_keys_url,
            "SKFLEET_GOOGLE_KEYS_URL": self.addresses.google_keys_url,
            "SKFLEET_BIND_ADDRESS": self.address,
            "SKFLEET_LOOPBACK_ADDRESS": self.address,
            "SKFLEET_CACHE_DIR": f"{self.prefix}/var/lib/skfleet/cache",
            "SKFLEET_IDENTITY_DIR": f"{self.prefix}/var/lib/skfleet/identity",
            "SKFLEET_RUN_DIR": f"{self.prefix}/run/skfleet",
            "SKFLEET_REFRESH_INTERVAL_S": str(REFRESH_INTERVAL_S),
            **self._marks(),
        }

    def boot(self) -> Process:
        """Start the init process. What was in /run is gone, as after any boot."""
        shutil.rmtree(self.prefix / "run", ignore_errors=True)
        (self.prefix / "run").mkdir()
        (self.prefix / "run/skfleet").mkdir()
        socket = self.run.socket(self.name)
        make_socket_directory(socket)
        socket.unlink(missing_ok=True)
        supervisord = Path(sys.executable).parent / "supervisord"
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.prefix / "var/lib/skfleet"),
            "LANG": "C.UTF-8",
            **self._marks(),
        }
        return processes.spawn(
            [str(supervisord), "--nodaemon", "--configuration", str(self.configuration)],
            environment,
            self.logs / "console.log",
        )

    def processes(self) -> list[Process]:
        """Everything that runs on this VM."""
        return processes.of_run(self.run.root, self.name)

    def stop(self, init: Process | None) -> None:
        """Shut down as an operating system does: init first, and at last everything."""
        if init is not None:
            processes.end(lambda: [init], SHUTDOWN_S)
        processes.kill(self.processes)

    def _marks(self) -> dict[str, str]:
        return {processes.MARK: str(self.run.root), processes.VM_MARK: self.name}


def _literal(path: Path) -> str:
    """A path in a supervisor file, where `%` begins an expansion."""
    return str(path).replace("%", "%%")
