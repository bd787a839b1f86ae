"""A host that trusts keys is changed by nothing that they did not sign; the keys are its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet import documents
from skfleet.artifacts.signing import Signer
from skfleet.artifacts.store import Store
from skfleet_operator.builds import image
from skfleet_operator.releases import operations

from . import plays

REPO = Path(__file__).parents[3]

INSTALL = """
- name: The part of the role that brings keys
  hosts: all
  gather_facts: false
  tasks:
    - name: Include it
      ansible.builtin.include_role: {name: runtime, tasks_from: trusted_keys}
"""


def signer() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()))


def public(path: Path, key: Signer) -> Path:
    path.write_bytes(
        key.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return path


def play(vm: Any, tmp_path: Path, *keys: Path) -> subprocess.CompletedProcess[str]:
    """The role's tasks with these keys of the controller."""
    return plays.run(vm, tmp_path, INSTALL, runtime_trusted_keys=[str(key) for key in keys])


@pytest.fixture(scope="module")
def key() -> Signer:
    return signer()


@pytest.fixture(scope="module")
def vm(make_vm: Any, key: Signer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A VM with the key, at the signed release r1."""
    with make_vm() as result:
        place = tmp_path_factory.mktemp("keys")
        done = play(result, place, public(place / "fleet.pub", key))
        assert done.returncode == 0, done.stdout
        result.cloud.release("r1")
        sign(result, key, "r1")
        result.cloud.desire("r1")
        result.converge()
        yield result


def signing(vm: Any, key: Signer) -> Store:
    store = Store(vm.cloud.endpoint, timeout_s=30, signer=key)
    store._client = vm.cloud.store._client  # type: ignore[misc] # without credentials
    return store


def sign(vm: Any, key: Signer, release: str) -> None:
    operations.sign(signing(vm, key), vm.cloud.bucket, release)


def disk(machine: Any) -> dict[str, str]:
    """What is on the host but for the room of Ansible's own files, which each converge clears."""
    return {k: v for k, v in machine.tree().items() if k != "var/lib/skfleet/ansible"}


def refused(vm: Any, release: str, why: str) -> None:
    """A converge to it fails for this reason, and the host serves what it did."""
    machine = vm.machine
    before = disk(machine)
    for phase in ((), ("--only", "stage"), ("--check",)):
        done = machine.converge(release, *phase)
        assert done.returncode != 0, done.stdout
        assert why in done.stderr, done.stderr + done.stdout
    assert disk(machine) == before
    assert machine.served() == "r1"


def test_a_signed_release_is_served(vm: Any) -> None:
    assert vm.machine.served() == "r1"
    assert vm.machine.get("/readyz")[0] == 200
    assert vm.converge()[-1]["changed"] == 0


def test_an_unsigned_release_is_refused(vm: Any, key: Signer) -> None:
    vm.cloud.release("unsigned", settings={"workers": 4})
    refused(vm, "unsigned", "not signed")
    sign(vm, key, "unsigned")
    vm.converge("unsigned")
    assert vm.machine.served() == "unsigned"
    vm.converge("r1")


def test_a_release_that_another_key_signed_is_refused(vm: Any) -> None:
    vm.cloud.release("foreign", settings={"workers": 5})
    sign(vm, signer(), "foreign")
    # What it shares with r1 is signed by the other key now: put back, for the other tests.
    refused(vm, "foreign", "No key that this host trusts")


def test_a_signed_document_whose_build_is_not_signed_is_refused(
    vm: Any, key: Signer, make_wheelhouse: Any
) -> None:
    """The document alone is signed: what it pins must be too."""
    wheels = make_wheelhouse(note="unsigned build")
    vm.cloud.release("half", wheelhouse=wheels)
    document = f"{vm.cloud.bucket}/releases/half.json"
    signing(vm, key).sign(document)
    done = vm.machine.converge("half", "--only", "stage")
    assert done.returncode != 0
    assert "not signed" in done.stdout + done.stderr
    assert not vm.machine.prefix.joinpath("opt/skfleet/releases/half/release.json").exists()


def test_a_converge_leaves_the_keys_alone(vm: Any) -> None:
    keys = vm.machine.host_dir / "trusted-keys"
    assert [path.name for path in keys.iterdir()] == ["fleet.pub"]


def test_the_role_brings_exactly_the_keys_it_is_given(
    make_vm: Any, key: Signer, tmp_path: Path
) -> None:
    with make_vm() as vm:
        keys = vm.machine.host_dir / "trusted-keys"
        old, new = public(tmp_path / "old.pub", key), public(tmp_path / "new.pub", signer())
        for given in ((old,), (old, new), (new,), ()):
            done = play(vm, tmp_path, *given)
            assert done.returncode == 0, done.stdout
            assert sorted(path.name for path in keys.iterdir()) == sorted(p.name for p in given)
        private = tmp_path / "private.pub"
        private.write_text("-----BEGIN EC " + "PRIVATE KEY-----\n")
        done = play(vm, tmp_path, private)
        assert done.returncode != 0
        assert "no public key" in done.stdout
        assert list(keys.iterdir()) == []


def test_an_image_is_baked_with_a_signed_release_alone(
    vm: Any, key: Signer, tmp_path: Path
) -> None:
    """The bucket's signatures come with the contents, and the host that becomes an image checks them."""
    vm.cloud.release("baked", settings={"workers": 6})
    for signed in (False, True):
        if signed:
            sign(vm, key, "baked")
        contents = tmp_path / f"contents-{signed}"
        contents.mkdir()
        store = signing(vm, key)
        release = operations.load(store, vm.cloud.bucket, "baked")
        image._collect(store, *release, contents)
        room = contents / "release"
        python = vm.machine.command("skfleet.vm.bake")[0]
        unpack = [python, "-m", "skfleet.vm.unpack", str(contents / "release.tar"), str(room)]
        subprocess.run(unpack, check=True)
        bake = [*vm.machine.command("skfleet.vm.bake"), str(room)]
        done = subprocess.run(bake, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is signed, done.stdout + done.stderr
        assert signed or "not signed whole" in done.stderr
    installed = vm.machine.prefix / "opt/skfleet/releases/baked/release.json"
    assert documents.read(type(release[0]), installed.read_bytes(), "test").id == "baked"
