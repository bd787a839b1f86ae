"""`instances` → `predictions`: the form of Vertex AI, TensorFlow Serving and KServe V1.

`{"instances": [[…], …], "parameters": {"probabilities": true}}` also returns `probabilities`, each
number with every digit a double has.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import repeated
from skfleet.serving.protocols.rows import RowCheck

CONTENT_TYPE = "application/json"
HINT = 'Send {"instances": [[…], …]}, one inner list for each row.'


class Parameters(msgspec.Struct, forbid_unknown_fields=True):
    """What a caller may ask for beside labels."""

    probabilities: bool = False


class Request(msgspec.Struct):
    """A prediction request. Other fields are accepted: clients of other servers send theirs along."""

    instances: list[list[float]]
    parameters: Parameters | None = None


_decoder = msgspec.json.Decoder(Request)


def parse(body: bytes, check: RowCheck) -> Request:
    """The request with its rows checked; raises BadRequest or InvalidRows."""
    request = decode(body)
    if not request.instances:
        raise InvalidRows("There are no rows to predict.", where="instances", hint=HINT)
    check.refuse(request.instances, "instances[{row}]")
    return request


def decode(body: bytes) -> Request:
    """The request as typed values; a field given twice is refused, not silently dropped."""
    try:
        request = _decoder.decode(body)
        # Without an escape a repeated name shows in the bytes; with one, the slow look decides.
        if (
            b"\\" in body
            or body.count(b'"instances"') != 1
            or body.count(b'"parameters"') > 1
            or body.count(b'"probabilities"') > 1
        ):
            repeated.refuse(body, HINT)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    return request


def answer(labels: Sequence[int], probabilities: Sequence[Sequence[float]] | None) -> bytes:
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
