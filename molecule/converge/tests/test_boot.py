"""A host with a fresh disk, the image's, and metadata: it becomes what its fleet serves, by itself."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from skfleet_local.hosts.host import ssh
from skfleet_testing.fleet import Fleet, at_a, fleet, serves

__all__ = ["at_a", "fleet"]


def converge(vm: dict[str, Any], *options: str) -> dict[str, Any]:
    """The last line of `skfleet-converge` on a VM."""
    done = subprocess.run(
        [*ssh(vm["address"]), "sudo", "/opt/skfleet/runtime/bin/skfleet-converge", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last


def test_a_lost_host_comes_back_from_metadata_alone_and_converging_again_changes_nothing(
    at_a: Fleet,
) -> None:
    lost = at_a.shell.status()[0]
    at_a.command("skfleet-local", "break", "kill", lost["name"])

    def back(vms: list[dict[str, Any]]) -> bool:
        return any(
            vm["name"] == lost["name"] and vm["id"] != lost["id"] and serves(vm, "a") for vm in vms
        )

    assert at_a.shell.wait("it is back", back, 120)
    at_a.wait_until_at_rest()
    vm = next(vm for vm in at_a.shell.status() if vm["name"] == lost["name"])
    assert converge(vm, "--check")["changed"] == 0
    assert converge(vm)["changed"] == 0
    assert all(serves(vm, "a") for vm in at_a.shell.status())
