"""`converge.json`: what this host converged to since it booted, and what it thinks of that.

The service reads it: ready only for the release named here, and `stale` shown to whoever asks.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from skfleet.documents.converge_state import ConvergeState
from skfleet.files import replace_file

# At import: threads that meet a type first at the same time crash msgspec.
_decoder = msgspec.json.Decoder(ConvergeState)


def path(run: Path) -> Path:
    """Where the file is."""
    return run / "converge.json"


def read(run: Path) -> ConvergeState:
    """What is known since boot; a missing or damaged file is nothing known."""
    try:
        return _decoder.decode(path(run).read_bytes())
    except (OSError, msgspec.MsgspecError):
        return ConvergeState()


def announce(run: Path, release: str) -> None:
    """Say which release comes next. Nothing is said on a host that has not converged since boot."""
    known = read(run)
    if known.release is not None:
        state = msgspec.structs.replace(known, next=release)
        replace_file(path(run), msgspec.json.encode(state) + b"\n", mode=0o644)


def write(
    run: Path,
    release: str | None,
    *,
    signatures_required: bool = False,
    stale: bool = False,
    reason: str = "",
) -> None:
    """Replace the file whole."""
    state = ConvergeState(
        release=release,
        stale=stale,
        reason=reason,
        signatures_required=signatures_required,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    replace_file(path(run), msgspec.json.encode(state) + b"\n", mode=0o644)
