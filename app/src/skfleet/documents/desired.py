"""The desired release of a fleet and its history: the only truth about what a VM should run."""

from __future__ import annotations

import msgspec

from skfleet.documents import Document
from skfleet.documents.release import Name, Pin


class DesiredEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One release that was desired, from when on and by whom."""

    release: Name
    document: Pin  # the release document's own object
    at: str  # RFC 3339, UTC
    by: str
    reason: str = ""


class Desired(Document, frozen=True, kw_only=True):
    """`history[0]` is the one before `current`, newest first, at most 50."""

    fleet: Name
    current: DesiredEntry
    history: list[DesiredEntry] = []
