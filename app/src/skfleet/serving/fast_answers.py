"""The fast lane's predictions: an answer to the plainly well-formed body, or None where Flask must look.

Each gives the bytes that the protocol's own parse and answer give.
"""

from __future__ import annotations

import msgspec

from skfleet.serving.models import Served
from skfleet.serving.protocols import v1

_row = msgspec.json.Decoder(list[float])


def answer_form(served: Served, body: bytes) -> bytes | None:
    """The answer to a body that is `x=[…]` and nothing else; None where Flask must look."""
    if body[:2] != b"x=":
        return None
    raw = body[2:].replace(b"+", b" ")
    if b"%" in raw:
        # Clients encode brackets, commas and spaces; anything else is not the common case.
        raw = raw.replace(b"%2C", b",").replace(b"%20", b" ")
        raw = raw.replace(b"%5B", b"[").replace(b"%5D", b"]")
    try:
        row = _row.decode(raw)
    except msgspec.MsgspecError:
        return None
    # A list of numbers holds no character that JSON escapes, but for line breaks and tabs.
    if not raw.decode("ascii").isprintable() or not served.rows.accepts(row):
        return None
    label = served.model.backend.predict([row])[0]
    return b'{"model_prediction":"[%d]","received_data":{"x":"%b"}}\n' % (label, raw)


def answer_v1(served: Served, body: bytes) -> bytes | None:
    """The answer to well-formed `instances`; None where Flask must look."""
    request = v1.decode(body)
    rows = request.instances
    if not rows or not all(map(served.rows.accepts, rows)):
        return None
    backend = served.model.backend
    wants_probabilities = request.parameters is not None and request.parameters.probabilities
    return v1.answer(
        backend.predict(rows), backend.predict_proba(rows) if wants_probabilities else None
    )
