"""A turn of the event loop answers for so long; what is left waits in order, up to what may wait."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

from skfleet.serving.turns import TURN_S, WAITING_BYTES, Turns

ANSWER_S = TURN_S / 5


class Loop:
    """Requests that arrive on an event loop, of which each takes as long to answer as another."""

    def __init__(self) -> None:
        self.now = 0.0
        self.turns = Turns(1, lambda: self.now)
        self.answered: list[str] = []

    def arrive(self, *names: str) -> None:
        for name in names:
            if self.turns.has_time(self.now):
                self.answer(name)
            else:
                self.turns.put_off(self.answering(name), 0)

    def answering(self, name: str) -> Callable[[], None]:
        return lambda: self.answer(name)

    def answer(self, name: str) -> None:
        self.now += ANSWER_S
        self.answered.append(name)


def on_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def next_turn() -> None:
    await asyncio.sleep(0)


@on_a_loop
async def test_a_turn_answers_for_its_time_and_the_next_goes_on_in_order() -> None:
    loop = Loop()
    loop.arrive(*"abcdefgh")
    assert loop.answered == list("abcde")
    loop.arrive("i")
    await next_turn()
    assert loop.answered == list("abcdefghi")


@on_a_loop
async def test_what_arrives_later_is_answered_after_all_that_waits() -> None:
    loop = Loop()
    loop.arrive(*"abcdefghijklmn")
    await next_turn()
    loop.arrive("o")
    assert loop.answered == list("abcdefghij"), "one turn more, and the new one waits"
    await next_turn()
    assert loop.answered == list("abcdefghijklmno")


@on_a_loop
async def test_a_turn_with_nothing_left_over_is_the_last() -> None:
    loop = Loop()
    loop.arrive("a")
    await next_turn()
    loop.now += 60
    loop.arrive(*"bc")
    assert loop.answered == list("abc")


@on_a_loop
async def test_one_that_takes_longer_than_a_turn_is_answered_all_the_same() -> None:
    loop = Loop()
    loop.arrive("a")
    loop.now += 10 * TURN_S
    loop.arrive(*"bc")
    assert loop.answered == ["a"]
    await next_turn()
    assert loop.answered == list("abc")


@on_a_loop
async def test_one_that_fails_does_not_hold_up_those_behind_it() -> None:
    def fail() -> None:
        raise RuntimeError

    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    loop = Loop()
    loop.arrive(*"abcde")
    loop.turns.put_off(fail, 0)
    loop.arrive("f")
    await next_turn()
    loop.arrive("g")
    assert loop.answered == list("abcde"), "the turn has time, and f came first"
    await next_turn()
    assert loop.answered == list("abcdefg")


def test_as_many_wait_as_may_and_as_many_bytes() -> None:
    turns = Turns(2)
    share = WAITING_BYTES // 2
    assert turns.has_room(1, share)
    assert not turns.has_room(0, 1)
    assert not turns.has_room(1, share + 1)
    turns.put_off(lambda: None, 100)
    assert not turns.has_room(1, 1)
    assert turns.has_room(2, share - 100)
    assert not turns.has_room(2, share - 99)


@on_a_loop
async def test_room_is_given_back() -> None:
    turns = Turns(1)
    assert turns.has_time(0)
    turns.put_off(lambda: None, WAITING_BYTES)
    await next_turn()
    assert turns.has_room(1, WAITING_BYTES)
