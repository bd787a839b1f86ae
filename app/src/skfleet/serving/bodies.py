"""Request bodies, read whole and never past the limit, however they arrive."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from gunicorn.http.errors import ParseException
from prometheus_client import Gauge
from werkzeug.formparser import FormDataParser

from skfleet.serving.errors import BadRequest, BodyTooLarge, Overloaded, RequestTimeout
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


@dataclass(frozen=True, slots=True)
class Body:
    """What was read of a request's body."""

    data: bytes = b""
    complete: bool = True  # False: the rest is not read, and the connection ends with the answer
    too_large: bool = False


class BodyReader:
    """Reads a request's body before anything answers the request.

    An answer that is sent while its body is on the way ends the connection, and with it the next request of
    whoever shares that connection: a client's pool, or a load balancer. Of a caller who is not known the
    body is read and dropped. Nothing else waits meanwhile: no thread, and no place among the requests in
    flight.
    """

    def __init__(self, limit: int, timeout_s: int, most_bytes: int, waiting: Gauge) -> None:
        self._limit = limit
        self._timeout_s = timeout_s
        self._most_bytes = most_bytes  # of all bodies that are not whole yet
        self._bytes = 0
        self._waiting = waiting  # counts known callers' bodies that are not there at once

    async def read(
        self,
        receive: Receive,
        content_length: bytes,
        is_known: Callable[[], bool],
        *,
        expects_continue: bool = False,
    ) -> Body:
        """The body, up to the limit; `is_known` is asked where it is not there at once.

        Raises RequestTimeout, Overloaded where all bodies together are too large, and BadRequest where it
        stops coming.
        """
        if content_length.isdigit() and int(content_length) > self._limit:
            return Body(complete=False, too_large=True)
        if expects_continue and not is_known():
            return Body(complete=False)  # reading would ask for the body
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        receive = _until(deadline, receive)
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
                if message["type"] == "http.request" and not message.get("more_body"):
                    data: bytes = message.get("body", b"")
                    return Body(data, too_large=len(data) > self._limit)
                if not is_known():
                    return await self._drop(message, receive)
                with self._waiting.track_inprogress():
                    return await self._gather(message, receive)
        except TimeoutError:
            raise RequestTimeout("body", self._timeout_s) from None

    async def _gather(self, message: Message, receive: Receive) -> Body:
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                part = _part(message)
                parts.append(part)
                size += len(part)
                self._bytes += len(part)
                if not message.get("more_body") or size > self._limit:
                    complete = not message.get("more_body")
                    return Body(b"".join(parts), complete, size > self._limit)
                if self._bytes > self._most_bytes:
                    raise Overloaded
                message = await receive()
        finally:
            self._bytes -= size

    async def _drop(self, message: Message, receive: Receive) -> Body:
        size = len(_part(message))
        while message.get("more_body") and size <= self._limit:
            message = await receive()
            size += len(_part(message))
        return Body(complete=not message.get("more_body"), too_large=size > self._limit)


def replay(body: Body, receive: Receive) -> Receive:
    """A `receive` that gives what was read, then what comes after it."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body.data, "more_body": not body.complete}

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


def _until(deadline: float, receive: Receive) -> Receive:
    """A `receive` that raises TimeoutError after a deadline of the running loop's clock.

    `asyncio.timeout` alone does not hold: of a cancellation and data that come in the same moment, gunicorn's
    `wait_for` under Python 3.11 drops the former.
    """
    loop = asyncio.get_running_loop()

    async def received() -> Message:
        message = await receive()
        if message.get("more_body") and loop.time() >= deadline:
            raise TimeoutError
        return message

    return received


def _part(message: Message) -> bytes:
    if message["type"] != "http.request":
        raise _cut_short()  # the client left, or was silent for longer than gunicorn waits
    part: bytes = message.get("body", b"")
    return part


def _cut_short() -> BadRequest:
    return BadRequest(
        "The body ended before its end.",
        where="body",
        hint="Send the request again.",
        headers=(("Connection", "close"),),
    )
