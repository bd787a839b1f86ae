"""Tokens that a service account's key file signs for IAP."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from skfleet.errors import ConfigurationError
from skfleet_operator.client import tokens

EMAIL = "caller@project.iam.gserviceaccount.com"


@pytest.fixture
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> rsa.RSAPrivateKey:
    """A service account's key file as the default credentials."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path / "key.json"
    file.write_text(
        json.dumps(
            {
                "type": "service_account",
                "client_email": EMAIL,
                "private_key_id": "k1",
                "private_key": pem.decode(),
                "token_uri": "http://127.0.0.1:1/token",
            }
        )
    )
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    return private


def test_signed_jwt_has_the_claims_that_iap_asks_for(key: rsa.RSAPrivateKey) -> None:
    token = tokens.signed_jwt("https://fleet.example/")
    claims = jwt.decode(
        token, key.public_key(), algorithms=["RS256"], audience="https://fleet.example/*"
    )
    assert claims["iss"] == claims["sub"] == EMAIL
    assert claims["exp"] - claims["iat"] <= 3600
    assert abs(claims["iat"] - time.time()) < 30
    assert jwt.get_unverified_header(token)["kid"] == "k1"


def test_without_an_audience_there_is_no_id_token() -> None:
    with pytest.raises(ConfigurationError, match="audience"):
        tokens.id_token("")


def test_without_credentials_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(ConfigurationError) as caught:
        tokens.signed_jwt("https://fleet.example")
    assert "service account" in caught.value.hint
