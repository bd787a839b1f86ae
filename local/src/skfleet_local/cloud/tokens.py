"""Tokens as Google and IAP issue them, signed with the run's own keys.

Published forms: OAuth 2.0 for service accounts, OpenID Connect ID tokens, 'Signed headers' of IAP.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from skfleet import documents
from skfleet_local import keys
from skfleet_local.accounts import BY_EMAIL, Account
from skfleet_local.run import Run

GOOGLE_ISSUER = "https://accounts.google.com"
IAP_ISSUER = "https://cloud.google.com/iap"
LIFETIME_S = 3600
ASSERTION_LIFETIME_S = 600
LEEWAY_S = 30
_ACCESS_PREFIX = "ya29.local."


class Refused(Exception):
    """A token that proves nothing; the message says why."""


@dataclass(slots=True)
class Tokens:
    """All keys of the run, and what is signed and checked with them."""

    google: rsa.RSAPrivateKey
    iap: ec.EllipticCurvePrivateKey
    access_secret: bytes
    accounts: Mapping[str, tuple[str, rsa.RSAPublicKey]]  # email → (key id, key)
    _checked: OrderedDict[str, dict[str, Any]] = field(default_factory=OrderedDict)

    @classmethod
    def load(cls, run: Run) -> Tokens:
        """Read the keys that `keys.make` made."""
        accounts: dict[str, tuple[str, rsa.RSAPublicKey]] = {}
        for account in BY_EMAIL.values():
            if account.has_key:
                info = json.loads(keys.key_file(run, account).read_bytes())
                private = load_pem_private_key(info["private_key"].encode(), None)
                assert isinstance(private, rsa.RSAPrivateKey)  # noqa: S101 - we wrote it
                accounts[account.email] = (info["private_key_id"], private.public_key())
        google = load_pem_private_key((run.identity / keys.GOOGLE_KEY).read_bytes(), None)
        iap = load_pem_private_key((run.identity / keys.IAP_KEY).read_bytes(), None)
        assert isinstance(google, rsa.RSAPrivateKey)  # noqa: S101
        assert isinstance(iap, ec.EllipticCurvePrivateKey)  # noqa: S101
        return cls(google, iap, (run.identity / keys.ACCESS_SECRET).read_bytes(), accounts)

    def google_jwks(self) -> dict[str, Any]:
        """Public keys of ID tokens."""
        public = self.google.public_key()
        return {"keys": [_jwk(RSAAlgorithm.to_jwk(public, as_dict=True), public, "RS256")]}

    def iap_jwks(self) -> dict[str, Any]:
        """Public keys of IAP's assertions."""
        public = self.iap.public_key()
        return {"keys": [_jwk(ECAlgorithm.to_jwk(public, as_dict=True), public, "ES256")]}

    def access_token(self, account: Account) -> str:
        """Opaque to everyone but us: not even signed with a published key."""
        claims = {"email": account.email, "exp": int(time.time()) + LIFETIME_S}
        return _ACCESS_PREFIX + jwt.encode(claims, self.access_secret, algorithm="HS256")

    def check_access_token(self, token: str) -> Account:
        """Whose token this is; raises Refused."""
        if not token.startswith(_ACCESS_PREFIX):
            raise Refused("not an access token")
        claims = self._decode(
            token.removeprefix(_ACCESS_PREFIX),
            key=self.access_secret,
            algorithms=["HS256"],
            options={"require": ["exp", "email"]},
        )
        return BY_EMAIL[claims["email"]]

    def id_token(
        self, account: Account, audience: str, extra: Mapping[str, Any] | None = None
    ) -> str:
        """An ID token signed by 'Google'."""
        now = int(time.time())
        claims = {
            "iss": GOOGLE_ISSUER,
            "aud": audience,
            "azp": account.subject,
            "sub": account.subject,
            "email": account.email,
            "email_verified": True,
            "iat": now,
            "exp": now + LIFETIME_S,
            **(extra or {}),
        }
        kid = keys.key_id(self.google.public_key())
        return jwt.encode(claims, self.google, algorithm="RS256", headers={"kid": kid})

    def check_id_token(self, token: str, audience: str) -> Account:
        """Whose ID token for this audience it is; raises Refused."""
        claims = self._decode(
            token,
            key=self.google.public_key(),
            algorithms=["RS256"],
            audience=audience,
            issuer=GOOGLE_ISSUER,
            options={"require": ["exp", "iat", "aud", "iss", "sub", "email"]},
        )
        account = BY_EMAIL.get(claims["email"])
        if account is None:
            raise Refused("no such account")
        return account

    def self_signed(self, token: str) -> tuple[Account, dict[str, Any]]:
        """Claims of a JWT that a service account signed with its key; raises Refused.

        The caller checks the audience.
        """
        try:
            header = jwt.get_unverified_header(token)
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError as error:
            raise Refused(str(error)) from None
        known = self.accounts.get(str(issuer))
        if known is None or header.get("kid") != known[0]:
            raise Refused("not signed with a known key")
        claims = self._decode(
            token,
            key=known[1],
            algorithms=["RS256"],
            options={"require": ["exp", "iat", "iss", "aud"], "verify_aud": False},
        )
        if claims["exp"] - claims["iat"] > LIFETIME_S + LEEWAY_S:
            raise Refused("it lives longer than an hour")
        return BY_EMAIL[str(issuer)], claims

    def assertion(self, account: Account, audience: str) -> str:
        """What IAP adds to a request it lets pass."""
        now = int(time.time())
        claims = {
            "iss": IAP_ISSUER,
            "aud": audience,
            "azp": audience,
            "sub": f"accounts.google.com:{account.subject}",
            "email": account.email,
            "iat": now,
            "exp": now + ASSERTION_LIFETIME_S,
        }
        kid = keys.key_id(self.iap.public_key())
        return jwt.encode(claims, self.iap, algorithm="ES256", headers={"kid": kid})

    def _decode(self, token: str, **options: Any) -> dict[str, Any]:
        """Verify once; the same token again, for the same question, costs a dictionary look-up."""
        question = repr([options.get(name) for name in ("audience", "issuer", "algorithms")])
        digest = documents.sha256(f"{question}{token}".encode())
        claims = self._checked.get(digest)
        if claims is None:
            try:
                claims = dict(jwt.decode(token, leeway=LEEWAY_S, **options))
            except jwt.PyJWTError as error:
                raise Refused(str(error)) from None
            self._checked[digest] = claims
            if len(self._checked) > 4096:
                self._checked.popitem(last=False)
        if claims["exp"] < time.time() - LEEWAY_S:
            raise Refused("Signature has expired")
        return claims


def _jwk(
    jwk: dict[str, Any], public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, algorithm: str
) -> dict[str, Any]:
    jwk.pop("key_ops", None)
    return {**jwk, "kid": keys.key_id(public), "alg": algorithm, "use": "sig"}


def bearer(authorization: str | None) -> str:
    """The token of an Authorization header; raises Refused where there is none."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused("no bearer token")
    return token.strip()
