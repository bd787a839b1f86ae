"""The units of a VM: what they may do, and what they show."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from skfleet_local.hosts.host import ssh
from skfleet_testing.fleet import Fleet, at_a, fleet

__all__ = ["at_a", "fleet"]
MOST_EXPOSED = 2.0

# Run as the user of the service: what of this gets anywhere?
TRY = """\
import socket, sys
for name, family, kind, address in (
    ("bucket", socket.AF_INET, socket.SOCK_STREAM, ("10.88.0.1", 4443)),
    ("metadata", socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80)),
    ("own sshd", socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 22)),
    ("ipv6", socket.AF_INET6, socket.SOCK_STREAM, ("::1", 22)),
    ("dns", socket.AF_INET, socket.SOCK_DGRAM, ("10.88.0.1", 53)),
):
    with socket.socket(family, kind) as tried:
        tried.settimeout(2)
        try:
            tried.connect(address)
            if kind == socket.SOCK_DGRAM:
                tried.send(b"x")
            print(name)
        except OSError as error:
            print(f"{name}: {error}", file=sys.stderr)
"""


@pytest.fixture
def vm(at_a: Fleet) -> dict[str, Any]:
    return at_a.shell.status()[0]


def on(vm: dict[str, Any], *command: str, stdin: str = "") -> str:
    """What root is told by a command on a VM."""
    done = subprocess.run(
        [*ssh(vm["address"]), "sudo", *command],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("unit", ["skfleet.service", "skfleet-refresh.service"])
def test_a_unit_that_meets_the_network_is_sandboxed(vm: dict[str, Any], unit: str) -> None:
    said = on(vm, "systemd-analyze", "security", "--no-pager", unit)
    exposure = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert exposure, said
    assert float(exposure[1]) <= MOST_EXPOSED, said


def test_the_service_opens_no_connection(vm: dict[str, Any]) -> None:
    assert on(vm, "sudo", "-u", "skfleet", "python3", "-", stdin=TRY) == ""
    opened = on(vm, "python3", "-", stdin=TRY).splitlines()
    assert {"bucket", "metadata", "own sshd"} <= set(opened), "the control: root can"


def test_a_reload_of_the_hosts_own_rules_leaves_the_services_in_place(vm: dict[str, Any]) -> None:
    on(vm, "systemctl", "start", "nftables.service")
    on(vm, "systemctl", "reload", "nftables.service")
    assert on(vm, "sudo", "-u", "skfleet", "python3", "-", stdin=TRY) == ""


def test_without_the_rules_there_is_no_service(vm: dict[str, Any]) -> None:
    assert "skfleet-firewall.service" in on(
        vm, "systemctl", "show", "--property=Requires", "skfleet.service"
    )


def test_no_secret_is_in_a_unit_or_a_command_line(vm: dict[str, Any]) -> None:
    shown = on(vm, "systemctl", "show", "skfleet.service", "skfleet-refresh.service")
    lines = on(
        vm, "sh", "-c", "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'"
    )
    for text in (shown, lines):
        assert not re.search(r"PRIVATE KEY|Bearer |ya29\.|eyJ[A-Za-z0-9_-]{20}", text)


def test_logs_are_json_lines_in_the_journal(vm: dict[str, Any]) -> None:
    lines = on(
        vm,
        "journalctl",
        "--unit=skfleet.service",
        "_TRANSPORT=stdout",
        "--output=cat",
        "--lines=50",
    ).splitlines()
    assert lines
    for line in lines:
        assert {"time", "log"} <= json.loads(line).keys()


def test_it_ends_within_what_compute_engine_gives_a_shutdown(vm: dict[str, Any]) -> None:
    shown = on(vm, "systemctl", "show", "--property=TimeoutStopUSec", "skfleet.service")
    assert shown == "TimeoutStopUSec=1min 30s"
