"""Keys and environment reach the service only when they are right, and stay when nothing better comes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from skfleet.errors import StoreUnavailable
from skfleet.vm.refresh import Source, key_set, refresh

EC = {"kty": "EC", "kid": "1", "crv": "P-256", "x": "AA", "y": "BB"}
RSA = {"kty": "RSA", "kid": "1", "n": "AA", "e": "AQAB"}


def keys(*values: dict[str, str]) -> bytes:
    return json.dumps({"keys": values}).encode()


@pytest.fixture
def server(make_metadata: Any) -> Iterator[Any]:
    result = make_metadata()
    yield result
    result.close()


def source(file: str, answer: Callable[[], bytes] | bytes) -> Source:
    return Source(file, answer if callable(answer) else lambda: answer)


def down() -> bytes:
    raise StoreUnavailable("It is down.")


def test_new_bytes_replace_the_file_and_the_same_bytes_leave_it(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    refresh(tmp_path, [source("a.json", b"1")])
    assert file.read_bytes() == b"1"
    before = file.stat()
    state = refresh(tmp_path, [source("a.json", b"1")])
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    changed_at = state.sources["a.json"].changed_at
    state = refresh(tmp_path, [source("a.json", b"2")])
    assert file.read_bytes() == b"2"
    assert file.stat().st_ino != before.st_ino  # renamed over, never written into
    assert state.sources["a.json"].changed_at >= changed_at


def test_source_that_is_down_keeps_its_file_and_hinders_no_other(tmp_path: Path) -> None:
    refresh(tmp_path, [source("a.json", b"1"), source("b.json", b"1")])
    state = refresh(tmp_path, [source("a.json", down), source("b.json", b"2")])
    assert (tmp_path / "a.json").read_bytes() == b"1"
    assert (tmp_path / "b.json").read_bytes() == b"2"
    assert state.sources["a.json"].error == "It is down."
    assert state.sources["a.json"].fresh_at  # when it last was
    assert state.sources["b.json"].error == ""
    on_disk = json.loads((tmp_path / "refresh.json").read_bytes())
    assert on_disk["sources"]["a.json"]["error"] == "It is down."


def test_files_are_readable_by_the_services_user(tmp_path: Path) -> None:
    refresh(tmp_path, [source("a.json", b"1")])
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(
    ("kind", "page"),
    [
        ("EC", b"<html>captive portal</html>"),
        ("EC", b"[]"),
        ("EC", b'{"keys": []}'),
        ("EC", b'{"keys": [1]}'),
        ("EC", b'{"keys": {}}'),
        ("EC", keys(RSA)),
        ("RSA", keys(EC)),
        ("RSA", keys(RSA, EC)),
        ("EC", keys({**EC, "kid": ""})),
        ("RSA", keys({"kty": "RSA", "kid": "1", "e": "AQAB"})),
    ],
)
def test_rubbish_is_no_key_set(server: Any, tmp_path: Path, kind: str, page: bytes) -> None:
    server.pages["/keys"] = page
    wanted = source("k.json", lambda: key_set(f"http://{server.address}/keys", kind))
    (tmp_path / "k.json").write_bytes(b"good")
    state = refresh(tmp_path, [wanted])
    assert (tmp_path / "k.json").read_bytes() == b"good"
    assert "no set of" in state.sources["k.json"].error


def test_key_sets_of_the_right_kind_are_taken_as_sent(server: Any) -> None:
    server.pages["/iap"] = keys(EC, {**EC, "kid": "2"})
    assert key_set(f"http://{server.address}/iap", "EC") == server.pages["/iap"]


def test_error_page_is_unavailable_not_rubbish(server: Any) -> None:
    server.up = False
    with pytest.raises(StoreUnavailable, match="503"):
        key_set(f"http://{server.address}/keys", "EC")


def test_command_refreshes_a_host_once_and_says_what_it_lacks(make_vm: Any) -> None:
    with make_vm() as vm:
        vm.metadata.pages |= {"/iap": keys(EC), "/google": keys(RSA)}
        identity = vm.machine.prefix / "var/lib/skfleet/identity"

        def once() -> subprocess.CompletedProcess[str]:
            command = vm.machine.command("skfleet.vm.refresh", "--once")
            return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

        done = once()
        assert done.returncode == 3, done.stderr
        assert "environment.json: There is no such object" in done.stdout
        assert (identity / "iap-keys.json").read_bytes() == keys(EC)
        assert (identity / "google-keys.json").read_bytes() == keys(RSA)

        environment = json.dumps({"fleet": "test", "iap": {"audiences": ["a"]}}).encode()
        vm.cloud.put("fleets/test/environment.json", environment)
        assert once().returncode == 0
        assert (identity / "environment.json").read_bytes() == environment

        # Of no environment, and a valid one of another fleet, which admits others.
        for bad in (b'{"fleet": 7}', b'{"fleet": "other", "internal": {"identity": "none"}}'):
            vm.cloud.store.update(f"{vm.cloud.fleet}/environment.json", lambda _, bad=bad: bad)
            assert once().returncode == 3
            assert (identity / "environment.json").read_bytes() == environment
