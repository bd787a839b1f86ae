"""A host's description gives every path and the whole environment of its programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from skfleet.errors import ConfigurationError
from skfleet.vm import launch
from skfleet.vm.host import Host, checked_environment, read_environment

VARIABLES = {
    "skfleet_prefix": "",
    "skfleet_become": True,
    "skfleet_service_manager": "systemd",
    "skfleet_bind_address": "0.0.0.0",
    "skfleet_loopback_address": "127.0.0.1",
}


def host(directory: Path, environment: str = "", **change: object) -> Host:
    directory.mkdir(exist_ok=True)
    (directory / "host.yml").write_text(yaml.safe_dump(VARIABLES | change))
    (directory / "host.env").write_text(environment)
    return Host.read(directory)


def install(prefix: Path, release: str, service_environment: str) -> None:
    directory = prefix / "opt/skfleet/releases" / release
    directory.mkdir(parents=True)
    (directory / "release.json").write_text("{}")
    (directory / "service.env").write_text(service_environment)
    (prefix / "opt/skfleet/current").symlink_to(f"releases/{release}")


def test_vm_has_the_documented_paths(tmp_path: Path) -> None:
    paths = host(tmp_path / "etc")
    assert paths.runtime == Path("/opt/skfleet/runtime")
    assert paths.cache == Path("/var/lib/skfleet/cache")
    assert paths.identity == Path("/var/lib/skfleet/identity")
    assert paths.run == Path("/run/skfleet")


def test_environment_is_the_hosts_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKFLEET_WORKERS", "9")
    environment = host(tmp_path / "etc", "GCE_METADATA_HOST=127.0.0.2:80\n").environment()
    assert "SKFLEET_WORKERS" not in environment
    assert environment["GCE_METADATA_HOST"] == "127.0.0.2:80"
    assert environment["SKFLEET_CACHE_DIR"] == "/var/lib/skfleet/cache"


def test_host_env_has_the_last_word_over_what_is_derived(tmp_path: Path) -> None:
    environment = host(tmp_path / "etc", "SKFLEET_CACHE_DIR=/mnt/cache\n").environment()
    assert environment["SKFLEET_CACHE_DIR"] == "/mnt/cache"


@pytest.mark.parametrize("missing", sorted(VARIABLES))
def test_missing_variable_is_named(tmp_path: Path, missing: str) -> None:
    rest = {name: value for name, value in VARIABLES.items() if name != missing}
    (tmp_path / "host.yml").write_text(yaml.safe_dump(rest))
    with pytest.raises(ConfigurationError, match=missing):
        Host.read(tmp_path)


def test_environment_file_is_taken_word_for_word(tmp_path: Path) -> None:
    file = tmp_path / "host.env"
    file.write_text("# where\n\nA=1\nB=x=y z\n")
    assert read_environment(file) == {"A": "1", "B": "x=y z"}


def test_line_that_is_no_variable_is_named(tmp_path: Path) -> None:
    (tmp_path / "host.env").write_text("A=1\nexport B=2\n")
    with pytest.raises(ConfigurationError, match="Line 2"):
        read_environment(tmp_path / "host.env")


def test_without_a_release_the_images_own_service_is_launched(tmp_path: Path) -> None:
    program, environment = launch.command(host(tmp_path / "etc", skfleet_prefix=str(tmp_path)))
    assert program == tmp_path / "opt/skfleet/runtime/bin/gunicorn"
    assert "SKFLEET_RELEASE" not in environment
    assert environment["SKFLEET_REQUIRE_CONVERGED"] == "true"


def test_release_is_launched_from_where_it_stays(tmp_path: Path) -> None:
    install(tmp_path, "r1", "SKFLEET_RELEASE=r1\n")
    described = host(tmp_path / "etc", "SKFLEET_LOG_LEVEL=debug\n", skfleet_prefix=str(tmp_path))
    program, environment = launch.command(described)
    # By its own directory, for the link moves on while the process runs; its file by the link, for a reload.
    assert program == tmp_path.resolve() / "opt/skfleet/releases/r1/venv/bin/gunicorn"
    assert environment["SKFLEET_RELEASE"] == "r1"
    assert environment["SKFLEET_LOG_LEVEL"] == "debug"
    assert environment["SKFLEET_SERVICE_ENV"] == f"{tmp_path}/opt/skfleet/current/service.env"


def test_half_installed_release_is_not_launched(tmp_path: Path) -> None:
    install(tmp_path, "r1", "")
    (tmp_path / "opt/skfleet/releases/r1/release.json").unlink()
    assert host(tmp_path / "etc", skfleet_prefix=str(tmp_path)).current() is None


def test_entering_a_host_makes_its_environment_this_processs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in os.environ.items():
        monkeypatch.setenv(name, value)  # so that all of it is put back
    for name in Host.read(host(tmp_path / "etc").directory).environment():
        monkeypatch.setenv(name, "old")
    settings = host(tmp_path / "etc", "SKFLEET_PORT_HEALTH=9082\n").enter()
    monkeypatch.delenv("SKFLEET_PORT_HEALTH")
    assert settings.port_health == 9082
    assert os.environ["SKFLEET_BIND_ADDRESS"] == "0.0.0.0"


@pytest.mark.parametrize(
    "value", ["a\nB=c", "a\rB=c", "a\x85B=c", "a\u2028B=c", "a\x00", " a", "a "]
)
def test_value_that_a_file_of_variables_cannot_hold_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="Invalid SKFLEET_RELEASE"):
        checked_environment({"SKFLEET_RELEASE": value})
