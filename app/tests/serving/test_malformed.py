"""Bytes that are not a request get a 4xx in the one error shape, which quotes nothing of them."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest

from .processes import Gunicorn

MARK = "s3cr3t"
LINE = f"GET /{MARK} HTTP/1.1"
CASES: dict[str, tuple[int, str]] = {
    "nonsense": (400, f"{MARK}\r\n\r\n"),
    "HTTP/0.9": (400, f"GET /{MARK}\r\n"),
    "another version": (400, f"GET / HTTP/{MARK}\r\nHost: x\r\n\r\n"),
    "HTTP/2": (400, f"GET /{MARK} HTTP/2.0\r\nHost: x\r\n\r\n"),
    "method": (400, f"{MARK} / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "method with a sign": (400, f"GE\x01{MARK} / HTTP/1.1\r\nHost: x\r\n\r\n"),
    "header name": (400, f"{LINE}\r\n{MARK}\x02: y\r\n\r\n"),
    "header value": (400, f"{LINE}\r\nX: {MARK}\x02\r\n\r\n"),
    "no colon": (400, f"{LINE}\r\n{MARK}\r\n\r\n"),
    "two hosts": (400, f"{LINE}\r\nHost: {MARK}\r\nHost: y\r\n\r\n"),
    "two lengths": (400, f"{LINE}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{MARK}"),
    "length": (400, f"{LINE}\r\nContent-Length: {MARK}\r\n\r\n"),
    "length of 5,000 digits": (400, f"{LINE}\r\nContent-Length: {'9' * 5000}\r\n\r\n{MARK}"),
    "length and chunks": (400, f"{LINE}\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "coding": (400, f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {MARK}\r\n\r\n"),
    "coding without chunks": (400, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n"),
    "chunk size": (400, f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{MARK}\r\n"),
    "chunk end": (400, f"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{MARK}\r\n"),
    "long line": (414, f"GET /{MARK * 2000} HTTP/1.1\r\n"),
    "long header": (431, f"{LINE}\r\nX: {MARK * 4000}\r\n\r\n"),
    "many headers": (431, LINE + "".join(f"\r\nX-{MARK}-{i}: {'a' * 80}" for i in range(99)) + "\r\n\r\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def server(shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    return shared_gunicorn(SKFLEET_WORKERS="1")


def answer_to(server: Gunicorn, data: bytes, to: str) -> bytes:
    """All that comes until the server ends the connection."""
    with socket.create_connection(("127.0.0.1", server.ports[to]), timeout=10) as connection:
        connection.sendall(data)
        received = b""
        while more := connection.recv(65536):
            received += more
    return received


@pytest.mark.parametrize("to", ["iap", "internal", "health", "metrics"])
@pytest.mark.parametrize("name", CASES)
def test_malformed_request_is_4xx_and_not_quoted(server: Gunicorn, name: str, to: str) -> None:
    status, text = CASES[name]
    head, _, body = answer_to(server, text.encode("latin-1"), to).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"\r\ncontent-type: application/json\r\n" in head
    assert b"\r\nx-skfleet-release: r1\r\n" in head
    assert head.lower().count(b"\r\nconnection: close") == 1
    error = json.loads(body)
    assert set(error) == {"error", "code", "where", "hint"}
    assert all(error.values())
    assert MARK.encode() not in head + body


def test_malformed_requests_are_counted(server: Gunicorn) -> None:
    answer_to(server, b"nonsense\r\n\r\n", "internal")
    wanted = b'skfleet_requests_total{listener="internal",route="other",status="400"}'
    server.wait_for(lambda: wanted in server.request("GET", "/metrics", to="metrics").body)


def test_upgrade_is_ignored(server: Gunicorn) -> None:
    """No WebSocket is served: whoever asks for one gets the answer of the path."""
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade, close\r\n"
    for key in ("", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"):
        request = f"GET /livez HTTP/1.1\r\nHost: x\r\n{upgrade}{key}\r\n"
        answer = answer_to(server, request.encode(), "health")
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        refused = answer_to(server, request.encode(), "iap")
        assert refused.startswith(b"HTTP/1.1 401 ")
        assert json.loads(refused.partition(b"\r\n\r\n")[2])["code"] == "unauthenticated"
