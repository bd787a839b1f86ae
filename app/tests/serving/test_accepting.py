"""Connections are shared out evenly, and none waits for a worker that does not come."""

from __future__ import annotations

import asyncio
import socket

import pytest

from skfleet.polling import wait_until_async
from skfleet.serving import accepting
from skfleet.serving.accepting import LEAD, LEAD_PART, SLOTS, Acceptor, Share


@pytest.fixture
def slots() -> memoryview:
    return memoryview(bytearray(SLOTS * 4)).cast("i")


def test_a_worker_that_is_ahead_leaves_connections_to_others(slots: memoryview) -> None:
    one, other = Share(1, slots), Share(2, slots)
    for _ in range(LEAD):
        one.opened()
    assert not one.ahead()
    one.opened()
    assert one.ahead()
    assert not other.ahead()
    other.opened()
    assert not one.ahead()


def test_a_worker_may_be_ahead_by_a_part_of_what_another_has(slots: memoryview) -> None:
    one, other = Share(1, slots), Share(2, slots)
    for _ in range(5 * LEAD_PART):
        one.opened()
        other.opened()
    for _ in range(5):
        one.opened()
    assert not one.ahead()
    one.opened()
    assert one.ahead()


def test_nobody_waits_for_workers_that_have_left(slots: memoryview) -> None:
    one, other = Share(1, slots), Share(2, slots)
    for _ in range(10):
        one.opened()
    other.leave()
    other.closed()
    assert not one.ahead()


class Nothing(asyncio.Protocol):
    """A connection that is only held."""


@pytest.mark.parametrize("others_come", [True, False])
def test_a_burst_is_shared_and_taken_whole(slots: memoryview, others_come: bool) -> None:
    """Two acceptors of one socket stand for two workers; a silent second one costs a moment, no caller."""
    calls = 20

    async def scenario() -> tuple[int, int]:
        loop = asyncio.get_running_loop()
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(100)
            one, other = Share(1, slots), Share(2, slots)
            second = listening.dup()
            acceptors = [Acceptor(loop, listening, Nothing, one)]
            if others_come:
                acceptors.append(Acceptor(loop, second, Nothing, other))
            clients = [socket.create_connection(listening.getsockname()) for _ in range(calls)]
            await wait_until_async(lambda: slots[1] + slots[2] - 2 >= calls, 10, "all calls")
            for acceptor in acceptors:
                acceptor.close()
            for client in clients:
                client.close()
            second.close()
            return slots[1] - 1, slots[2] - 1

    mine, others = asyncio.run(scenario())
    assert mine + others == calls
    assert abs(mine - others) <= 2 * LEAD + 1 if others_come else mine == calls


def test_the_master_forgets_a_worker_that_was_killed() -> None:
    Share(77)
    accepting.forget(77)
    assert accepting._shared[77] == 0
