"""A rejected request costs nobody else: its connection goes on, or its end is announced."""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from skfleet.serving.worker import LINGER_S

from .conftest import Signer, iap_claims
from .processes import Gunicorn

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
V1, NOPE = "/v1/models/tiny:predict", "/v1/models/nope:predict"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()
KINDS = (  # status|path|content type|content encoding|known
    f"401|/|{FORM}||", f"401|/nope|{JSON}||", f"404|/nope|{JSON}||known", f"404|{NOPE}|{JSON}||known",
    f"404|/v2/models/nope/infer|{JSON}||known", f"405|/v2|{JSON}||known", "415|/|text/plain||known",
    f"415|/|{FORM}|gzip|known", f"415|{V1}|text/csv||known", f"415|{V1}|{JSON}|gzip|known",
    "415|/invocations|text/csv||known", f"400|{V1}|{JSON}||known", f"400|/|{FORM}||known",
)  # fmt: skip
TOO_LARGE = (f"413|/|{FORM}||known", f"413|{V1}|{JSON}||known", f"401|{V1}|{JSON}||")
MEGABYTE = 1_000_000
CLIENTS = Path(__file__).parent / "clients"
COMMANDS = {
    "python": [sys.executable, "client.py"],
    "node": ["node", "client.mjs"],
    "go": ["go", "run", "client.go"],
    "java": ["java", "Client.java"],
}
is_full = bool(os.environ.get("SKFLEET_TEST_FULL"))


@pytest.fixture(scope="module", params=["true", "false"], ids=["fast", "flask"])
def server(request: pytest.FixtureRequest, shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    return shared_gunicorn(SKFLEET_FAST_LANE=str(request.param), SKFLEET_WORKERS="1")


@pytest.fixture(scope="module")
def token(iap_key: Signer) -> str:
    return iap_key.sign(iap_claims())


def lost(
    server: Gunicorn, client: str, token: str, count: int, size: int, kinds: tuple[str, ...]
) -> str:
    """What a client lost of so many pairs of requests, by kind; its errors where there are any."""
    url = f"http://127.0.0.1:{server.ports['iap']}"
    command = [*COMMANDS[client], url, token, str(count), str(size), *kinds]
    done = subprocess.run(
        command, cwd=CLIENTS, capture_output=True, text=True, check=False, timeout=900
    )
    results = [line.split() for line in done.stdout.splitlines()]
    assert len(results) == len(kinds), done.stderr[-2000:]
    return (
        "".join(f"{line}\n" for line in results if line[2] != "0")
        and done.stdout + done.stderr[-2000:]
    )


def test_request_after_a_rejected_one_is_answered(server: Gunicorn, token: str) -> None:
    assert lost(server, "python", token, 5, MEGABYTE, KINDS) == ""
    # More than is ever read: the client learns of it, and of the end of its connection.
    assert lost(server, "python", token, 3, 5_500_000, TOO_LARGE) == ""


@pytest.mark.full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("client", COMMANDS)
def test_clients_lose_no_request_after_any_rejection(
    server: Gunicorn, token: str, client: str
) -> None:
    if shutil.which(COMMANDS[client][0]) is None:
        pytest.skip(f"needs {COMMANDS[client][0]}: install Go, Node or a JDK")
    assert lost(server, client, token, 1000, MEGABYTE, KINDS) == ""
    assert lost(server, client, token, 50, 5_500_000, TOO_LARGE) == ""


@pytest.mark.parametrize("listener", ["health", "metrics"])
def test_open_listeners_read_what_they_reject(server: Gunicorn, listener: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[listener], timeout=10)
    with contextlib.closing(connection):
        for path, body, status in (("/nope", b"z" * MEGABYTE, 404), ("/livez", None, 200)) * 3:
            if listener == "metrics" and path == "/livez":
                path = "/metrics"
            connection.request("POST" if body else "GET", path, body)
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert response.getheader("connection") is None


def exchange(server: Gunicorn, data: bytes, then: bytes = b"", to: str = "iap") -> bytes:
    """All that the server sends until it ends the connection; `then` is sent after the first of it."""
    with socket.create_connection(("127.0.0.1", server.ports[to]), timeout=10) as connection:
        connection.sendall(data)
        received = connection.recv(65536)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(then)
        while more := connection.recv(65536):
            received += more
    return received


def test_unread_body_ends_the_connection_and_says_so(server: Gunicorn, token: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
    known = f"{head}X-Goog-IAP-JWT-Assertion: {token}\r\n"
    for data, status in (
        (known + "Content-Length: 999999999\r\n\r\n", b"413"),
        (head + "Content-Length: 999999999\r\n\r\n", b"401"),
        # Who expects to be told whether to send its body is told.
        (head + "Expect: 100-continue\r\nContent-Length: 10\r\n\r\n", b"401"),
    ):
        answer = exchange(server, data.encode(), b"z" * MEGABYTE)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert answer.count(b"HTTP/1.1") == 1


def test_expected_body_is_asked_for_once_the_caller_is_known(server: Gunicorn, token: str) -> None:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nX-Goog-IAP-JWT-Assertion: {token}\r\n"
    expecting = (
        f"{head}Expect: 100-continue\r\nConnection: close\r\nContent-Length: {len(ROW)}\r\n\r\n"
    )
    answer = exchange(server, expecting.encode(), ROW)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


def test_http_1_0_is_answered_and_closed(server: Gunicorn) -> None:
    for more in (b"", b"Connection: keep-alive\r\n"):
        answer = exchange(server, b"GET /livez HTTP/1.0\r\n" + more + b"\r\n", to="health")
        assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
        assert b"\r\nconnection: close\r\n" in answer.lower()


def test_client_that_sends_for_ever_is_cut_off(server: Gunicorn) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n"
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.ports["iap"]), timeout=10) as connection:
        connection.sendall(head)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while time.monotonic() - began < LINGER_S + 5:
                connection.sendall(b"z" * 65536)
                time.sleep(0.01)
    assert LINGER_S - 1 < time.monotonic() - began < LINGER_S + 4
