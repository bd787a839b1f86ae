"""patch.yml on real hosts: every VM gets an update, reboots, and the fleet loses no request."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from skfleet_local.hosts.host import ssh
from skfleet_testing.fleet import Fleet, assert_clean, at_a, fleet

__all__ = ["at_a", "fleet"]
pytestmark = pytest.mark.timeout(1500)

CONTROL = """\
Package: skfleet-sample
Version: {version}
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: stands for what Debian updates
"""
# As root, on a VM: an archive of its own with that version, and the one before installed.
ARCHIVE = """\
set -eu
mkdir -p /srv/archive/{version}/DEBIAN
cat > /srv/archive/{version}/DEBIAN/control <<'EOF'
{control}EOF
cd /srv/archive
dpkg-deb --build {version} sample_{version}.deb >/dev/null
size=$(stat --format=%s sample_{version}.deb)
digest=$(sha256sum sample_{version}.deb | cut -d' ' -f1)
{{
  cat {version}/DEBIAN/control
  echo 'Filename: ./sample_{version}.deb'
  echo "Size: $size"
  echo "SHA256: $digest"
}} > Packages
# Lists of both versions have the same size; with the same time, APT's cache of the old one looks current.
touch --date=2026-01-01 Packages
echo 'deb [trusted=yes] file:/srv/archive ./' > /etc/apt/sources.list.d/sample.list
"""


def on(vm: dict[str, Any], script: str) -> str:
    """What a script says that root runs on a VM."""
    done = subprocess.run(
        [*ssh(vm["address"]), "sudo", "sh", "-s"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def offer(vm: dict[str, Any], version: str) -> str:
    return on(vm, ARCHIVE.format(version=version, control=CONTROL.format(version=version)))


def boots(vms: list[dict[str, Any]]) -> dict[str, str]:
    return {vm["name"]: on(vm, "cat /proc/sys/kernel/random/boot_id") for vm in vms}


def test_every_vm_is_updated_and_rebooted_and_no_request_is_lost(
    at_a: Fleet, tmp_path: Path
) -> None:
    vms = at_a.shell.status()
    for vm in vms:
        on(vm, "apt-get -qq purge skfleet-sample >/dev/null 2>&1 || true")
        offer(vm, "1.0")
        on(vm, "apt-get -qq update && apt-get -qq install skfleet-sample >/dev/null")
        offer(vm, "1.1")
    before, identities = boots(vms), {vm["name"]: vm["id"] for vm in vms}
    with at_a.witnessed() as record:
        result = at_a.playbook("patch", rollout_ready_s=90)
    assert result.code == 0, result.output[-3000:]
    assert_clean(record)
    after = at_a.shell.status()
    assert {vm["name"]: vm["id"] for vm in after} == identities, "none was recreated"
    now = boots(vms)
    assert [name for name, boot in before.items() if now[name] == boot] == [], result.output[-6000:]
    versions = {on(vm, "dpkg-query --show --showformat='${Version}' skfleet-sample") for vm in vms}
    assert versions == {"1.1"}
    at_a.assert_at("a")

    again = at_a.playbook("patch")
    assert again.code == 0, again.output[-3000:]
    now = boots(vms)
    assert boots(vms) == now
    assert "'rebooted': True" not in again.output, "nothing to update, nothing to reboot for"


def test_check_mode_changes_nothing(at_a: Fleet) -> None:
    vms = at_a.shell.status()
    before = boots(vms)
    result = at_a.playbook("patch", "--check")
    assert result.code == 0, result.output[-3000:]
    assert f"{len(vms)} VMs, one at a time" in result.output
    assert boots(vms) == before
    assert at_a.document("lock.json")["holder"] is None


def test_an_operators_drain_survives_a_patch(at_a: Fleet) -> None:
    """The mark is kept in memory alone, and the reboot of the patch ends that."""
    vm = at_a.shell.status()[0]
    on(vm, "apt-get -qq purge skfleet-sample >/dev/null 2>&1 || true")
    offer(vm, "1.0")
    on(vm, "apt-get -qq update && apt-get -qq install skfleet-sample >/dev/null")
    offer(vm, "1.1")
    alice = {"SKFLEET_OPERATOR": "alice"}
    assert at_a.playbook("drain", env=alice, host=vm["name"]).code == 0
    refused = at_a.playbook("patch", rollout_ready_s=90)
    assert refused.code != 0
    assert f"Refused (drained): {vm['name']} is drained by an operator" in " ".join(
        refused.output.split()
    )
    before = boots([vm])
    override = {"rollout_override": ["drained"], "rollout_reason": "it is looked at"}
    result = at_a.playbook("patch", rollout_ready_s=90, **override)
    assert result.code == 0, result.output[-3000:]
    assert boots([vm]) != before, "it was rebooted"
    assert at_a.marks() == [vm["name"]]
    assert at_a.playbook("drain", env=alice, host=vm["name"], state="serving").code == 0
    at_a.assert_at("a")
