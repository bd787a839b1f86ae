"""A plain Debian after the roles base, observability and runtime."""

from __future__ import annotations

import json
from typing import Any

import pytest

from skfleet.declared import declared

HEALTH = declared().edge.listeners.health.port


def root(host: Any, command: str) -> Any:
    """What root is told by a command."""
    with host.sudo():
        return host.run(command)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("permitrootlogin", "without-password"),
        ("passwordauthentication", "no"),
        ("kbdinteractiveauthentication", "no"),
        ("x11forwarding", "no"),
        ("allowagentforwarding", "no"),
        ("maxauthtries", "4"),
        ("usepam", "yes"),  # OS Login's
    ],
)
def test_sshd_is_hardened(host: Any, name: str, value: str) -> None:
    settings = dict(
        line.split(" ", 1) for line in root(host, "sshd -T").stdout.splitlines() if " " in line
    )
    assert settings[name] == value


def test_os_login_keeps_its_say(host: Any) -> None:
    """What its guest agent writes into sshd's configuration is in effect, and nobody is shut out by name."""
    with host.sudo():
        host.run_expect(
            [0],
            "sh -c 'printf \"AuthorizedKeysCommand /usr/bin/google_authorized_keys\\n"
            "AuthorizedKeysCommandUser root\\n\" > /etc/ssh/sshd_config.d/oslogin-test.conf'",
        )
        said = host.run("sshd -T").stdout
        host.run_expect([0], "rm /etc/ssh/sshd_config.d/oslogin-test.conf")
    assert "authorizedkeyscommand /usr/bin/google_authorized_keys" in said
    assert "allowusers" not in said
    assert "denyusers" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("net.ipv4.conf.all.accept_redirects", 0),
        ("net.ipv4.conf.all.send_redirects", 0),
        ("net.ipv4.tcp_syncookies", 1),
        ("net.core.somaxconn", 4096),
    ],
)
def test_the_kernel_is_hardened(host: Any, name: str, value: int) -> None:
    assert int(root(host, f"sysctl -n {name}").stdout) == value


def test_the_time_comes_from_the_metadata_server_alone(host: Any) -> None:
    lines = host.file("/etc/chrony/chrony.conf").content_string.splitlines()
    assert [line.split()[1] for line in lines if line.startswith(("server", "pool"))] == [
        "metadata.google.internal"
    ]


def test_updates_come_when_the_fleet_asks(host: Any) -> None:
    assert host.run("systemctl is-enabled apt-daily-upgrade.timer").stdout.strip() == "masked"


def test_the_journal_is_bounded(host: Any) -> None:
    said = host.run("systemd-analyze cat-config systemd/journald.conf").stdout
    assert "SystemMaxUse=256M" in said
    assert host.file("/var/log/journal").is_directory


def test_a_host_without_a_release_is_live_and_says_why_it_is_not_ready(host: Any) -> None:
    assert host.service("skfleet.service").is_running
    assert host.service("skfleet.service").is_enabled
    live = host.run(f"curl --silent --fail http://127.0.0.1:{HEALTH}/livez")
    assert live.rc == 0
    ready = host.run(f"curl --silent --write-out '%{{http_code}}' http://127.0.0.1:{HEALTH}/readyz")
    body, status = ready.stdout[:-3], ready.stdout[-3:]
    assert status == "503"
    assert json.loads(body)["checks"]


def test_no_unit_has_failed_but_the_converge_that_waits_for_a_fleet(host: Any) -> None:
    failed = host.run("systemctl list-units --failed --plain --no-legend").stdout.split("\n")
    assert {line.split()[0] for line in failed if line} <= {"skfleet-converge.service"}
