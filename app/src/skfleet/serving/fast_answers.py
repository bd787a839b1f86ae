"""The fast lane's reading of a plainly well-formed body, or None where Flask must look.

The answers have the bytes that the protocol's own parse and answer give.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skfleet.serving.models import Served
from skfleet.serving.protocols import npy, v1, v2
from skfleet.serving.protocols.predictions import Probabilities, predict

_row = msgspec.json.Decoder(list[float])

# Larger bodies are read here where their rows are read together, and not number by number.
V1_BYTES = 64 * 1024

Write = Callable[[list[Any], Probabilities | None], bytes | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's checked rows, and what becomes of their labels."""

    rows: Sequence[Sequence[Any]]
    probabilities: bool
    write: Write

    def answer(self, served: Served) -> bytes | None:
        """Predicted here and now; None where Flask must look."""
        labels, probabilities = predict(served.model, self.rows, probabilities=self.probabilities)
        return self.write(labels, probabilities)


def read_form(served: Served, body: bytes, _header: str) -> Asked | None:
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


def read_v1(served: Served, body: bytes, _header: str) -> Asked | None:
    """Well-formed `instances`."""
    if len(body) <= V1_BYTES:
        request: v1.Request | None = v1.decode(body, served.rows)
    else:
        request = v1.decode_together(body, served.rows)
    if request is None:
        return None
    rows = v1.checked(request, served.rows) if len(request.instances) else None
    if rows is None:
        return None
    wanted = request.parameters is not None and request.parameters.probabilities
    return Asked(rows, wanted, v1.answer)


def read_npy(served: Served, body: bytes, _header: str) -> Asked | None:
    """Rows as NumPy writes them."""
    return Asked(npy.parse(body, served.rows), False, lambda labels, _: npy.answer(labels))


def read_v2(served: Served, body: bytes, header: str) -> Asked | None:
    """Binary tensor data that asks for labels as JSON."""
    asked = v2.parse(body, served.rows, header)
    if asked.outputs != (v2.PREDICT,) or asked.binary:
        return None
    model = served.model
    version = v2.version_of(model.digest)

    def write(labels: list[Any], _: Probabilities | None) -> bytes:
        return v2.answer(served.name, version, asked, labels, None, model.manifest).body

    return Asked(asked.rows, False, write)
