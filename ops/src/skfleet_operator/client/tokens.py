"""Tokens for both doors of a fleet, from google-auth's default credentials.

Outside, IAP takes an ID token for its OAuth client, or a JWT that a service account signed for the
URL. Inside, the service takes an ID token for the fleet's own audience.
"""

from __future__ import annotations

import time
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.jwt
import google.oauth2.id_token
from google.auth import iam
from google.auth.transport.requests import Request

from skfleet.errors import ConfigurationError

# IAP refuses service-account JWTs that live longer.
MAX_LIFETIME_S = 3600
_IAM_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


def id_token(audience: str) -> str:
    """A Google-signed ID token of this identity for `audience`."""
    if not audience:
        raise ConfigurationError(
            "No audience is given.",
            where="SKFLEET_INTERNAL_AUDIENCE or SKFLEET_IAP_AUDIENCE",
            hint="`terraform output` names both; the local fleet's are in `skfleet-local env`.",
        )
    try:
        token: str = google.oauth2.id_token.fetch_id_token(Request(), audience)
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"No ID token can be had: {error}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint="Use a service account: its key file, impersonation, or a VM's own.",
        ) from None
    return token


def signed_jwt(url: str) -> str:
    """A JWT for IAP that the default service account signs itself; audience: every path of `url`."""
    try:
        credentials, _ = google.auth.default(scopes=[_IAM_SCOPE])
        signer, email = _signer(credentials)
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"No service account can sign a token: {error}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint="Use a service account: its key file, impersonation, or a VM's own.",
        ) from None
    issued = int(time.time())
    claims = {
        "iss": email,
        "sub": email,
        "aud": url.rstrip("/") + "/*",
        "iat": issued,
        "exp": issued + MAX_LIFETIME_S,
    }
    token: bytes = google.auth.jwt.encode(signer, claims)
    return token.decode()


def _signer(credentials: Any) -> tuple[Any, str]:
    """The key at hand, or IAM's signBlob in its stead (a VM has no key of its own)."""
    email = getattr(credentials, "service_account_email", None)
    if email is None:
        raise google.auth.exceptions.DefaultCredentialsError(
            "the default credentials are no service account's"
        )
    if hasattr(credentials, "with_claims") or type(credentials).__module__.endswith(
        "service_account"
    ):
        return credentials.signer, email
    credentials.refresh(Request())
    return iam.Signer(Request(), credentials, credentials.service_account_email), (
        credentials.service_account_email
    )
