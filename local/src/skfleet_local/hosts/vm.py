"""A VM of the Compute stand-in that is a real systemd host: the other kind than `skfleet_local.vm`.

Its disk is made of layers, the uppermost an image that was baked; like a VM of Google's it is then alone
with its metadata server, and with a cloud that is elsewhere (host.env).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from skfleet_local import processes
from skfleet_local.addresses import Addresses
from skfleet_local.hosts import host
from skfleet_local.hosts.machine import SHUTDOWN_S
from skfleet_local.processes import Process
from skfleet_local.run import Run
from skfleet_local.vm import REFRESH_INTERVAL_S


@dataclass(frozen=True, slots=True)
class HostVm:
    """One VM of a run; `layers` are root file systems, the uppermost first."""

    run: Run
    addresses: Addresses
    name: str
    address: str
    layers: tuple[Path, ...]

    @property
    def directory(self) -> Path:
        """Its disk, keys and console."""
        return self.run.vms / self.name

    def make_disk(self) -> None:
        """A fresh disk from the image."""
        made = host.make(
            self.directory, self.name, self.address, list(self.layers), host.authorized()
        )
        lines = [f"{name}={value}\n" for name, value in self.host_environment().items()]
        made.write("etc/skfleet/host.env", "".join(lines))

    def remove_disk(self) -> None:
        """Delete it."""
        host.remove(self.directory)

    def host_environment(self) -> Mapping[str, str]:
        """host.env: where the cloud is; the metadata server is where Google's is."""
        return {
            "SKFLEET_STORAGE_ENDPOINT": self.addresses.storage_url,
            "SKFLEET_IAP_KEYS_URL": self.addresses.iap_keys_url,
            "SKFLEET_GOOGLE_KEYS_URL": self.addresses.google_keys_url,
            "SKFLEET_REFRESH_INTERVAL_S": str(REFRESH_INTERVAL_S),
        }

    def boot(self) -> Process:
        """Start it."""
        marks = {processes.MARK: str(self.run.root), processes.VM_MARK: self.name}
        return host.Host.read(self.directory).boot(marks)

    def processes(self) -> list[Process]:
        """What runs it; its own processes end with that."""
        return processes.of_run(self.run.root, self.name)

    def stop(self, init: Process | None) -> None:
        """Press the power button and wait; without `init`, cut the power."""
        if init is not None:
            processes.end(lambda: [init], SHUTDOWN_S + 5)
        processes.kill(self.processes)

    def host_key(self) -> str:
        """What its sshd shows, as `type key`: the guest attribute of a real VM."""
        return host.Host.read(self.directory).public_key
