"""Who sends a request: IAP's signed header on one listener, Google ID tokens on the other.

One fixed algorithm, issuer and key file for each. Keys and callers come from files that
`skfleet-refresh` replaces; nothing here opens a connection. Until the files are known, nobody is
admitted. A token that held is remembered until it expires, and forgotten when keys or callers change.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt

from skfleet.serving.errors import Forbidden, IdentityUnavailable, ServiceError, Unauthenticated
from skfleet.serving.keyfiles import Keys, WatchedFile, jwks_parser, parse_environment
from skfleet.serving.listeners import Listener

log = logging.getLogger("skfleet.identity")

IAP_ALGORITHM = "ES256"
IAP_ISSUERS = ("https://cloud.google.com/iap",)
GOOGLE_ALGORITHM = "RS256"
GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
# Of a backend service: /projects/NUMBER/global/backendServices/ID, or with a region.
AUDIENCE = re.compile(r"/projects/[0-9]+/[a-z0-9/-]{1,64}/backendServices/[0-9]+")
LEEWAY_S = 30  # clocks of two machines; Google's own libraries allow as much
CACHED_TOKENS = 4096
REMEMBERED_S = 3600.0  # Google's tokens live no longer; a stranger expiry is verified again
LOOK_INTERVAL_S = 1.0

IAP_HINT = "Call through the load balancer: Identity-Aware Proxy adds X-Goog-IAP-JWT-Assertion."
INTERNAL_HINT = (
    "Send Authorization: Bearer with a Google ID token, for our audience, of an allowed account."
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who a verified token stands for, and until when that is remembered (Unix seconds)."""

    email: str
    expires_at: float


ANYONE = Caller("", float("inf"))
EVERYONE = "everyone"  # in place of a policy: the environment asks for no identity


@dataclass(frozen=True, slots=True)
class Policy:
    """What one listener admits; replaced whole whenever a file changes, with its cache."""

    algorithm: str
    issuers: tuple[str, ...]
    required: tuple[str, ...]
    audiences: tuple[str, ...]
    allowed: frozenset[str] | None  # None: whoever IAP lets through
    keys: Keys
    hint: str
    cache: OrderedDict[bytes, Caller]


class Identity:
    """The identity of requests, for one process. Safe to use from several threads."""

    def __init__(self, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.environment = WatchedFile(directory / "environment.json", parse_environment)
        self.iap_keys = WatchedFile(directory / "iap-keys.json", jwks_parser(IAP_ALGORITHM))
        self.google_keys = WatchedFile(
            directory / "google-keys.json", jwks_parser(GOOGLE_ALGORITHM)
        )
        self._clock = clock
        self._looked_at = float("-inf")
        self._lock = threading.Lock()
        self._policies: dict[Listener, Policy | str] = {}  # none yet: nobody is admitted
        self.refresh()

    @property
    def internal(self) -> str:
        """What the internal listener asks for: "id-token", "none", or "unknown"."""
        environment = self.environment.content
        return "unknown" if environment is None else environment.internal.identity

    def problem(self) -> str | None:
        """Why requests cannot be judged yet, naming the file; None where they can."""
        for file in (self.environment, self.iap_keys, self.google_keys):
            if file.content is None and not (file is self.google_keys and self.internal == "none"):
                return f"{file.name} {file.problem}"
        return None

    def known(self, listener: Listener, token: str | bytes | None) -> Caller | None:
        """The caller if this token was verified before and still holds. Costs one hash."""
        self.look()
        policy = self._policies.get(listener)
        if isinstance(policy, str):
            return ANYONE
        if policy is None or token is None:
            return None
        return _remembered(policy, _digest(token))

    def admitted(self, listener: Listener, token: bytes | None) -> Caller | None:
        """The same as `known`, a new token verified at once: IAP may sign one for each request.

        That takes a fraction of what the way through Flask does, which says why one does not hold.
        """
        caller = self.known(listener, token)
        if caller is None and token:
            with contextlib.suppress(ServiceError, UnicodeDecodeError):
                return self.verify(listener, token.decode("ascii"))
        return caller

    def verify(self, listener: Listener, token: str | None) -> Caller:
        """The caller; raises Unauthenticated, Forbidden or IdentityUnavailable."""
        self.look()
        policy = self._policies.get(listener)
        if isinstance(policy, str):
            return ANYONE
        if policy is None:
            raise IdentityUnavailable(
                "Who may call is not known on this VM yet.",
                hint="Try again; /readyz on the health listener says which file is missing.",
            )
        if not token:
            raise Unauthenticated("missing", policy.hint)
        digest = _digest(token)
        caller = _remembered(policy, digest)
        if caller is None:
            caller = _verify(token, policy)
            with self._lock:
                policy.cache[digest] = caller
                while len(policy.cache) > CACHED_TOKENS:
                    policy.cache.popitem(last=False)
        return caller

    def look(self) -> None:
        """Reread files that changed, at most once in LOOK_INTERVAL_S."""
        if self._clock() - self._looked_at >= LOOK_INTERVAL_S and self._lock.acquire(
            blocking=False
        ):
            try:
                self.refresh()
            finally:
                self._lock.release()

    def refresh(self) -> None:
        """Look at the files now."""
        self._looked_at = self._clock()
        # No short circuit: each file is looked at.
        changed = [f.refresh() for f in (self.environment, self.iap_keys, self.google_keys)]
        if any(changed):
            self._policies = self._decide()

    def _decide(self) -> dict[Listener, Policy | str]:
        environment = self.environment.content
        policies: dict[Listener, Policy | str] = {}
        if environment is None:
            return policies
        if self.iap_keys.content is not None:
            policies[Listener.IAP] = Policy(
                IAP_ALGORITHM, IAP_ISSUERS, ("exp", "iat", "iss", "aud"),
                tuple(environment.iap.audiences), None, self.iap_keys.content, IAP_HINT,
                OrderedDict(),
            )  # fmt: skip
        if environment.internal.identity == "none":
            log.warning("INTERNAL LISTENER ADMITS EVERYONE: environment.json says identity 'none'")
            policies[Listener.INTERNAL] = EVERYONE
        elif self.google_keys.content is not None:
            policies[Listener.INTERNAL] = Policy(
                GOOGLE_ALGORITHM, GOOGLE_ISSUERS, ("exp", "iat", "iss", "aud", "email"),
                tuple(environment.internal.audiences), frozenset(environment.internal.allowed_callers),
                self.google_keys.content, INTERNAL_HINT, OrderedDict(),
            )  # fmt: skip
        return policies


def bearer(header: str | None) -> str | None:
    """The token of `Authorization: Bearer …`; None where the header is another kind or absent."""
    if header is None or header[:7].lower() != "bearer ":
        return None
    return header[7:].strip()


def _remembered(policy: Policy, digest: bytes) -> Caller | None:
    caller = policy.cache.get(digest)
    if caller is None or caller.expires_at <= time.time():
        return None
    try:  # noqa: SIM105 - contextlib.suppress costs as much as the hash
        policy.cache.move_to_end(digest)
    except KeyError:  # another thread has just pushed it out; it still holds
        pass
    return caller


def _verify(token: str, policy: Policy) -> Caller:
    try:
        kid = _key_id(token.partition(".")[0])
        key = policy.keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            raise Unauthenticated("unknown_key", policy.hint)
        if not policy.audiences:
            raise Unauthenticated("audience", policy.hint, _signed_audience(token, key, policy))
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[policy.algorithm],
            audience=list(policy.audiences),
            issuer=list(policy.issuers),
            leeway=LEEWAY_S,
            options={"require": list(policy.required)},
        )
    except jwt.InvalidAudienceError:
        raise Unauthenticated(
            "audience", policy.hint, _signed_audience(token, key, policy)
        ) from None
    except jwt.PyJWTError as error:
        raise Unauthenticated(_reason(error), policy.hint) from None
    except Unauthenticated:
        raise
    except Exception:  # noqa: BLE001 - a segment or a claim of a strange shape: no token we know
        raise Unauthenticated("malformed", policy.hint) from None
    return _caller(claims, policy)


def _signed_audience(token: str, key: Any, policy: Policy) -> str:
    """`aud=…` of a token that IAP signed for another backend service, all else of which holds.

    Only who passed IAP has one. `skfleet doctor` compares it with environment.json.
    """
    if policy.algorithm != IAP_ALGORITHM:
        return ""
    try:
        claims = jwt.decode(
            token, key, algorithms=[policy.algorithm], issuer=list(policy.issuers), leeway=LEEWAY_S,
            options={"require": list(policy.required), "verify_aud": False},
        )  # fmt: skip
    except jwt.PyJWTError:
        return ""
    audience = str(claims["aud"])
    return f"aud={audience}" if AUDIENCE.fullmatch(audience) else ""


@functools.lru_cache(maxsize=64)
def _key_id(header: str) -> object:
    """The `kid` of a token's first segment, which all tokens of one key share: read once, not with each."""
    return jwt.get_unverified_header(f"{header}..").get("kid")


def _caller(claims: dict[str, Any], policy: Policy) -> Caller:
    email = claims.get("email")
    if policy.allowed is not None:
        if claims.get("email_verified") is not True:
            raise Unauthenticated("email_unverified", policy.hint)
        if not isinstance(email, str) or email not in policy.allowed:
            raise Forbidden(
                "This account is not allowed to call this service.",
                hint="Ask for it to be added to the allowed callers of this fleet.",
            )
    return Caller(
        str(email or claims.get("sub") or ""), min(float(claims["exp"]), time.time() + REMEMBERED_S)
    )


def _reason(error: jwt.PyJWTError) -> str:
    reasons: tuple[tuple[type[jwt.PyJWTError], str], ...] = (
        (jwt.ExpiredSignatureError, "expired"),
        (jwt.ImmatureSignatureError, "not_yet_valid"),
        (jwt.InvalidAudienceError, "audience"),
        (jwt.InvalidIssuerError, "issuer"),
        (jwt.MissingRequiredClaimError, "claim_missing"),
        (jwt.InvalidAlgorithmError, "algorithm"),
        (jwt.InvalidSignatureError, "signature"),
    )
    return next((name for kind, name in reasons if isinstance(error, kind)), "malformed")


def reason_of(error: ServiceError) -> str:
    """The reason a request was turned away, for metrics; empty for other errors."""
    return str(getattr(error, "reason", ""))


def _digest(token: str | bytes) -> bytes:
    raw = token if isinstance(token, bytes) else token.encode("latin-1", "replace")
    return hashlib.sha256(raw).digest()
