"""The fast lane's reading of a plainly well-formed body, or None where Flask must look.

The answers have the bytes that the protocol's own parse and answer give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skfleet.serving.models import Served
from skfleet.serving.protocols import v1
from skfleet.serving.protocols.predictions import Probabilities, predict

_row = msgspec.json.Decoder(list[float])

Write = Callable[[list[Any], Probabilities | None], bytes | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's checked rows, and what becomes of their labels."""

    rows: Sequence[Sequence[Any]]
    probabilities: bool
    write: Write

    def answer(self, served: Served) -> bytes | None:
        """Predicted here and now; None where Flask must look."""
        return self.write(*predict(served.model, self.rows, probabilities=self.probabilities))


def read_form(served: Served, body: bytes) -> Asked | None:
    """A body that is `x=[…]` and nothing else."""
    if body[:2] != b"x=":
        return None
    raw = body[2:].replace(b"+", b" ")
    if b"%" in raw:
        # Clients encode brackets, commas and spaces; anything else is not the common case.
        raw = raw.replace(b"%2C", b",").replace(b"%20", b" ")
        raw = raw.replace(b"%5B", b"[").replace(b"%5D", b"]")
    if served.rows.mixed:  # text may hold what the original's JSON escapes
        return None
    try:
        row = _row.decode(raw)
    except msgspec.MsgspecError:
        return None
    # A list of numbers holds no character that JSON escapes, but for line breaks and tabs.
    if not raw.decode("ascii").isprintable() or not served.rows.accepts(row):
        return None

    def write(labels: list[Any], _: Probabilities | None) -> bytes | None:
        label = labels[0]
        if type(label) is not int:
            return None
        return b'{"model_prediction":"[%d]","received_data":{"x":"%b"}}\n' % (label, raw)

    return Asked((row,), False, write)


def read_v1(served: Served, body: bytes) -> Asked | None:
    """Well-formed `instances`."""
    request = v1.decode(body, served.rows)
    rows = request.instances
    if not rows or not all(map(served.rows.accepts, rows)):
        return None
    wanted = request.parameters is not None and request.parameters.probabilities
    return Asked(rows, wanted, v1.answer)
