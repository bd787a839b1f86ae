"""One plain request, read by httptools: HTTP/1.1 on a connection that goes on, framed in no odd way."""

from __future__ import annotations

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from skfleet.serving.fast import WANTED_HEADERS, Headers

# These ask for more than an answer, or frame the body in another way.
NOT_PLAIN = frozenset(
    {b"transfer-encoding", b"content-encoding", b"expect", b"upgrade", b"trailer"}
)
KEPT = (WANTED_HEADERS | {b"host"}) - NOT_PLAIN
LONGEST_HEAD = 4094  # bytes; gunicorn, which holds lines to their limits, gets what is longer


class PlainRequest:
    """What the parser has seen of a request, and whether that is plainly one and nothing else."""

    def __init__(self) -> None:
        self.start_again()
        self.forget()

    def start_again(self) -> None:
        """With another parser: it may be in the middle of a request, or have seen a connection's last one."""
        self.parser = HttpRequestParser(self)

    def forget(self) -> None:
        """The request is answered, and the next may come."""
        self.begun = self.complete = self.received = 0
        self.plain = True
        self.target = b""
        self.found: Headers = {}
        self.parts: list[bytes] = []  # of the body

    def feed(self, data: bytes) -> None:
        """Read what has come."""
        # httptools accepts two spaces; gunicorn, which parses requests that arrive in pieces, rejects them.
        if not self.begun and data.find(b"  ", 0, data.find(b"\r\n")) != -1:
            self.plain = False
        try:
            self.parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.plain = False

    # What httptools calls.

    def on_message_begin(self) -> None:
        self.begun += 1

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in KEPT:
            if name in self.found:
                self.plain = False
            self.found[name] = value.strip(b" \t")
        elif name in NOT_PLAIN:
            self.plain = False

    def on_headers_complete(self) -> None:
        parser = self.parser
        if parser.get_http_version() != "1.1" or not parser.should_keep_alive():
            self.plain = False

    def on_body(self, body: bytes) -> None:
        self.received += len(body)
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.complete += 1
