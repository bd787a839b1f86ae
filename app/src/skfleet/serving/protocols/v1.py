"""`instances` → `predictions`: the form of Vertex AI, TensorFlow Serving and KServe V1.

A row is a list in the order of the features, or an object by their names. `"parameters":
{"probabilities": true}` also returns `probabilities`, each number with every digit a double has; of a
model with several outputs those of all, in order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import repeated
from skfleet.serving.protocols.rows import ARRAY_ROWS, Named, Row, RowCheck

CONTENT_TYPE = "application/json"
HINT = 'Send {"instances": [[…], …]}, one inner list for each row.'


class Parameters(msgspec.Struct, forbid_unknown_fields=True):
    """What a caller may ask for beside labels."""

    probabilities: bool = False


class Request(msgspec.Struct):
    """A prediction request. Other fields are accepted: clients of other servers send theirs along.

    `instances` becomes an array where `decode` read many rows together.
    """

    instances: list[list[float]]
    parameters: Parameters | None = None


class AnyRequest(msgspec.Struct):
    """The same with text, and with rows by name."""

    instances: list[Row | Named]
    parameters: Parameters | None = None


class RawRequest(msgspec.Struct):
    """The same with the rows' own bytes."""

    instances: msgspec.Raw
    parameters: Parameters | None = None


# At import: threads that meet a type first at the same time crash msgspec.
_decoder = msgspec.json.Decoder(Request)
_any = msgspec.json.Decoder(AnyRequest)
_raw = msgspec.json.Decoder(RawRequest)
# Of a body's bytes: from here on reading its rows together is cheaper.
TOGETHER_BYTES = 2048


def parse(body: bytes, check: RowCheck) -> Request:
    """The request with its rows checked and in order; raises BadRequest or InvalidRows."""
    request = decode(body, check)
    if not len(request.instances):
        raise InvalidRows("There are no rows to predict.", where="instances", hint=HINT)
    rows = checked(request, check)
    if rows is None:
        check.refuse(request.instances, "instances[{row}]")
    else:
        request.instances = rows
    return request


def checked(request: Request, check: RowCheck) -> Any | None:
    """The rows if all are good, many of them as an array; else None."""
    rows = request.instances
    if len(rows) >= ARRAY_ROWS and not check.mixed:
        return check.as_array(rows)
    return rows if all(map(check.accepts, rows)) else None


def decode(body: bytes, check: RowCheck) -> Request:
    """The request as typed values; a field given twice is refused, not silently dropped."""
    together = decode_together(body, check)
    if together is not None:
        return together
    try:
        request, named = _decode(body, check)
        if named or not _plain(body):
            repeated.refuse(body, HINT)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    return request


def decode_together(body: bytes, check: RowCheck) -> Request | None:
    """The request of many rows of single digits, read as one array; None where it is not plainly that."""
    if len(body) < TOGETHER_BYTES or not check.digits or not _plain(body):
        return None
    try:
        request = _raw.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError, ValueError):
        return None
    rows = check.from_digits(bytes(request.instances))
    return None if rows is None else Request(rows, request.parameters)


def _plain(body: bytes) -> bool:
    """Whether no field is given twice for sure: without an escape a repeated name shows in the bytes."""
    return (
        b"\\" not in body
        and body.count(b'"instances"') == 1
        and body.count(b'"parameters"') <= 1
        and body.count(b'"probabilities"') <= 1
    )


def _decode(body: bytes, check: RowCheck) -> tuple[Request, bool]:
    """(request, whether a row was by name)."""
    if not check.mixed:
        try:
            return _decoder.decode(body), False
        except msgspec.ValidationError as error:
            if "got `object`" not in str(error):
                raise
    request = _any.decode(body)
    named = any(isinstance(row, dict) for row in request.instances)
    rows = [
        check.ordered(row, f"instances[{index}]") if isinstance(row, dict) else row
        for index, row in enumerate(request.instances)
    ]
    return Request(rows, request.parameters), named  # type: ignore[arg-type] # text where text is


def answer(labels: Sequence[Any], probabilities: Sequence[Sequence[float]] | None) -> bytes:
    """`{"predictions": […]}`, with `probabilities` where they were asked for."""
    body: dict[str, Any] = {"predictions": labels}
    if probabilities is not None:
        body["probabilities"] = probabilities
    return msgspec.json.encode(body) + b"\n"


def _invalid(text: str) -> BadRequest | InvalidRows:
    """msgspec's message names the place: `Expected `float`, got `str` - at `$.instances[1][3]``."""
    message, _, path = text.partition(" - at ")
    where = path.strip("`").removeprefix("$").removeprefix(".")
    if where.startswith("instances["):
        return InvalidRows(f"Not rows of numbers: {message}.", where=where, hint=HINT)
    return BadRequest(f"Not a prediction request: {message}.", where=where or "body", hint=HINT)
