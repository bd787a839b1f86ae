"""One connection, request after request: gunicorn's way is left again as soon as the request is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.glogging import Logger

from skfleet.polling import wait_until_async
from skfleet.serving.fast import FastLane
from skfleet.serving.listeners import Listener
from skfleet.serving.probes import Probes
from skfleet.serving.service import Service
from skfleet.serving.worker import EARLY_BYTES, Protocol

from .conftest import Signer, iap_claims
from .test_whole import GOOD, NOT_PLAIN, ROW, V1, complete, npy, request, with_token

BAD = NOT_PLAIN["a bad row"]


class Lane(FastLane):
    """Counts what comes by gunicorn's way."""

    calls = 0

    async def __call__(self, *arguments: Any) -> None:
        self.calls += 1
        await super().__call__(*arguments)


class Wire(asyncio.Transport):
    """The other end: what was written."""

    def __init__(self, port: int) -> None:
        super().__init__({"sockname": ("127.0.0.1", port), "peername": ("127.0.0.1", 1)})
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def writelines(self, list_of_data: Any) -> None:
        self.written += b"".join(list_of_data)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.written += b"closed"

    @property
    def statuses(self) -> list[int]:
        """Of the answers that are whole."""
        found, rest = [], self.written
        while complete(rest):
            head, _, rest = rest.partition(b"\r\n\r\n")
            found.append(int(head[9:12]))
            length = head.lower().partition(b"content-length:")[2].split()[0]
            rest = rest[int(length) :]
        return found

    async def answers(self, count: int) -> None:
        """Returns in the turn of the event loop in which the last one was written."""
        await until(lambda: len(self.statuses) >= count)


async def until(condition: Callable[[], bool]) -> None:
    await wait_until_async(condition, 10, "the connection", interval_s=0)


Scenario = Callable[[Protocol, Wire, Lane], Coroutine[Any, Any, None]]
Run = Callable[[Scenario], None]


@pytest.fixture
def run(service: Service) -> Run:
    """A scenario with a new connection to the listener behind IAP."""
    ports = {listener: port for port, listener in service.ports.items()}

    async def connected(scenario: Scenario) -> None:
        lane, config = Lane(service), Config()
        config.set("keepalive", 5)
        worker: Any = SimpleNamespace(
            asgi=lane, cfg=config, log=Logger(config), loop=asyncio.get_running_loop(),
            nr_conns=0, nr=0, max_requests=2**31, alive=True, stopping=False, state={},
            connections=set(), share=SimpleNamespace(closed=lambda: None), probes=Probes(lane),
        )  # fmt: skip
        protocol, wire = Protocol(worker), Wire(ports[Listener.IAP])
        protocol.connection_made(wire)
        await scenario(protocol, wire, lane)
        if not protocol._conn_lost_handled:
            protocol.connection_lost(None)
        await asyncio.sleep(0.01)

    return lambda scenario: asyncio.run(connected(scenario))


@pytest.fixture
def token(iap_key: Signer) -> str:
    return iap_key.sign(iap_claims())


def test_a_request_that_comes_with_its_connection_is_answered_at_once(run: Run, token: str) -> None:
    async def scenario(protocol: Protocol, wire: Wire, lane: Lane) -> None:
        protocol.data_received(with_token(GOOD["form"], token))  # before the connection's task runs
        assert wire.statuses == [200]
        for count in (2, 3):
            await asyncio.sleep(0)
            protocol.data_received(with_token(GOOD["form"], token))
            assert len(wire.statuses) == count
        assert lane.calls == 0

    run(scenario)


BIG = request(npy([ROW] * 400), target=V1, kind="application/x-npy")  # more than is kept


@pytest.mark.parametrize(
    ("parts", "by_gunicorn"),
    [
        ([GOOD["form"]], 0),
        ([GOOD["form"][:9], GOOD["form"][9:]], 0),
        ([GOOD["form"] * 2], 2),
        ([BAD], 1),
        ([BIG], 1),
        ([BIG[:300], BIG[300:]], 1),
    ],
    ids=["whole", "in parts", "two", "bad", "big", "big in parts"],
)
def test_what_comes_before_the_last_is_put_away_is_answered_after_it(
    run: Run, token: str, parts: list[bytes], by_gunicorn: int
) -> None:
    # The token goes into each request, and the parts are cut anew where they were cut.
    whole = b"".join(with_token(one, token) for one in requests_of(b"".join(parts)))
    cut = len(whole) - sum(len(part) for part in parts[1:])
    pieces = [whole[:cut], whole[cut:]] if len(parts) > 1 else [whole]

    async def scenario(protocol: Protocol, wire: Wire, lane: Lane) -> None:
        protocol.data_received(with_token(BAD, token))
        await wire.answers(1)
        for piece in pieces:
            protocol.data_received(piece)
        expected = 1 + whole.count(b"HTTP/1.1\r\n")
        await wire.answers(expected)
        assert wire.statuses == [422] + [422 if parts == [BAD] else 200] * (expected - 1)
        assert lane.calls == 1 + by_gunicorn
        await until(lambda: protocol.idle)
        protocol.data_received(with_token(GOOD["form"], token))
        assert wire.statuses[-1] == 200
        assert lane.calls == 1 + by_gunicorn

    run(scenario)


def requests_of(data: bytes) -> list[bytes]:
    return [b"POST " + one for one in data.split(b"POST ")[1:]]


def test_a_caller_that_leaves_early_leaves_nothing(run: Run, token: str) -> None:
    async def scenario(protocol: Protocol, wire: Wire, lane: Lane) -> None:
        protocol.data_received(with_token(BAD, token))
        await wire.answers(1)
        protocol.data_received(with_token(GOOD["form"], token))
        protocol.connection_lost(None)
        await asyncio.sleep(0.05)
        assert wire.statuses == [422]
        assert lane.calls == 1

    run(scenario)


def test_more_than_is_kept_is_more_than_that() -> None:
    assert len(BIG) > EARLY_BYTES
