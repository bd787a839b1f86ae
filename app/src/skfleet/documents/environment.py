"""The environment of a fleet: who may call. It is no part of a release, so that a rollback never
re-admits a caller who was revoked. Terraform writes it once the load balancers exist."""

from __future__ import annotations

from typing import Literal

import msgspec

from skfleet.documents import Document


class IapPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The external listener: IAP's audiences, opaque strings. None known: everything is refused."""

    audiences: list[str] = []


class InternalPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The internal listener: ID tokens for our audience from these accounts, or `none`."""

    identity: Literal["id-token", "none"] = "id-token"
    audiences: list[str] = []
    allowed_callers: list[str] = []


class Environment(Document, frozen=True, kw_only=True):
    """Which callers each listener admits."""

    fleet: str
    iap: IapPolicy = IapPolicy()
    internal: InternalPolicy = InternalPolicy()
