"""How skfleet itself is started: identity files made here, a signed header where IAP is asked for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from skfleet_bench.models import Trained

if TYPE_CHECKING:
    from skfleet_bench.contenders import Command, Place, Start

CONFIG, APPLICATION = "python:skfleet.serving.gunicorn", "skfleet.serving.application:application"
AUDIENCE = "/projects/1/global/backendServices/2"
KID = "bench"
TOKEN_S = 3600
FRESH = 20_000  # tokens; the service remembers a fifth of them
IAP_HEADER = "X-Goog-IAP-JWT-Assertion"


def serving(*, fast: bool, iap: bool, fresh: bool = False) -> Start:
    """The units' own command, asked on IAP's port, or on the internal one without identity.

    `fresh`: each request has a token of its own, as IAP may sign them; otherwise all have one.
    """

    def start(place: Place, model: Trained) -> Command:
        from skfleet_bench.contenders import WORKERS, Command

        tokens, environ = _environ(place, model, FRESH if fresh else 1)
        environ["SKFLEET_FAST_LANE"] = str(fast).lower()
        environ["SKFLEET_WORKERS"] = str(WORKERS)
        return Command(
            [f"{place.bin}/gunicorn", "--config", CONFIG, APPLICATION],
            environ,
            place.ports[0 if iap else 1],
            {IAP_HEADER: tokens[0]} if iap else {},
            {IAP_HEADER: tokens} if fresh else {},
        )

    return start


def handler(place: Place, model: Trained) -> Command:
    """The program that calls the handler by itself; the measuring adds what to ask."""
    from skfleet_bench.contenders import SERVERS, Command

    _, environ = _environ(place, model)
    return Command(
        [f"{place.bin}/python", str(SERVERS / "handler.py"), str(place.ports[1])], environ
    )


def _environ(place: Place, model: Trained, count: int = 1) -> tuple[list[str], dict[str, str]]:
    """(so many IAP tokens, the service's environment)."""
    identity = place.directory / "identity"
    identity.mkdir(parents=True, exist_ok=True)
    tokens = _identity(identity, count)
    iap, internal, health, metrics = map(str, place.ports[:4])
    return tokens, {
        "SKFLEET_MODELS": f"{model.name}={model.artefact}",
        "SKFLEET_IDENTITY_DIR": str(identity),
        "SKFLEET_RUN_DIR": str(place.directory),
        "SKFLEET_BIND_ADDRESS": "127.0.0.1",
        "SKFLEET_PORT_IAP": iap,
        "SKFLEET_PORT_INTERNAL": internal,
        "SKFLEET_PORT_HEALTH": health,
        "SKFLEET_PORT_METRICS": metrics,
        "SKFLEET_LOG_LEVEL": "warning",
    }


def _identity(directory: Path, count: int) -> list[str]:
    """Write who may call, with a key made here; returns so many tokens that this key signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    public: dict[str, Any] = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.public_key()))
    keys = {"keys": [{**public, "kid": KID, "alg": "ES256", "use": "sig"}]}
    environment = {
        "schema_version": 1, "fleet": "bench",
        "iap": {"audiences": [AUDIENCE]}, "internal": {"identity": "none"},
    }  # fmt: skip
    for name, content in (("iap-keys", keys), ("google-keys", keys), ("environment", environment)):
        (directory / f"{name}.json").write_text(json.dumps(content))
    now = int(time.time())
    claims = {
        "iss": "https://cloud.google.com/iap", "aud": AUDIENCE, "iat": now, "exp": now + TOKEN_S,
        "sub": "accounts.google.com:1", "email": "bench@example.com",
    }  # fmt: skip
    # A signature of the same claims is another one each time.
    return [jwt.encode(claims, key, "ES256", {"kid": KID}) for _ in range(count)]
