"""What a host that trusts keys takes is signed by one of them, whole; nothing else is."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet import documents
from skfleet.artifacts.fetch import fetch_model, fetch_object
from skfleet.artifacts.signing import MODEL_SIGNATURE, WHOLE, Signer, Trust
from skfleet.artifacts.store import Store
from skfleet.documents.release import AppPin, ModelPin, Pin
from skfleet.errors import ConfigurationError, IntegrityError, StoreUnavailable
from skfleet.vm import source
from skfleet.vm.metadata import Fleet
from skfleet_operator.builds.publish import publish_bundle
from skfleet_operator.models import publish
from skfleet_operator.releases import operations


def key(curve: Any = None) -> Signer:
    return Signer(ec.generate_private_key(curve or ec.SECP256R1()))


def trust(*signers: Signer) -> Trust:
    return Trust([signer.key.public_key() for signer in signers])


def pem(path: Path, signer: Signer) -> tuple[Path, Path]:
    private, public = path / "key.pem", path / "key.pub"
    private.write_bytes(
        signer.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    public.write_bytes(
        signer.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
    return private, public


def model_signing(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def artefact_files(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    root = tmp_path / "model"
    root.mkdir()
    for name in ("manifest.json", "model.skops", "a.onnx"):
        (root / name).write_bytes(name.encode() * 50)
    return root, {p.name: documents.sha256(p.read_bytes()) for p in root.iterdir()}


def test_the_program_model_signing_takes_our_signature(
    tmp_path: Path, artefact_files: tuple[Path, dict[str, str]]
) -> None:
    root, resources = artefact_files
    signer = key()
    _, public = pem(tmp_path, signer)
    (tmp_path / "model.sig").write_bytes(signer.sign("model", resources))
    verify = ("verify", "key", root, "--signature", tmp_path / "model.sig", "--public_key", public)
    done = model_signing(*verify)
    assert done.returncode == 0, done.stderr + done.stdout
    (root / "a.onnx").write_bytes(b"x")
    assert model_signing(*verify).returncode != 0


def test_we_take_the_signature_of_the_program_model_signing(
    tmp_path: Path, artefact_files: tuple[Path, dict[str, str]]
) -> None:
    root, resources = artefact_files
    signer = key()
    private, _ = pem(tmp_path, signer)
    done = model_signing(
        "sign", "key", root, "--private_key", private, "--signature", tmp_path / "model.sig"
    )
    assert done.returncode == 0, done.stderr
    bundle = (tmp_path / "model.sig").read_bytes()
    trust(signer).check(bundle, resources, "test")
    with pytest.raises(IntegrityError, match="No key"):
        trust(key()).check(bundle, resources, "test")


def test_any_flipped_byte_of_a_signature_is_refused_or_changes_nothing_signed() -> None:
    signer = key()
    resources = {WHOLE: "0" * 64}
    bundle = signer.sign("x", resources)
    envelope = bundle.index(b'"payload"')
    refused = 0
    for at in range(envelope, len(bundle), 7):
        changed = bytearray(bundle)
        changed[at] ^= 1
        try:
            trust(signer).check(bytes(changed), resources, "test")
        except IntegrityError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize(
    "bundle", [b"", b"{}", b"[]", b"null", b'{"dsseEnvelope": {}}', b"\xff" * 9]
)
def test_what_is_no_signature_is_refused(bundle: bytes) -> None:
    with pytest.raises(IntegrityError, match="cannot be read"):
        trust(key()).check(bundle, {}, "test")


def test_a_curve_is_signed_with_its_own_hash() -> None:
    signer = key(ec.SECP384R1())
    trust(key(), signer).check(signer.sign("x", {WHOLE: "1" * 64}), {WHOLE: "1" * 64}, "test")


def test_a_bad_key_stops_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "a.pub").write_text("no key")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Trust.read(tmp_path)
    with pytest.raises(ConfigurationError):
        Signer.read(tmp_path / "a.pub")
    assert not Trust.read(tmp_path / "nowhere").required


def test_keys_under_other_names_do_not_switch_signatures_off(tmp_path: Path) -> None:
    assert not Trust.read(tmp_path).required
    (tmp_path / "fleet.pem").write_text("-----BEGIN PUBLIC KEY-----")
    with pytest.raises(ConfigurationError, match=r"'fleet.pem': expected a file '\*.pub'"):
        Trust.read(tmp_path)


@pytest.fixture
def stores(store: Store, object_store_url: str) -> Callable[..., Store]:
    def make(signer: Signer | None = None, trusted: Trust | None = None) -> Store:
        return Store(object_store_url, timeout_s=30, trust=trusted, signer=signer)

    return make


def test_a_signed_model_is_fetched_and_served_from_the_cache_without_the_bucket(
    stores: Callable[..., Store], bucket: str, artefact: Path, tmp_path: Path
) -> None:
    signer = key()
    pin = publish.publish(stores(signer), bucket, artefact, "t").manifest
    where = (pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    directory = fetch_model(stores(None, trust(signer)), *where)
    away = Store("http://127.0.0.1:1", timeout_s=0.2, trust=trust(signer))
    assert fetch_model(away, *where) == directory
    (directory / MODEL_SIGNATURE).unlink()
    with pytest.raises(StoreUnavailable):
        fetch_model(away, *where)


def test_what_is_not_signed_or_by_another_is_refused(
    stores: Callable[..., Store], bucket: str, artefact: Path, tmp_path: Path
) -> None:
    mine, theirs = key(), key()
    pin = publish.publish(stores(), bucket, artefact, "t").manifest
    where = (pin.uri, tmp_path / "cache", pin.generation, pin.sha256)
    with pytest.raises(IntegrityError, match="not signed"):
        fetch_model(stores(None, trust(mine)), *where)
    publish.publish(stores(theirs), bucket, artefact, "t")
    with pytest.raises(IntegrityError, match="No key"):
        fetch_model(stores(None, trust(mine)), *where)
    assert list((tmp_path / "cache/models").iterdir()) == []
    publish.publish(stores(mine), bucket, artefact, "t")  # rotation: the signature is replaced
    fetch_model(stores(None, trust(mine)), *where)
    fetch_model(stores(), *where)  # a host without keys asks for none


def test_a_release_and_all_it_pins_is_signed_at_once_and_read_only_if_it_is(
    stores: Callable[..., Store], bucket: str, artefact: Path, tmp_path: Path
) -> None:
    plain, mine = stores(), key()
    model = publish.publish(plain, bucket, artefact, "t").manifest
    app = plain.create(f"{bucket}/builds/1/wheelhouse.tar", b"wheels")
    bundle = publish_bundle(plain, bucket, b"roles")
    release = operations.create(
        plain,
        bucket,
        app=AppPin(uri=f"{bucket}/builds/1/wheelhouse.tar", generation=app, version="1",
                   sha256=documents.sha256(b"wheels"), python="3.11", platform="linux_x86_64"),
        bundle=bundle,
        models=[ModelPin(name="tiny", manifest=model)],
        default_model="tiny",
        settings={},
        by="t",
    )  # fmt: skip
    fleet = Fleet.parse(f"{bucket}/fleets/f")
    careful = stores(None, trust(mine))
    with pytest.raises(IntegrityError, match="not signed"):
        source.named(careful, fleet, release.id, None)  # type: ignore[arg-type]
    assert len(operations.sign(stores(mine), bucket, release.id)) == 4
    assert source.named(careful, fleet, release.id, None).release == release  # type: ignore[arg-type]
    for pin in (release.app, release.bundle):
        fetch_object(careful, pin, tmp_path)
    fetch_model(careful, model.uri, tmp_path, model.generation, model.sha256)
    assert operations.list_releases(plain, bucket) == [release]


@pytest.mark.parametrize(
    "kind", ["release", "wheelhouse", "bundle", "manifest", "file", "signature"]
)
def test_a_corrupted_byte_in_each_kind_of_object_is_refused(
    stores: Callable[..., Store], bucket: str, artefact: Path, tmp_path: Path, kind: str
) -> None:
    mine = key()
    signing, careful = stores(mine), stores(None, trust(mine))
    model = publish.publish(signing, bucket, artefact, "t").manifest
    bundle = publish_bundle(signing, bucket, b"roles" * 9)
    uri = {
        "release": f"{bucket}/releases/r.json",
        "wheelhouse": f"{bucket}/builds/1/wheelhouse.tar",
        "bundle": bundle.uri,
        "manifest": model.uri,
        "file": model.uri.replace("manifest.json", "model.skops"),
        "signature": model.uri.replace("manifest.json", MODEL_SIGNATURE),
    }[kind]
    if kind in ("release", "wheelhouse"):
        signing.create(uri, b'{"schema_version": 1}' * 3)
        signing.sign(uri)
    stored = signing.read(uri)
    changed = bytearray(stored.data)
    changed[len(changed) // 2] ^= 1
    pin = stored.pin()
    signing.swap(uri, bytes(changed), stored.generation)
    now = signing.read(uri).generation
    replaced = Pin(uri=uri, generation=now, sha256=pin.sha256)
    fleet = Fleet.parse(f"{bucket}/fleets/f")
    generation = now if kind == "manifest" else model.generation
    take: Callable[[], Any] = {
        "release": lambda: source.named(careful, fleet, "r", None),  # type: ignore[arg-type]
        "wheelhouse": lambda: fetch_object(careful, replaced, tmp_path),
        "bundle": lambda: fetch_object(careful, replaced, tmp_path),
    }.get(kind, lambda: fetch_model(careful, model.uri, tmp_path, generation, model.sha256))
    with pytest.raises(IntegrityError):
        take()
