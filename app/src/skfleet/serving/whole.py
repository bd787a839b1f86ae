"""Requests that arrive whole in one read, as predictions do, answered before gunicorn makes a task of them.

Parsing in C, no task switch, no scope: half of what a small prediction costs otherwise. Only what is
plainly one POST and nothing else is looked at; the same bytes go gunicorn's way in every other case, so
that everything it refuses is refused by it, and framing is never a matter of two opinions.
"""

from __future__ import annotations

import logging

from gunicorn.asgi.protocol import _CACHED_SERVER_HEADER, _get_cached_date_header
from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from skfleet.serving.fast import WANTED_HEADERS, FastLane, Headers
from skfleet.serving.listeners import Listener

log = logging.getLogger("skfleet.whole")

# These ask for more than an answer, or frame the body in another way.
NOT_PLAIN = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"}
)
STATUS = b"HTTP/1.1 200 OK\r\n"
KEPT = (WANTED_HEADERS | {b"host"}) - NOT_PLAIN
LONGEST_HEAD = 4094  # bytes; gunicorn, which holds lines to their limits, gets what is longer


class WholeRequests:
    """Reads and answers the whole requests of one connection."""

    def __init__(self, lane: FastLane, listener: Listener) -> None:
        self._lane = lane
        self._listener = listener
        self._parser = HttpRequestParser(self)
        self._begun = self._complete = 0
        self._plain = True
        self._target = self._body = b""
        self._found: Headers = {}

    def answer(self, data: bytes) -> bytes | None:
        """The response to `data`, if that is one plain request and no byte more; None: gunicorn's way."""
        if data[:6] != b"POST /":
            return None
        self._begun = self._complete = 0
        parser = self._parser
        try:
            parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._complete = 0
        if not (self._begun == self._complete == 1 and self._plain and self._frames(data)):
            # It may be in the middle of a request, or have seen a connection's last one.
            self._parser = HttpRequestParser(self)
            return None
        try:
            answer = self._lane.at_once(self._listener, self._target, self._found, self._body)
        except Exception:  # the long way meets the same failure, and answers it as it should
            log.debug("left to gunicorn", exc_info=True)
            return None
        if answer is None:
            return None
        headers, body = answer
        parts = (STATUS, headers, _CACHED_SERVER_HEADER, _get_cached_date_header(), b"\r\n", body)
        return b"".join(parts)

    def _frames(self, data: bytes) -> bool:
        """Whether head and body are all of `data`, to the letter: parsers forgive line breaks around them."""
        length = self._found.get(b"content-length", b"")
        end = len(data) - len(self._body)
        return (
            length == b"%d" % len(self._body)
            and data[end - 4 : end] == b"\r\n\r\n"
            and end <= LONGEST_HEAD
            and b"host" in self._found
        )

    # What httptools calls.

    def on_message_begin(self) -> None:
        self._begun += 1
        self._plain = True
        self._target = self._body = b""
        self._found = {}

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
        self._body = self._body + body if self._body else body

    def on_message_complete(self) -> None:
        self._complete += 1
