"""Predictions of the demo: right ones, and callers who must be refused."""

from __future__ import annotations

import time
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skfleet.declared import declared
from skfleet_local import keys
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.cloud.tokens import Tokens
from skfleet_operator.client.predict import Answer, Client


@dataclass(frozen=True)
class Doors:
    """Addresses and audiences of both load balancers."""

    outside: str
    inside: str
    ca_file: str
    iap_audience: str
    internal_audience: str

    @classmethod
    def from_environment(cls, environment: dict[str, str]) -> Doors:
        """From what `skfleet-local env` exports."""
        return cls(
            environment["SKFLEET_URL"],
            environment["SKFLEET_INTERNAL_URL"],
            environment["SKFLEET_CA_FILE"],
            environment["SKFLEET_IAP_AUDIENCE"],
            environment["SKFLEET_INTERNAL_AUDIENCE"],
        )


def refusals(
    doors: Doors, tokens: Tokens, vm_address: str, row: list[float]
) -> list[tuple[str, Answer]]:
    """(who, answer) for callers who must not be served."""
    outside, inside = doors.outside, doors.inside
    iap, internal = doors.iap_audience, doors.internal_audience
    user, stranger = ACCOUNTS["user"], ACCOUNTS["stranger"]
    expired = {"iat": int(time.time()) - 7200, "exp": int(time.time()) - 3600}
    other_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    kid = keys.key_id(tokens.google.public_key())

    def forged(audience: str) -> str:
        claims = jwt.decode(
            tokens.id_token(ACCOUNTS["caller"], audience), options={"verify_signature": False}
        )
        return jwt.encode(claims, other_key, algorithm="RS256", headers={"kid": kid})

    spoofed = jwt.encode(
        jwt.decode(
            tokens.assertion(user, "/projects/1/global/backendServices/1"),
            options={"verify_signature": False},
        ),
        ec.generate_private_key(ec.SECP256R1()),
        algorithm="ES256",
        headers={"kid": keys.key_id(tokens.iap.public_key())},
    )

    def call(url: str, token: str = "", header: str = "") -> Answer:
        client = Client(url, token, doors.ca_file)
        if header:
            client.add_header("x-goog-iap-jwt-assertion", header)
        return client.form(row)

    caller = ACCOUNTS["caller"]
    listeners = declared().edge.listeners
    past = f"http://{vm_address}:{listeners.iap.port}"
    return [
        ("outside, no token", call(outside)),
        ("outside, expired token", call(outside, tokens.id_token(user, iap, expired))),
        ("outside, forged token", call(outside, forged(iap))),
        ("outside, token for another audience", call(outside, tokens.id_token(user, "other"))),
        ("outside, account without access", call(outside, tokens.id_token(stranger, iap))),
        ("outside, spoofed IAP header and no token", call(outside, header=spoofed)),
        ("past the load balancer, no IAP header", call(past)),
        ("past the load balancer, spoofed IAP header", call(past, header=spoofed)),
        ("inside, no token", call(inside)),
        ("inside, expired token", call(inside, tokens.id_token(caller, internal, expired))),
        ("inside, forged token", call(inside, forged(internal))),
        ("inside, token for another audience", call(inside, tokens.id_token(caller, iap))),
        ("inside, account not allowed", call(inside, tokens.id_token(stranger, internal))),
        ("health port", call(f"http://{vm_address}:{listeners.health.port}")),
    ]
