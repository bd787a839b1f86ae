"""Who is admitted: one algorithm, issuer and key file for each listener, and nobody else."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from skfleet.files import replace_file
from skfleet.serving.errors import Forbidden, IdentityUnavailable, ServiceError, Unauthenticated
from skfleet.serving.identity import ANYONE, CACHED_TOKENS, Identity, bearer
from skfleet.serving.listeners import Listener

from .conftest import (
    CALLER,
    INTERNAL_AUDIENCE,
    IdentityDir,
    Signer,
    google_claims,
    google_signer,
    iap_claims,
    iap_signer,
)

IAP, INTERNAL = Listener.IAP, Listener.INTERNAL


class Clock:
    """A monotonic clock that tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def identity(identity_dir: IdentityDir, clock: Clock) -> Identity:
    return Identity(identity_dir.path, clock)


def refusal(identity: Identity, listener: Listener, token: str | None) -> str:
    with pytest.raises(ServiceError) as refused:
        identity.verify(listener, token)
    return str(refused.value.reason)  # type: ignore[attr-defined]


# What is admitted


def test_iaps_header_is_admitted(identity: Identity, iap_key: Signer) -> None:
    assert identity.verify(IAP, iap_key.sign(iap_claims())).email == "user@example.com"


@pytest.mark.parametrize("issuer", ["https://accounts.google.com", "accounts.google.com"])
def test_an_allowed_accounts_id_token_is_admitted(
    identity: Identity, google_key: Signer, issuer: str
) -> None:
    assert identity.verify(INTERNAL, google_key.sign(google_claims(iss=issuer))).email == CALLER


@pytest.mark.parametrize("skew", [{"exp": -29}, {"iat": 29}, {"nbf": 29}])
def test_clocks_may_differ_by_thirty_seconds(
    identity: Identity, iap_key: Signer, skew: dict[str, int]
) -> None:
    now = int(time.time())
    moved = {name: now + by for name, by in skew.items()}
    identity.verify(IAP, iap_key.sign(iap_claims(**moved)))


# What is refused


@pytest.mark.parametrize("token", [None, "", "x", "a.b.c", "é" * 40, "." * 9000, "a.b.c,d.e.f"])
def test_what_is_no_token_is_refused(identity: Identity, token: str | None) -> None:
    assert refusal(identity, IAP, token) in ("missing", "malformed")
    assert refusal(identity, INTERNAL, token) in ("missing", "malformed")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": "https://accounts.google.com"}, "issuer"),
        ({"iss": "https://cloud.google.com/iap/"}, "issuer"),
        ({"aud": "/projects/1/global/backendServices/3"}, "audience"),
        ({"aud": []}, "claim_missing"),
        ({"exp": -31}, "expired"),
        ({"iat": 40}, "not_yet_valid"),
        ({"nbf": 40}, "not_yet_valid"),
        ({"exp": None}, "claim_missing"),
        ({"iat": None}, "claim_missing"),
        ({"iss": None}, "claim_missing"),
        ({"aud": None}, "claim_missing"),
        ({"exp": "soon"}, "malformed"),
        ({"exp": float("inf")}, "malformed"),
    ],
)
def test_wrong_claims_are_refused(
    identity: Identity, iap_key: Signer, changes: dict[str, Any], reason: str
) -> None:
    now = int(time.time())
    moved = {k: now + v if isinstance(v, int) else v for k, v in changes.items()}
    assert refusal(identity, IAP, iap_key.sign(iap_claims(**moved))) == reason


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        (
            {"aud": "/projects/1/global/backendServices/3"},
            "aud=/projects/1/global/backendServices/3",
        ),
        (
            {"aud": "/projects/1/us-east1/backendServices/3"},
            "aud=/projects/1/us-east1/backendServices/3",
        ),
        ({"aud": "/projects/1/global/backendServices/3", "iss": "x"}, ""),
        ({"aud": "/projects/1/global/backendServices/3", "exp": -31}, ""),
        ({"aud": "{{ 7 * 7 }}"}, ""),
        ({"aud": ["/projects/1/global/backendServices/3"]}, ""),
    ],
)
def test_the_audience_of_what_iap_signed_for_another_backend_is_named(
    identity: Identity, iap_key: Signer, changes: dict[str, Any], where: str
) -> None:
    now = int(time.time())
    moved = {k: now + v if isinstance(v, int) else v for k, v in changes.items()}
    with pytest.raises(ServiceError) as refused:
        identity.verify(IAP, iap_key.sign(iap_claims(**moved)))
    assert refused.value.where == where


def test_the_audience_of_a_token_with_another_key_is_not_named(
    identity: Identity, google_key: Signer, iap_key: Signer
) -> None:
    head, _, signature = iap_key.sign(iap_claims()).split(".")
    _, claims, _ = iap_key.sign(iap_claims(aud="/projects/1/global/backendServices/3")).split(".")
    with pytest.raises(ServiceError) as refused:
        identity.verify(IAP, f"{head}.{claims}.{signature}")
    assert refused.value.where == ""


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"email": None}, "claim_missing"),
        ({"email_verified": None}, "email_unverified"),
        ({"email_verified": False}, "email_unverified"),
        ({"email_verified": "true"}, "email_unverified"),
        ({"email": "other@project.iam.gserviceaccount.com"}, "not_allowed"),
        ({"email": [CALLER]}, "not_allowed"),
        ({"iss": "https://cloud.google.com/iap"}, "issuer"),
        ({"aud": "https://another.service"}, "audience"),
    ],
)
def test_only_allowed_accounts_for_our_audience(
    identity: Identity, google_key: Signer, changes: dict[str, Any], reason: str
) -> None:
    assert refusal(identity, INTERNAL, google_key.sign(google_claims(**changes))) == reason


def test_an_account_that_is_not_allowed_gets_403(identity: Identity, google_key: Signer) -> None:
    with pytest.raises(Forbidden) as refused:
        identity.verify(INTERNAL, google_key.sign(google_claims(email="other@example.com")))
    assert refused.value.status == 403


def test_another_key_with_a_known_id_is_refused(identity: Identity) -> None:
    assert refusal(identity, IAP, iap_signer("iap-1").sign(iap_claims())) == "signature"


@pytest.mark.parametrize("kid", ["unknown", "", None, 7, ["iap-1"]])
def test_an_unknown_key_id_is_refused(identity: Identity, iap_key: Signer, kid: Any) -> None:
    token = iap_key.sign(iap_claims(), kid="placeholder")
    _, payload, signature = token.split(".")
    header = {"alg": "ES256", "typ": "JWT", "kid": kid}
    token = ".".join([_encode(header), payload, signature])
    assert refusal(identity, IAP, token) in ("unknown_key", "malformed")


def test_a_token_without_signature_is_refused(identity: Identity, iap_key: Signer) -> None:
    for algorithm in ("none", "None", "NONE"):
        header = {"alg": algorithm, "typ": "JWT", "kid": "iap-1"}
        token = f"{_encode(header)}.{_encode(iap_claims())}."
        assert refusal(identity, IAP, token) in ("algorithm", "malformed")


def test_a_public_key_is_no_shared_secret(
    identity: Identity, iap_key: Signer, google_key: Signer
) -> None:
    for signer, listener, claims in (
        (iap_key, IAP, iap_claims()),
        (google_key, INTERNAL, google_claims()),
    ):
        public = signer.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        token = _hs256(claims, public, signer.kid)
        assert refusal(identity, listener, token) == "algorithm"


def test_listeners_do_not_take_each_others_tokens(
    identity: Identity, iap_key: Signer, google_key: Signer
) -> None:
    assert refusal(identity, IAP, google_key.sign(google_claims())) == "unknown_key"
    assert refusal(identity, INTERNAL, iap_key.sign(iap_claims())) == "unknown_key"
    # Also not once the other listener has verified and remembered them.
    identity.verify(IAP, token := iap_key.sign(iap_claims()))
    assert refusal(identity, INTERNAL, token) == "unknown_key"
    assert identity.known(INTERNAL, token) is None


def test_an_rsa_key_in_iaps_file_is_no_iap_key(
    identity_dir: IdentityDir, iap_key: Signer, google_key: Signer
) -> None:
    identity_dir.iap = [iap_key, google_key]
    identity_dir.write_keys()
    identity = Identity(identity_dir.path)
    token = google_key.sign(iap_claims())
    assert refusal(identity, IAP, token) == "unknown_key"


def test_without_an_audience_nobody_is_admitted(
    identity_dir: IdentityDir, iap_key: Signer, google_key: Signer
) -> None:
    identity_dir.environment["iap"]["audiences"] = []
    identity_dir.environment["internal"]["audiences"] = []
    identity_dir.write()
    identity = Identity(identity_dir.path)
    assert refusal(identity, IAP, iap_key.sign(iap_claims())) == "audience"
    assert refusal(identity, INTERNAL, google_key.sign(google_claims(aud=""))) == "audience"


def test_every_refusal_reads_the_same(identity: Identity, iap_key: Signer) -> None:
    tokens = [None, "x", iap_key.sign(iap_claims(), kid="k"), iap_key.sign(iap_claims(aud="b")),
              iap_signer("iap-1").sign(iap_claims()), iap_key.sign(iap_claims(exp=1))]  # fmt: skip
    bodies = set()
    for token in tokens:
        with pytest.raises(Unauthenticated) as refused:
            identity.verify(IAP, token)
        bodies.add(refused.value.body())
    assert len(bodies) == 1


# The files


@pytest.mark.parametrize("missing", ["environment.json", "iap-keys.json"])
def test_until_the_files_are_known_nobody_is_admitted(
    identity_dir: IdentityDir, clock: Clock, iap_key: Signer, missing: str
) -> None:
    (identity_dir.path / missing).unlink()
    identity = Identity(identity_dir.path, clock)
    token = iap_key.sign(iap_claims())
    with pytest.raises(IdentityUnavailable) as refused:
        identity.verify(IAP, token)
    assert refused.value.status == 503
    assert identity.known(IAP, token) is None
    assert missing in str(identity.problem())
    identity_dir.write()
    clock.now += 1.1
    identity.verify(IAP, token)
    assert identity.problem() is None


def test_files_are_looked_at_once_a_second(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, iap_key: Signer
) -> None:
    new = iap_signer("iap-2")
    identity_dir.iap = [new]
    identity_dir.write()
    token = iap_key.sign(iap_claims())
    clock.now += 0.9
    identity.verify(IAP, token)
    clock.now += 0.2
    assert refusal(identity, IAP, token) == "unknown_key"
    identity.verify(IAP, new.sign(iap_claims()))


def test_a_key_of_an_unknown_kind_does_not_spoil_the_others(
    identity_dir: IdentityDir, iap_key: Signer
) -> None:
    keys = [{"kid": "new", "kty": "AKP", "pub": "x"}, {"kid": "half", "kty": "EC"}, iap_key.jwk()]
    replace_file(
        identity_dir.path / "iap-keys.json", json.dumps({"keys": keys}).encode(), mode=0o644
    )
    Identity(identity_dir.path).verify(IAP, iap_key.sign(iap_claims()))


@pytest.mark.parametrize(
    "bad",
    [b"", b"{", b"[]", b'{"keys": []}', b'{"keys": [{"kid": "a"}]}', b'{"keys": 7}', b"\xff"],
)
def test_a_bad_or_lost_key_file_changes_nothing(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, iap_key: Signer, bad: bytes
) -> None:
    replace_file(identity_dir.path / "iap-keys.json", bad, mode=0o644)
    clock.now += 2
    identity.verify(IAP, iap_key.sign(iap_claims()))
    (identity_dir.path / "iap-keys.json").unlink()
    clock.now += 2
    identity.verify(IAP, iap_key.sign(iap_claims(email="second@example.com")))


@pytest.mark.parametrize(
    "bad", [b"", b"{}", b'{"fleet": 1}', b'{"fleet": "x", "schema_version": 9}']
)
def test_a_bad_environment_changes_nothing(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, google_key: Signer, bad: bytes
) -> None:
    replace_file(identity_dir.path / "environment.json", bad, mode=0o644)
    clock.now += 2
    identity.verify(INTERNAL, google_key.sign(google_claims()))


# What is remembered


def test_a_verified_token_is_remembered(
    identity: Identity, iap_key: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = iap_key.sign(iap_claims())
    assert identity.known(IAP, token) is None
    caller = identity.verify(IAP, token)
    monkeypatch.setattr(jwt, "decode", None)
    assert identity.verify(IAP, token) is caller
    assert identity.known(IAP, token.encode()) is caller


def test_a_refused_token_is_not_remembered(identity: Identity, iap_key: Signer) -> None:
    token = iap_key.sign(iap_claims(aud="other"))
    refusal(identity, IAP, token)
    assert identity.known(IAP, token) is None


def test_a_remembered_token_is_forgotten_when_it_expires(
    identity: Identity, iap_key: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = iap_key.sign(iap_claims())
    expires_at = identity.verify(IAP, token).expires_at
    monkeypatch.setattr(time, "time", lambda: expires_at + 0.1)
    assert identity.known(IAP, token) is None


def test_a_revoked_caller_is_out_at_the_next_look(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, google_key: Signer
) -> None:
    token = google_key.sign(google_claims())
    identity.verify(INTERNAL, token)
    identity_dir.environment["internal"]["allowed_callers"] = []
    identity_dir.write_environment()
    clock.now += 1.1
    assert identity.known(INTERNAL, token) is None
    assert refusal(identity, INTERNAL, token) == "not_allowed"


def test_a_retired_keys_tokens_are_out_at_the_next_look(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, google_key: Signer
) -> None:
    token = google_key.sign(google_claims())
    identity.verify(INTERNAL, token)
    identity_dir.google = [google_signer("google-2")]
    identity_dir.write_keys()
    clock.now += 1.1
    assert identity.known(INTERNAL, token) is None
    assert refusal(identity, INTERNAL, token) == "unknown_key"


def test_rewriting_the_same_files_forgets_nothing(
    identity: Identity, identity_dir: IdentityDir, clock: Clock, iap_key: Signer
) -> None:
    token = iap_key.sign(iap_claims())
    identity.verify(IAP, token)
    identity_dir.write()
    clock.now += 1.1
    assert identity.known(IAP, token) is not None


def test_memory_is_bounded_and_keeps_who_came_last(
    identity: Identity, monkeypatch: pytest.MonkeyPatch, iap_key: Signer
) -> None:
    from skfleet.serving import identity as module

    monkeypatch.setattr(module, "CACHED_TOKENS", 2)
    first, second, third = (iap_key.sign(iap_claims(email=f"{i}@example.com")) for i in range(3))
    for token in (first, second, first, third):
        identity.verify(IAP, token)
    assert identity.known(IAP, second) is None
    assert identity.known(IAP, first) is not None
    assert identity.known(IAP, third) is not None
    assert CACHED_TOKENS <= 10_000


# identity "none"


def test_identity_none_admits_everyone_inside_and_says_so_loudly(
    identity_dir: IdentityDir, caplog: pytest.LogCaptureFixture
) -> None:
    identity_dir.environment["internal"]["identity"] = "none"
    identity_dir.write()
    (identity_dir.path / "google-keys.json").unlink()
    with caplog.at_level("WARNING", "skfleet.identity"):
        identity = Identity(identity_dir.path)
    assert "ADMITS EVERYONE" in caplog.text
    assert identity.verify(INTERNAL, None) is ANYONE
    assert identity.known(INTERNAL, None) is ANYONE
    assert identity.internal == "none"
    assert identity.problem() is None
    assert refusal(identity, IAP, None) == "missing"


def test_the_internal_audience_is_not_iaps(identity: Identity, iap_key: Signer) -> None:
    assert refusal(identity, IAP, iap_key.sign(iap_claims(aud=INTERNAL_AUDIENCE))) == "audience"


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", None),
        ("Bearerabc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_token_is_read(header: str | None, token: str | None) -> None:
    assert bearer(header) == token


def _encode(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


def _hs256(claims: dict[str, Any], secret: bytes, kid: str) -> str:
    """PyJWT refuses to make such a token, so it is made by hand."""
    import hashlib
    import hmac

    signed = f"{_encode({'alg': 'HS256', 'typ': 'JWT', 'kid': kid})}.{_encode(claims)}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return signed + "." + base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
