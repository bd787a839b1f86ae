"""The token that a worker process sends: one for all its requests, renewed before it ends."""

from __future__ import annotations

import base64
import logging
import time
from collections.abc import Callable

import gevent
import msgspec

from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_operator.client import tokens

# A token is renewed after this part of its life, so that a slow identity provider is no failed request.
RENEW_AT = 0.8
RETRY_S = 5.0
_log = logging.getLogger(__name__)


class Bearer:
    """A token and when it must be renewed."""

    def __init__(self, fetch: Callable[[], str]) -> None:
        self._fetch = fetch
        self._token = fetch()
        self.renewals = 0

    @property
    def header(self) -> str:
        """Value of the Authorization header."""
        return f"Bearer {self._token}"

    def keep(self) -> None:
        """Renew for ever: the work of one greenlet. A failure keeps the token that still lives."""
        delay = renew_in(self._token, time.time())
        while True:
            gevent.sleep(delay)
            try:
                self._token = self._fetch()
                self.renewals += 1
                delay = renew_in(self._token, time.time())
            except SkfleetError as error:
                _log.warning("The token cannot be renewed: %s", error.message)
                delay = RETRY_S


def renew_in(token: str, now: float) -> float:
    """Seconds until 80 % of the token's life are over; the claims are read, not verified."""
    claims = _claims(token)
    issued, expires = claims.get("iat", now), claims.get("exp", now)
    return max(issued + RENEW_AT * (expires - issued) - now, RETRY_S)


def _claims(token: str) -> dict[str, float]:
    try:
        payload = token.split(".")[1]
        data = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        claims = msgspec.json.decode(data)
        return {name: float(claims[name]) for name in ("iat", "exp") if name in claims}
    except (IndexError, ValueError, TypeError, msgspec.DecodeError):
        return {}


def source(kind: str, url: str, audience: str) -> Callable[[], str] | None:
    """How tokens of this kind are had; None where callers need none."""
    if kind == "none":
        return None
    if kind == "id-token":
        return lambda: tokens.id_token(audience)
    if kind == "signed-jwt":
        return lambda: tokens.signed_jwt(url)
    raise ConfigurationError(
        f"There is no kind of token '{kind}'.",
        where="--token",
        hint="Known: none, id-token, signed-jwt.",
    )
