"""Requests answered where they arrive, before gunicorn makes a task of them.

Parsing in C, no task switch, no scope: half of what a small prediction costs otherwise. Only what is
plainly one POST and nothing else is looked at, whole in one read or an array's body in several; the same
bytes go gunicorn's way in every other case, so that everything it refuses is refused by it, and framing is
never a matter of two opinions.

What this turn of the event loop has no time for waits, whole, for one of the next (turns.py).
"""

from __future__ import annotations

import logging
import time

from gunicorn.asgi.protocol import _CACHED_SERVER_HEADER, _get_cached_date_header
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from skfleet.serving.fast import LATER, WANTED_HEADERS, FastLane, Headers
from skfleet.serving.listeners import Listener

log = logging.getLogger("skfleet.whole")

# These ask for more than an answer, or frame the body in another way.
NOT_PLAIN = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"}
)
KEPT = (WANTED_HEADERS | {b"host"}) - NOT_PLAIN
LONGEST_HEAD = 4094  # bytes; gunicorn, which holds lines to their limits, gets what is longer


class WholeRequests:
    """Reads and answers the whole requests of one connection."""

    def __init__(self, lane: FastLane, listener: Listener) -> None:
        self._lane = lane
        self._listener = listener
        self._parser = HttpRequestParser(self)
        self._head = b""  # of the request that is held
        self._forget()

    @property
    def holds(self) -> bool:
        """Whether the rest of a body is awaited, or a turn."""
        return bool(self._head)

    @property
    def waits(self) -> bool:
        """Whether what is held is whole, and a turn is awaited."""
        return self.holds and self._complete > 0

    @property
    def size(self) -> int:
        """Bytes of the body that have come."""
        return self._received

    def answer(self, data: bytes) -> bytes | None:
        """The response to what has come; empty while it is held; None: gunicorn's way.

        Gunicorn gets what was held of the request from `release`, then `data`.
        """
        if not self._head:
            if data[:6] != b"POST /":
                return None
            self._forget()
        elif self.waits:
            return None  # a caller that does not await its answer
        kept, received = len(self._parts), self._received
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._plain = False
        answer = self._judge(data, received)
        if answer is None:
            del self._parts[kept:]
            # It may be in the middle of a request, or have seen a connection's last one.
            self._parser = HttpRequestParser(self)
        return answer

    def turn(self) -> bytes | None:
        """The response to the request that has waited; None: gunicorn's way, as above."""
        return self._respond(waited=True)

    def release(self) -> bytes:
        """What is held, which is gunicorn's from now on."""
        if not self._head:
            return b""
        held = b"".join((self._head, *self._parts))
        self._head = b""
        self._parser = HttpRequestParser(self)
        return held

    def _judge(self, data: bytes, received: int) -> bytes | None:
        end = 0
        if not self._head:
            end = data.find(b"\r\n\r\n") + 4
            if not 4 <= end <= LONGEST_HEAD or b"host" not in self._found:
                return None
        # To the byte: parsers forgive line breaks around a request.
        if not self._plain or self._begun != 1 or self._received - received != len(data) - end:
            return None
        length = self._found.get(b"content-length", b"")
        if self._complete:
            if length != b"%d" % self._received:
                return None
            self._arrived = time.perf_counter()
            response = self._respond()
            if response == b"":
                self._head = self._head or data[:end]
            return response
        if not length.isdigit() or not self._lane.expects(
            self._listener, self._target, self._found, int(length)
        ):
            return None
        self._head = self._head or data[:end]
        return b""

    def _respond(self, *, waited: bool = False) -> bytes | None:
        """As `answer`; empty where there is no time in this turn."""
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            answer = self._lane.at_once(
                self._listener, self._target, self._found, body, self._arrived, waited=waited
            )
        except Exception:  # the long way meets the same failure, and answers it as it should
            log.debug("left to gunicorn", exc_info=True)
            return None
        if answer is None:
            return None
        if answer is LATER:
            return b""
        self._head = b""
        headers, body = answer
        date = _get_cached_date_header()
        return b"".join((headers, _CACHED_SERVER_HEADER, date, b"\r\n", body))

    def _forget(self) -> None:
        self._begun = self._complete = self._received = 0
        self._arrived = 0.0
        self._plain = True
        self._target = b""
        self._found: Headers = {}
        self._parts: list[bytes] = []

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._begun += 1

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in KEPT:
            if name in self._found:
                self._plain = False
            self._found[name] = value.strip(b" \t")
        elif name in NOT_PLAIN:
            self._plain = False

    def on_headers_complete(self) -> None:
        parser = self._parser
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            self._plain = False

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self._complete += 1
