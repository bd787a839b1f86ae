"""Signatures of artefacts, builds, bundles and releases, in the bundle format of sigstore's model-signing.

Beside an object lies `<object>.sig`, beside a model's files `model.sig`: a sigstore bundle whose DSSE
envelope holds an in-toto statement of each file's SHA-256, signed with an elliptic curve key (ECDSA). The
program `model_signing` reads and writes the same; here `cryptography` alone does, which a VM has anyway.

Who is trusted is the host's configuration, never read from the bucket: PEM public keys `*.pub` in a
directory (SKFLEET_TRUSTED_KEYS). Without a key there, signatures are not looked at.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet import documents
from skfleet.errors import ConfigurationError, IntegrityError

SUFFIX = ".sig"
MODEL_SIGNATURE = "model.sig"
WHOLE = "."  # the one resource of a signature over a single object
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
CURVES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}

Resources = Mapping[str, str]  # name → SHA-256


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with a private key; only the publisher has one."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def read(cls, path: Path) -> Signer:
        """The key of a PEM file without a password; raises ConfigurationError."""
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"The signing key cannot be read: {error}.", where=str(path), hint=_KEY_HINT
            ) from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in CURVES:
            raise ConfigurationError(
                "The signing key is no elliptic curve key.", where=str(path), hint=_KEY_HINT
            )
        return cls(key)

    def sign(self, name: str, resources: Resources) -> bytes:
        """The bundle over these files."""
        payload = json.dumps(_statement(name, resources)).encode()
        algorithm = ec.ECDSA(CURVES[self.key.curve.name])
        signature = self.key.sign(_envelope_bytes(PAYLOAD_TYPE, payload), algorithm)
        bundle = {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": _fingerprint(self.key.public_key())},
                "tlogEntries": [],
            },
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
        return json.dumps(bundle).encode()

    def has_signed(self, bundle: bytes, resources: Resources, where: str) -> bool:
        """Whether this key made the bundle, over these files."""
        try:
            Trust((self.key.public_key(),)).check(bundle, resources, where)
        except IntegrityError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class Trust:
    """The public keys that a host trusts; none: signatures are not looked at."""

    keys: Sequence[ec.EllipticCurvePublicKey] = ()

    @classmethod
    def read(cls, directory: Path) -> Trust:
        """The keys `*.pub` of a directory, which need not exist; raises ConfigurationError for a bad one.

        Files of other names alone are refused: a key saved as `fleet.pem` would switch signatures off.
        """
        found = []
        paths = sorted(directory.glob("*.pub"))
        if not paths and directory.is_dir() and (others := sorted(directory.iterdir())):
            raise ConfigurationError(
                f"Invalid trusted key '{others[0].name}': expected a file '*.pub'.",
                where=str(directory),
                hint="Rename the public key to NAME.pub, or remove the file.",
            )
        for path in paths:
            try:
                key = serialization.load_pem_public_key(path.read_bytes())
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"A trusted key cannot be read: {error}.", where=str(path), hint=_KEY_HINT
                ) from None
            if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
                raise ConfigurationError(
                    "A trusted key is no elliptic curve key.", where=str(path), hint=_KEY_HINT
                )
            found.append(key)
        return cls(tuple(found))

    @property
    def required(self) -> bool:
        """Whether what is not signed is refused."""
        return bool(self.keys)

    def check(self, bundle: bytes, resources: Resources, where: str) -> None:
        """Raise IntegrityError unless a trusted key signed exactly these files."""
        try:
            form = json.loads(bundle)
            envelope = form["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            kind = str(envelope["payloadType"])
            [entry] = envelope["signatures"]
            signature = base64.b64decode(entry["sig"], validate=True)
            statement = json.loads(payload)
            signed = {item["name"]: item["digest"] for item in statement["predicate"]["resources"]}
            sound = (
                kind == PAYLOAD_TYPE
                and statement["predicateType"] == PREDICATE_TYPE
                and all(i["algorithm"] == "sha256" for i in statement["predicate"]["resources"])
                and len(signed) == len(statement["predicate"]["resources"])
            )
        except (ValueError, KeyError, TypeError):
            raise IntegrityError(
                "The signature cannot be read.", where=where, hint=_SIGN_HINT
            ) from None
        if not sound or not any(self._by(key, kind, payload, signature) for key in self.keys):
            raise IntegrityError(
                "No key that this host trusts made the signature.", where=where, hint=_SIGN_HINT
            )
        if signed != dict(resources):
            differing = sorted(set(signed.items()) ^ set(resources.items()))
            raise IntegrityError(
                f"The signature is of other files: {sorted({name for name, _ in differing})[:5]}.",
                where=where,
                hint=_SIGN_HINT,
            )

    @staticmethod
    def _by(key: ec.EllipticCurvePublicKey, kind: str, payload: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, _envelope_bytes(kind, payload), ec.ECDSA(CURVES[key.curve.name]))
        except InvalidSignature:
            return False
        return True


_KEY_HINT = (
    "Make one: openssl ecparam -name prime256v1 -genkey -noout -out key.pem (docs/security.md)."
)
_SIGN_HINT = (
    "Do not use it. If it is yours, sign it with a key this host trusts (docs/security.md)."
)


def _statement(name: str, resources: Resources) -> dict[str, Any]:
    ordered = sorted(resources.items())
    whole = documents.sha256(b"".join(bytes.fromhex(digest) for _, digest in ordered))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": whole}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": [
                {"name": item, "algorithm": "sha256", "digest": digest} for item, digest in ordered
            ],
        },
    }


def _envelope_bytes(kind: str, payload: bytes) -> bytes:
    """What a DSSE signature is made over: the pre-authentication encoding, version 1."""
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind.encode(), len(payload), payload)


def _fingerprint(key: ec.EllipticCurvePublicKey) -> str:
    """SHA-256 of the PEM form: model-signing's hint which key it was."""
    pem = key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return documents.sha256(pem)
