"""The original form: `x=[37 zeros or ones]` → `{"model_prediction":"[1]","received_data":{"x":"[…]"}}`.

The success bytes are those of the service this one replaces: the whole form echoed, the prediction
as NumPy prints an array of one, keys sorted and a newline at the end as Flask's jsonify gives them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols.rows import RowCheck

FIELD = "x"
CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_FIELDS = 1000
HINT = "Send x=[0, 1, …] with one number for each feature, as application/x-www-form-urlencoded."

Fields = Sequence[tuple[str, str]]


def parse_fields(body: bytes) -> list[tuple[str, str]]:
    """The form's fields in order, repeated ones included; raises BadRequest."""
    try:
        return parse_qsl(
            body.decode(),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError:
        raise BadRequest(
            "The body is not a URL-encoded form in UTF-8.", where="body", hint=HINT
        ) from None


def parse_row(fields: Fields, check: RowCheck) -> list[Any]:
    """The one row of field `x`, checked; raises BadRequest or InvalidRows."""
    values = [value for name, value in fields if name == FIELD]
    if len(values) != 1:
        problem = "no field" if not values else f"{len(values)} fields"
        raise BadRequest(f"The form has {problem} 'x'; it takes one.", where=FIELD, hint=HINT)
    row = decode_row(values[0], check)
    if not check.accepts(row):
        check.refuse([row], FIELD)
    return row


def decode_row(text: str, check: RowCheck) -> list[Any]:
    """The values of `[0, 1, …]`; raises BadRequest or InvalidRows."""
    try:
        row: list[Any] = check.decoder.decode(text)
        return row
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        where = FIELD + path.strip("`$")
        raise InvalidRows(f"Not a row of numbers: {message}.", where=where, hint=HINT) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise BadRequest(
            "Field 'x' is not a list of numbers in brackets.", where=FIELD, hint=HINT
        ) from None


def answer(label: Any, fields: Fields) -> bytes:
    """The original's answer; of a repeated field the first value is echoed."""
    received: dict[str, str] = {}
    for name, value in fields:
        received.setdefault(name, value)
    body = {"model_prediction": printed(label), "received_data": received}
    return (json.dumps(body, sort_keys=True, separators=(",", ":")) + "\n").encode()


def printed(label: Any) -> str:
    """An array of this one label as NumPy prints it; a whole number needs no NumPy for that."""
    if type(label) is int:
        return f"[{label}]"
    import numpy as np  # an image's own service has none, and no model to answer

    return str(np.asarray([label]))
