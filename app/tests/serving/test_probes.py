"""A probe gets the same answer at accept, on a connection that goes on, and by gunicorn's way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfleet.serving import accepting
from skfleet.serving.accepting import LEAD, Acceptor, Share
from skfleet.serving.fast import FastLane
from skfleet.serving.probes import Probes
from skfleet.serving.service import Service

from .processes import Gunicorn
from .test_whole import complete, damaged_by, received, without_dates

# After an answer, or where there is none.
REST_S = 0.15


def probe(path: str = "/livez", *lines: str, first: str = "GET {} HTTP/1.1") -> bytes:
    """The bytes of a probe; `lines` replace the headers that are there otherwise."""
    head = [first.format(path), *(lines or ("Host: x",))]
    return "\r\n".join(head).encode() + b"\r\n\r\n"


GOOD = {
    "live": probe(),
    "ready": probe("/readyz"),
    "as Google's": probe(
        "/livez", "Host: 10.0.0.2", "User-Agent: GoogleHC/1.0", "Connection: Keep-alive"
    ),
}
NOT_PLAIN = {
    "not whole": probe()[:-1],
    "a byte too many": probe() + b"\n",
    "two": probe() * 2,
    "another path": probe("/version"),
    "a path longer": probe("/livez/"),
    "a query": probe("/livez?a=1"),
    "an encoded path": probe("/%6civez"),
    "an absolute address": probe("http://x/livez"),
    "a path beyond ASCII": probe("/livez\xe9"),
    "two spaces before the version": probe(first="GET {}  HTTP/1.1"),
    "another method": probe(first="HEAD {} HTTP/1.1"),
    "a method that takes a body": probe(first="POST {} HTTP/1.1"),
    "HTTP/1.0": probe(first="GET {} HTTP/1.0"),
    "a last request": probe("/livez", "Host: x", "Connection: close"),
    "no host": probe("/livez", "User-Agent: a"),
    "two hosts": probe("/livez", "Host: x", "Host: x"),
    "a body": probe("/livez", "Host: x", "Content-Length: 1") + b"a",
    "a body of nothing": probe("/livez", "Host: x", "Content-Length: 0"),
    "chunks": probe("/livez", "Host: x", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "an upgrade": probe("/livez", "Host: x", "Connection: Upgrade", "Upgrade: websocket"),
    "a long head": probe("/livez", "Host: x", "X-Long: " + "a" * 5000),
    "line feeds alone": probe().replace(b"\r\n", b"\n"),
    "a space before a colon": probe("/livez", "Host : x"),
}


@pytest.fixture
def probes(service: Service) -> Probes:
    return Probes(FastLane(service))


@pytest.mark.parametrize("name", GOOD)
def test_plain_probes_are_answered_at_once(probes: Probes, name: str) -> None:
    for _ in range(2):
        assert (probes.answer(GOOD[name]) or b"").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_all_else_is_gunicorns_and_leaves_no_trace(probes: Probes, name: str) -> None:
    assert probes.answer(NOT_PLAIN[name]) is None
    assert probes.answer(GOOD["live"]) is not None


def test_a_failure_is_gunicorns_to_answer(probes: Probes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes._lane._service.metrics, "observe", lambda *_: 1 / 0)
    assert probes.answer(GOOD["live"]) is None
    monkeypatch.undo()
    assert probes.answer(GOOD["live"]) is not None


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, callers = socket.socketpair()
    ours.setblocking(False)
    callers.setblocking(False)
    with closing(ours), closing(callers):
        yield ours, callers


def test_a_connection_is_greeted_with_the_answer(
    probes: Probes, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = pair
    callers.send(GOOD["ready"])
    probes.greet(ours)
    assert complete(callers.recv(65536))
    with pytest.raises(BlockingIOError):
        ours.recv(1)


def test_what_is_no_probe_stays_in_the_socket(
    probes: Probes, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, callers = pair
    probes.greet(ours)  # nothing has come
    callers.send(NOT_PLAIN["two"])
    probes.greet(ours)
    assert ours.recv(65536) == NOT_PLAIN["two"]
    callers.close()
    probes.greet(ours)


def test_a_listener_that_greets_leaves_no_connection_to_other_workers() -> None:
    """Its worker is far ahead, and another could take it, which does not come."""
    slots = memoryview(bytearray(accepting.SLOTS * 4)).cast("i")
    one, _ = Share(1, slots), Share(2, slots)
    for _ in range(LEAD + 1):
        one.opened()
    greeted: list[socket.socket] = []

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            loop = asyncio.get_running_loop()
            acceptor = Acceptor(loop, listening, asyncio.Protocol, one, greet=greeted.append)
            with closing(socket.create_connection(listening.getsockname())):
                acceptor._readable()  # as the loop calls it
            acceptor.close()

    asyncio.run(scenario())
    assert len(greeted) == 1


# On a real server


@pytest.fixture(scope="module")
def server(shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    return shared_gunicorn(SKFLEET_WORKERS="1")


@pytest.fixture(scope="module")
def unready(shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    return shared_gunicorn(SKFLEET_WORKERS="1", SKFLEET_MODELS="tiny=/nowhere")


def at_accept(server: Gunicorn, data: bytes) -> bytes:
    """What comes back where all of it is there when the worker accepts the connection."""
    (worker,) = server.workers()
    worker.suspend()
    try:
        connection = socket.create_connection(("127.0.0.1", server.ports["health"]))
        connection.sendall(data)
    finally:
        worker.resume()
    with closing(connection):
        return all_of(connection)


def on_a_connection(server: Gunicorn, *parts: bytes) -> bytes:
    """The same on a connection that has had an answer, in parts."""
    with closing(socket.create_connection(("127.0.0.1", server.ports["health"]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(probe())
        received(connection)
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(0.005)
        return all_of(connection)


def all_of(connection: socket.socket) -> bytes:
    """Until nothing more comes for a while; dates left out."""
    connection.settimeout(REST_S)
    data = b""
    with contextlib.suppress(OSError):
        while more := connection.recv(65536):
            data += more
    return without_dates(data)


@pytest.mark.parametrize("name", [*GOOD, *NOT_PLAIN])
def test_all_ways_are_equal(server: Gunicorn, name: str) -> None:
    data = {**GOOD, **NOT_PLAIN}[name]
    by_gunicorn = on_a_connection(server, data[:1], data[1:])
    assert at_accept(server, data) == by_gunicorn
    assert on_a_connection(server, data) == by_gunicorn
    assert by_gunicorn.startswith(b"HTTP/1.") or name == "not whole"


def test_a_server_that_is_not_ready_says_so_in_all_ways(unready: Gunicorn) -> None:
    by_gunicorn = on_a_connection(unready, GOOD["ready"][:1], GOOD["ready"][1:])
    assert by_gunicorn.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert at_accept(unready, GOOD["ready"]) == by_gunicorn
    assert on_a_connection(unready, GOOD["ready"]) == by_gunicorn


@settings(max_examples=20)
@given(data=st.data())
def test_damaged_probes_are_equal_whole_and_in_pieces(
    server: Gunicorn, data: st.DataObject
) -> None:
    good = GOOD[data.draw(st.sampled_from(sorted(GOOD)))]
    damaged = damaged_by(data, good)
    in_pieces = on_a_connection(server, damaged[:1], damaged[1:])
    assert on_a_connection(server, damaged) == in_pieces
    assert at_accept(server, damaged) == in_pieces


def test_each_is_counted_once(server: Gunicorn) -> None:
    def counted() -> float:
        text = server.request("GET", "/metrics", to="metrics").body.decode()
        wanted = 'skfleet_requests_total{listener="health",route="/livez",status="200"} '
        line = next((line for line in text.splitlines() if line.startswith(wanted)), "0 0")
        return float(line.split()[-1])

    before = counted()
    at_accept(server, probe())
    on_a_connection(server, probe())  # two: the first one opens it
    on_a_connection(server, probe()[:1], probe()[1:])
    assert counted() == before + 5
