"""Request bodies, read whole and never past the limit, however they arrive."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gunicorn.http.errors import ParseException
from prometheus_client import Gauge
from werkzeug.formparser import FormDataParser

from skfleet.serving.errors import BadRequest, BodyTooLarge
from skfleet.serving.protocols import form

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


def read_wsgi(environ: Mapping[str, Any], limit: int) -> bytes:
    """The request's body; raises BodyTooLarge without reading past the limit, chunked or not."""
    length_text = environ.get("CONTENT_LENGTH") or ""
    length = int(length_text) if length_text.isdecimal() else None
    if length is not None and length > limit:
        raise BodyTooLarge(limit)
    if length is None and not environ.get("wsgi.input_terminated"):
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except (OSError, ParseException):
        body, length = b"", -1
    if length is not None and len(body) != length:
        raise _cut_short()
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body


async def read_asgi(content_length: bytes, receive: Receive, limit: int, waiting: Gauge) -> bytes:
    """The whole body; raises BodyTooLarge without reading the rest, BadRequest when it stops coming.

    `waiting` counts bodies that are not there at once.
    """
    if content_length.isdigit() and int(content_length) > limit:
        raise BodyTooLarge(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return _within(body, limit)
    parts = [body]
    size = len(body)
    with waiting.track_inprogress():
        while message["type"] == "http.request" and message.get("more_body"):
            if size > limit:
                raise BodyTooLarge(limit)
            message = await receive()
            part = message.get("body", b"")
            parts.append(part)
            size += len(part)
    if message["type"] != "http.request":
        raise _cut_short()  # the client left, or was silent for longer than gunicorn waits
    return _within(b"".join(parts), limit)


def replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body already read, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def multipart_fields(body: bytes, parameters: Mapping[str, str]) -> list[tuple[str, str]]:
    """The fields of a multipart form; raises BadRequest."""
    parser = FormDataParser(silent=False, max_form_parts=form.MAX_FIELDS)
    try:
        _, fields, _ = parser.parse(
            io.BytesIO(body), "multipart/form-data", len(body), dict(parameters)
        )
    except ValueError:
        raise BadRequest(
            "The body is not a multipart form.", where="body", hint=form.HINT
        ) from None
    return list(fields.items(multi=True))


def _cut_short() -> BadRequest:
    return BadRequest(
        "The body ended before its end.",
        where="body",
        hint="Send the request again.",
        headers=(("Connection", "close"),),
    )


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise BodyTooLarge(limit)
    return body
