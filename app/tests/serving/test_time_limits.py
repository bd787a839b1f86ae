"""Head and body of a request each have a limit for their whole time; idle connections do not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from .conftest import Signer, iap_claims
from .processes import Gunicorn

LIMIT_S = 1
DRIP_S = 0.15  # between two bytes
SLOW = 500
FORM = "application/x-www-form-urlencoded"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()
HEAD = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"


@pytest.fixture(scope="module")
def server(shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    return shared_gunicorn(SKFLEET_HEAD_TIMEOUT_S=str(LIMIT_S), SKFLEET_BODY_TIMEOUT_S=str(LIMIT_S))


@pytest.fixture(scope="module")
def known(iap_key: Signer) -> str:
    """The header of a caller who may call."""
    return f"X-Goog-IAP-JWT-Assertion: {iap_key.sign(iap_claims())}\r\n"


def form(known: str) -> bytes:
    return f"{HEAD}{known}Content-Length: {len(ROW)}\r\n\r\n".encode() + ROW


def slow_requests(known: str) -> dict[str, tuple[bytes, bytes]]:
    """What is sent at once, and what drips after it, by name."""
    length = "Content-Length: 1000\r\n\r\n"
    predict = f"POST /v1/models/tiny:predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{known}"
    return {
        "request line": (b"P", b"OST /" + b"a" * 99),
        "headers": (HEAD.encode(), b"X: " + b"a" * 99),
        "header without end": (f"{HEAD}{known}".encode(), b"\r"),
        "body of a known caller": (f"{HEAD}{known}{length}".encode(), b"x" * 99),
        "body for Flask": (f"POST /v2 HTTP/1.1\r\nHost: x\r\n{known}{length}".encode(), b"x" * 99),
        "body of nobody": (f"{HEAD}{length}".encode(), b"x" * 99),
        "first bytes, then a body": (f"{predict}{length}".encode() + b'{"instances"', b"x" * 99),
        "chunks": (f"{HEAD}{known}Transfer-Encoding: chunked\r\n\r\n".encode(), b"1\r\nx\r\n" * 20),
    }  # fmt: skip


def drip(server: Gunicorn, at_once: bytes, slowly: bytes, to: str = "iap") -> tuple[bytes, float]:
    """(all that the server sends, seconds until its first byte); a byte every DRIP_S until then."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.ports[to]), timeout=DRIP_S) as connection:
        connection.sendall(at_once)
        received = b""
        for index in range(int(9 * LIMIT_S / DRIP_S)):
            with contextlib.suppress(TimeoutError):
                received = connection.recv(65536)
                break
            connection.sendall(slowly[index : index + 1])
        took = time.monotonic() - began
        connection.settimeout(10)
        while more := connection.recv(65536):
            received += more
    return received, took


def test_slow_requests_are_408_whatever_drips(server: Gunicorn, known: str) -> None:
    probe = (b"GET /livez HTTP/1.1\r\nHost", b": " + b"x" * 99)
    slow = {name: (*parts, "iap") for name, parts in slow_requests(known).items()}
    slow |= {"probe": (*probe, "health"), "metrics": (*probe, "metrics")}
    with ThreadPoolExecutor(len(slow)) as pool:
        answers = dict(
            zip(slow, pool.map(lambda sent: drip(server, *sent), slow.values()), strict=True)
        )
    for name, (answer, took) in answers.items():
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 "), (name, answer)
        assert b"\r\nconnection: close" in head.lower()
        assert b"\r\nx-skfleet-release: r1" in head
        assert json.loads(body)["code"] == "request_timeout"
        assert LIMIT_S - 0.2 <= took < 2 * LIMIT_S + 2, name


def test_second_request_has_a_limit_of_its_own(server: Gunicorn, known: str) -> None:
    good = form(known)
    answer, took = drip(server, good + good + good[:40], good[40:45])
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.count(b"HTTP/1.1 408 ") == 1
    assert took < LIMIT_S


def test_idle_connection_outlives_the_limits(server: Gunicorn, known: str) -> None:
    with contextlib.ExitStack() as stack:
        address = ("127.0.0.1", server.ports["iap"])
        used, fresh = (
            stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(2)
        )
        used.sendall(form(known))
        assert used.recv(65536).startswith(b"HTTP/1.1 200 ")
        time.sleep(LIMIT_S + 1)
        for connection in (used, fresh):
            connection.sendall(form(known))
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connection_that_never_asks_is_closed_in_the_end(
    shared_gunicorn: Callable[..., Gunicorn],
) -> None:
    server = shared_gunicorn(SKFLEET_KEEPALIVE_S="1")
    with socket.create_connection(("127.0.0.1", server.ports["iap"]), timeout=10) as connection:
        assert connection.recv(1) == b""


async def _slow(port: int, at_once: bytes, slowly: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(at_once)
    first = asyncio.ensure_future(reader.read(12))
    for index in range(int(9 * LIMIT_S / DRIP_S)):
        done, _ = await asyncio.wait([first], timeout=DRIP_S)
        if done:
            break
        writer.write(slowly[index : index + 1])
    status = await asyncio.wait_for(first, 20)
    writer.close()
    return status


async def _good(port: int, request: bytes, until: Callable[[], bool], took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while not until():
        began = time.perf_counter()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.005)
    writer.close()


def _report(took: list[float], statuses: list[bytes]) -> Iterator[str]:
    p50, p90 = (statistics.quantiles(took, n=10)[at] * 1000 for at in (4, 8))
    yield f"{len(statuses)} slow clients, {statuses.count(b'HTTP/1.1 408')} answered 408; "
    yield f"{len(took)} good requests, 0 failed, p50 {p50:.1f} ms, p90 {p90:.1f} ms"


def test_500_slow_clients_cost_good_ones_nothing(server: Gunicorn, known: str) -> None:
    """On the inline path, and on Flask's threads, which as many slow bodies would hold up."""
    port = server.ports["iap"]
    kinds = list(slow_requests(known).values())
    flask = f"GET /v1/models/tiny HTTP/1.1\r\nHost: x\r\n{known}\r\n".encode()
    statuses: list[bytes] = []
    took: list[float] = []

    async def run() -> None:
        slow = [asyncio.ensure_future(_slow(port, *kinds[i % len(kinds)])) for i in range(SLOW)]
        good = [
            _good(port, request, lambda: all(s.done() for s in slow), took)
            for request in (form(known), flask) * 4
        ]
        await asyncio.gather(*good)
        statuses.extend(await asyncio.gather(*slow))

    asyncio.run(run())
    print("".join(_report(took, statuses)))  # noqa: T201 - the figures are the evidence
    assert set(statuses) == {b"HTTP/1.1 408"}
    assert statistics.quantiles(took, n=10)[8] < 0.25
