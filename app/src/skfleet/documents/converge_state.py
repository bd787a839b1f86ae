"""What a host converged to since it booted: the form of `converge.json`."""

from __future__ import annotations

import msgspec


class ConvergeState(msgspec.Struct, frozen=True, kw_only=True):
    """The file's form. `release` is null until something was converged to."""

    release: str | None = None
    # The release that this host is being switched to; a reload serves it before the switch is done.
    next: str | None = None
    stale: bool = False  # it could not be learnt, or reached, what is desired now
    reason: str = ""
    # Whether this host trusts keys, and so refuses what none of them signed.
    signatures_required: bool = False
    at: str = ""  # RFC 3339, UTC
