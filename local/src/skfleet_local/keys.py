"""Private keys of a run: the identity providers' own and the service accounts' key files.

Made once at `up`, mode 0600, gone with the run directory.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from skfleet import documents
from skfleet.files import replace_file
from skfleet_local.accounts import ACCOUNTS, PROJECT, Account
from skfleet_local.run import Run

GOOGLE_KEY = "google.pem"
IAP_KEY = "iap.pem"
ACCESS_SECRET = "access-tokens.secret"  # noqa: S105 - a file name


def make(run: Run, token_url: str) -> None:
    """Make what is missing."""
    for folder in (run.keys, run.identity):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (run.identity / GOOGLE_KEY).exists():
        _write_private(run.identity / GOOGLE_KEY, _rsa())
    if not (run.identity / IAP_KEY).exists():
        _write_private(run.identity / IAP_KEY, ec.generate_private_key(ec.SECP256R1()))
    if not (run.identity / ACCESS_SECRET).exists():
        replace_file(run.identity / ACCESS_SECRET, secrets.token_bytes(32), mode=0o600)
    for account in ACCOUNTS.values():
        path = key_file(run, account)
        if account.has_key and not path.exists():
            replace_file(
                path, json.dumps(_key_file(account, token_url), indent=2).encode(), mode=0o600
            )


def key_file(run: Run, account: Account) -> Path:
    """Where an account's key file is."""
    return run.keys / f"{account.name}.json"


def key_id(public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> str:
    """A key's id: the digest of its public half."""
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return documents.sha256(der)[:40]


def _key_file(account: Account, token_url: str) -> dict[str, str]:
    key = _rsa()
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": key_id(key.public_key()),
        "private_key": _pem(key).decode(),
        "client_email": account.email,
        "client_id": account.subject,
        "token_uri": token_url,
        "universe_domain": "googleapis.com",
    }


def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write_private(path: Path, key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    replace_file(path, _pem(key), mode=0o600)
