"""The fast lane's predictions: an answer to the plainly well-formed body, or None where Flask must look.

Each gives the bytes that the protocol's own parse and answer give.
"""

from __future__ import annotations

import msgspec

from skfleet.serving.models import Served
from skfleet.serving.protocols import v1
from skfleet.serving.protocols.predictions import predict

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
    if served.rows.mixed:  # text may hold what the original's JSON escapes
        return None
    try:
        row = _row.decode(raw)
    except msgspec.MsgspecError:
        return None
    # A list of numbers holds no character that JSON escapes, but for line breaks and tabs.
    if not raw.decode("ascii").isprintable() or not served.rows.accepts(row):
        return None
    label = served.model.backend.predict([row])[0]
    if type(label) is not int:
        return None
    return b'{"model_prediction":"[%d]","received_data":{"x":"%b"}}\n' % (label, raw)


def answer_v1(served: Served, body: bytes) -> bytes | None:
    """The answer to well-formed `instances`; None where Flask must look."""
    request = v1.decode(body, served.rows)
    rows = request.instances
    if not rows or not all(map(served.rows.accepts, rows)):
        return None
    wanted = request.parameters is not None and request.parameters.probabilities
    return v1.answer(*predict(served.model, rows, probabilities=wanted))
