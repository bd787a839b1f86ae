"""A request that arrives whole gets what its bytes get in pieces; only plain ones are answered early."""

from __future__ import annotations

import asyncio
import contextlib
import io
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfleet.serving.fast import FastLane
from skfleet.serving.listeners import Listener
from skfleet.serving.whole import WholeRequests
from skfleet.serving.worker import HELD_S

from .conftest import Signer, iap_claims
from .processes import Gunicorn
from .test_gunicorn import BODY, FORM, INSTANCES, ROW

# Without an answer for so long there is none, and after one no other.
SILENCE_S, REST_S = 1.5, 0.3


def request(body: bytes, *lines: str, target: str = "/", kind: str = FORM, more: str = "") -> bytes:
    """The bytes of a request; `lines` replace the headers that are there otherwise."""
    usual = ("Host: x", f"Content-Type: {kind}", f"Content-Length: {len(body)}")
    head = [f"POST {target} HTTP/1.1", *(lines or usual), *([more] if more else [])]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def npy(rows: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(rows, float))
    return buffer.getvalue()


V1 = "/v1/models/tiny:predict"
GOOD = {
    "form": request(BODY),
    "v1": request(INSTANCES, target=V1, kind="application/json"),
    "npy": request(npy([ROW] * 3), target=V1, kind="application/x-npy"),
}
HOST, TYPE, LENGTH = "Host: x", f"Content-Type: {FORM}", f"Content-Length: {len(BODY)}"
NOT_PLAIN = {
    "a byte too few": GOOD["form"][:-1],
    "a byte too many": GOOD["form"] + b"\n",
    "two requests": GOOD["form"] * 2,
    "one and a half": GOOD["form"] + GOOD["form"][:20],
    "another method": GOOD["form"].replace(b"POST", b"PUT"),
    "HTTP/1.0": GOOD["form"].replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a query": request(BODY, target="/?a=1"),
    "an encoded path": request(BODY, target="/%70redict"),
    "an absolute address": request(BODY, target="http://x/"),
    "no host": request(BODY, TYPE, LENGTH),
    "two hosts": request(BODY, HOST, HOST, TYPE, LENGTH),
    "two types": request(BODY, HOST, TYPE, TYPE, LENGTH),
    "two lengths": request(BODY, HOST, TYPE, LENGTH, LENGTH),
    "a length with a sign": request(BODY, HOST, TYPE, f"Content-Length: +{len(BODY)}"),
    "no length": request(BODY, HOST, TYPE),
    "a coding": request(BODY, more="Content-Encoding: gzip"),
    "chunks": request(
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), HOST, TYPE, "Transfer-Encoding: chunked"
    ),
    "chunks and a length": request(BODY, more="Transfer-Encoding: chunked"),
    "an expectation": request(BODY, more="Expect: 100-continue"),
    "an upgrade": request(BODY, more="Connection: Upgrade\r\nUpgrade: websocket"),
    "a last request": request(BODY, more="Connection: close"),
    "a long head": request(BODY, more="X-Long: " + "a" * 5000),
    "a folded line": request(BODY, more="X-Folded: a\r\n b"),
    "line feeds alone": GOOD["form"].replace(b"\r\n", b"\n"),
    "a space before a colon": request(BODY, more="X-Space : a"),
    "a bad row": request(b"x=[1]"),
    "no such model": request(INSTANCES, target="/v1/models/none:predict", kind="application/json"),
}


def with_token(data: bytes, token: str) -> bytes:
    first, _, rest = data.partition(b"\r\n")
    return b"%b\r\nX-Goog-IAP-JWT-Assertion: %b\r\n%b" % (first, token.encode(), rest)


@pytest.fixture
def lane(service: Any) -> FastLane:
    return FastLane(service)


@pytest.fixture
def whole(service: Any, lane: FastLane, iap_key: Signer) -> tuple[WholeRequests, str]:
    token = iap_key.sign(iap_claims())
    service.identity.verify(Listener.IAP, token)
    return WholeRequests(lane, Listener.IAP), token


def answered(requests: WholeRequests, data: bytes) -> bytes | None:
    return on_a_loop(lambda: requests.answer(data))


def on_a_loop(call: Callable[[], bytes | None]) -> bytes | None:
    async def called() -> bytes | None:
        return call()

    return asyncio.run(called())


@pytest.fixture
def late(
    whole: tuple[WholeRequests, str], lane: FastLane, monkeypatch: pytest.MonkeyPatch
) -> tuple[WholeRequests, str]:
    """In a turn of the event loop that has no time left."""
    monkeypatch.setattr(lane.turns, "has_time", lambda _: False)
    return whole


@pytest.mark.parametrize("name", GOOD)
def test_what_a_turn_has_no_time_for_waits_and_is_answered(
    late: tuple[WholeRequests, str], name: str
) -> None:
    requests, token = late
    data = with_token(GOOD[name], token)
    # One after the other, on a connection that goes on.
    for pieces in ((data,), (data,), (data[:-20], data[-20:]), (data,)):
        for piece in pieces:
            assert not requests.waits
            assert requests.answer(piece) == b""
            assert requests.holds
        assert requests.waits
        assert (on_a_loop(requests.turn) or b"").startswith(b"HTTP/1.1 200 OK\r\n")
        assert not requests.holds


def test_one_that_waits_and_sends_more_is_gunicorns_with_all_it_sent(
    late: tuple[WholeRequests, str],
) -> None:
    requests, token = late
    data = with_token(GOOD["form"], token)
    assert requests.answer(data) == b""
    assert requests.answer(data[:100]) is None
    assert requests.release() == data
    assert not requests.holds


def test_one_that_waited_and_is_not_well_formed_is_gunicorns(
    late: tuple[WholeRequests, str],
) -> None:
    requests, token = late
    data = with_token(NOT_PLAIN["a bad row"], token)
    assert requests.answer(data) == b""
    assert on_a_loop(requests.turn) is None
    assert requests.release() == data


def test_more_than_may_wait_is_told_so_at_once(
    late: tuple[WholeRequests, str], service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests, token = late
    monkeypatch.setattr(service.admission, "waiting_cap", 0)
    refused = answered(requests, with_token(GOOD["form"], token)) or b""
    head, _, body = refused.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"\r\nretry-after: 1\r\n" in head
    assert b"\r\nx-skfleet-release: r1\r\n" in head
    assert b"\r\ncontent-length: %d\r\n" % len(body) in head
    assert b'"code":"overloaded"' in body
    monkeypatch.undo()  # the turns have time again, too
    answer = answered(requests, with_token(GOOD["form"], token))
    assert (answer or b"").startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("name", GOOD)
def test_a_plain_request_of_a_known_caller_is_answered(
    whole: tuple[WholeRequests, str], name: str
) -> None:
    requests, token = whole
    answer = answered(requests, with_token(GOOD[name], token))
    assert answer is not None
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_all_else_is_left_and_what_comes_next_is_read_right(
    whole: tuple[WholeRequests, str], name: str
) -> None:
    requests, token = whole
    # Of a body that lacks a byte the rest is awaited.
    left = b"" if name == "a byte too few" else None
    assert answered(requests, with_token(NOT_PLAIN[name], token)) == left
    requests.release()
    assert answered(requests, with_token(GOOD["form"], token)) is not None


def test_a_new_token_is_answered_and_one_that_does_not_hold_is_left(
    whole: tuple[WholeRequests, str], iap_key: Signer
) -> None:
    requests, _ = whole
    assert answered(requests, GOOD["form"]) is None
    new, old = iap_key.sign(iap_claims(sub="new")), iap_key.sign(iap_claims(exp=1))
    assert answered(requests, with_token(GOOD["form"], new)) is not None
    assert answered(requests, with_token(GOOD["form"], old)) is None
    assert answered(requests, with_token(GOOD["form"], "no.token")) is None


def test_a_body_in_pieces_is_awaited_and_given_back_where_it_is_not_one(
    whole: tuple[WholeRequests, str],
) -> None:
    requests, token = whole
    data = with_token(GOOD["npy"], token)
    for pieces in ((data[:-300], data[-300:]), (data[:-600], data[-600:-300], data[-300:])):
        *first, last = pieces
        for piece in first:
            assert requests.answer(piece) == b""
            assert requests.holds
        assert (answered(requests, last) or b"").startswith(b"HTTP/1.1 200 OK")
        assert not requests.holds
    assert requests.answer(data[:-300]) == b""
    assert requests.answer(data[-300:] + b"one byte more") is None
    assert requests.release() == data[:-300]
    assert requests.answer(with_token(GOOD["npy"], "unknown")[:-300]) is None
    assert requests.release() == b""
    assert answered(requests, data) is not None


@pytest.fixture(scope="module")
def server(shared_gunicorn: Callable[..., Gunicorn]) -> Gunicorn:
    """With one worker, which knows the caller once it has seen it."""
    return shared_gunicorn(SKFLEET_WORKERS="1")


@pytest.fixture(scope="module")
def token(server: Gunicorn, iap_key: Signer) -> str:
    """Of a caller that the server's worker knows."""
    signed = iap_key.sign(iap_claims())
    assert exchanged(server, with_token(GOOD["form"], signed)).startswith(b"HTTP/1.1 200")
    return signed


def exchanged(server: Gunicorn, *parts: bytes, rest_s: float = 0) -> bytes:
    """The first answer on a new connection and what comes within `rest_s` after it, dates left out."""
    with closing(socket.create_connection(("127.0.0.1", server.ports["iap"]))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        time.sleep(0.01)  # until its task waits for a request
        received = b""
        with contextlib.suppress(OSError):
            for part in parts:
                connection.sendall(part)
                time.sleep(0.005)
            while rest_s or not complete(received):
                connection.settimeout(rest_s if complete(received) else SILENCE_S)
                more = connection.recv(65536)
                if not more:
                    break
                received += more
    return without_dates(received)


def without_dates(received: bytes) -> bytes:
    lines = received.split(b"\r\n")
    return b"\r\n".join(line for line in lines if not line.startswith(b"Date:"))


def damaged_by(data: st.DataObject, good: bytes) -> bytes:
    """With bytes inserted, lost or changed, in the first 400."""
    at = data.draw(st.integers(1, min(len(good) - 1, 400)))
    lost = data.draw(st.integers(0, 2))
    put = data.draw(
        st.sampled_from([b"", b"\r\n", b"\n", b" ", b":", b"\0", b"\xff", b"0", b"\t", b","])
    )
    return good[:at] + put + good[at + lost :]


def complete(received: bytes) -> bool:
    head, separator, body = received.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(separator and lengths) and len(body) >= int(lengths[0].split(b":")[1])


@pytest.mark.parametrize("name", [*GOOD, *NOT_PLAIN])
def test_whole_and_in_pieces_are_equal(server: Gunicorn, token: str, name: str) -> None:
    data = with_token({**GOOD, **NOT_PLAIN}[name], token)
    whole = exchanged(server, data, rest_s=REST_S)
    assert whole == exchanged(server, data[:1], data[1:], rest_s=REST_S)
    assert whole == exchanged(server, data[:-20], data[-20:], rest_s=REST_S)
    assert whole.startswith(b"HTTP/1.1 200") or name not in GOOD


@settings(max_examples=80)
@given(data=st.data())
def test_damaged_requests_are_equal_whole_and_in_pieces(
    server: Gunicorn, token: str, data: st.DataObject
) -> None:
    """Bytes inserted, lost or changed in head or body."""
    good = with_token(GOOD[data.draw(st.sampled_from(sorted(GOOD)))], token)
    damaged = damaged_by(data, good)
    whole, in_pieces = exchanged(server, damaged), exchanged(server, damaged[:1], damaged[1:])
    held = exchanged(server, damaged[:-20], damaged[-20:])
    assert whole.split(b"HTTP/1.1 ")[:2] == in_pieces.split(b"HTTP/1.1 ")[:2]
    assert whole.split(b"HTTP/1.1 ")[:2] == held.split(b"HTTP/1.1 ")[:2]


def test_a_body_that_does_not_come_is_waited_for_as_ever(server: Gunicorn, token: str) -> None:
    data = with_token(GOOD["npy"], token)
    with closing(socket.create_connection(("127.0.0.1", server.ports["iap"]))) as connection:
        connection.settimeout(10)
        time.sleep(0.05)
        connection.sendall(data[:-300])
        time.sleep(HELD_S + 0.5)  # by now it is gunicorn's
        connection.sendall(data[-300:])
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
        connection.sendall(data)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_connection_goes_on_after_either_way(server: Gunicorn, token: str) -> None:
    data = with_token(GOOD["form"], token)
    with closing(socket.create_connection(("127.0.0.1", server.ports["iap"]))) as connection:
        connection.settimeout(5)
        for parts in ((data,), (data[:50], data[50:]), (data,), (data + data,), (data,)) * 3:
            for part in parts:
                connection.sendall(part)
                time.sleep(0.01)
            expected = sum(len(part) for part in parts) // len(data)
            received = b""
            while received.count(b"model_prediction") < expected:
                received += connection.recv(65536)
            assert received.count(b"HTTP/1.1 200 OK") == expected


MANY = 60
# Together several turns of the event loop.
DEAR = request(npy([ROW] * 1500), target=V1, kind="application/x-npy")


@contextlib.contextmanager
def all_at_once(server: Gunicorn, token: str, data: bytes) -> Iterator[list[socket.socket]]:
    """Connections on which `data` waits for the worker when it goes on."""
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(MANY):
            one = socket.create_connection(("127.0.0.1", server.ports["iap"]), timeout=20)
            connections.append(stack.enter_context(closing(one)))
            one.sendall(with_token(GOOD["form"], token))
            assert received(one).startswith(b"HTTP/1.1 200 OK")
        (worker,) = server.workers()
        worker.suspend()
        stack.callback(worker.resume)
        # Whatever of it does not fit between the two is sent as the worker reads.
        senders = [threading.Thread(target=one.sendall, args=(data,)) for one in connections]
        for sender in senders:
            sender.start()
        time.sleep(0.2)
        worker.resume()
        for sender in senders:
            sender.join()
        yield connections


def received(connection: socket.socket) -> bytes:
    """One answer; what there is of it where the connection ends before."""
    data = b""
    while not complete(data):
        more = connection.recv(1 << 20)
        if not more:
            break
        data += more
    return data


def test_all_that_come_at_once_are_answered(server: Gunicorn, token: str) -> None:
    """One leaves, and one sends a second request before its answer: it gets both."""
    data, second = with_token(DEAR, token), with_token(GOOD["form"], token)
    expected = body_of(exchanged(server, data))
    with all_at_once(server, token, data) as connections:
        connections.pop().close()
        connections[0].sendall(second)
        for connection in connections:
            assert body_of(received(connection)).startswith(expected)
            assert connection is connections[0] or connection.send(second)
            assert b"model_prediction" in received(connection)


def test_what_waits_when_the_worker_is_told_to_stop_is_answered(
    gunicorn: Callable[..., Gunicorn], iap_key: Signer
) -> None:
    server = gunicorn(SKFLEET_WORKERS="1")
    token = iap_key.sign(iap_claims())
    data = with_token(DEAR, token)
    with all_at_once(server, token, data) as connections:
        server.process.send_signal(signal.SIGTERM)
        answers = [received(connection) for connection in connections]
    assert {answer[:15] for answer in answers} == {b"HTTP/1.1 200 OK"}
    assert len({body_of(answer) for answer in answers}) == 1


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]
