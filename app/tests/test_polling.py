"""The wait loop: its first look, its last one, its errors and its pace."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

from skfleet import polling
from skfleet.polling import repeat_every, wait_until, wait_until_async


class Clock:
    """Time that passes where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(polling, "time", made)
    return made


def values(*given: object) -> Callable[[], object]:
    found: Iterator[object] = iter(given)

    def check() -> object:
        value = next(found)
        if isinstance(value, Exception):
            raise value
        return value

    return check


def test_wait_returns_the_first_true_value(clock: Clock) -> None:
    assert wait_until(values(0, "", "ready"), 5, "it", interval_s=0.5) == "ready"
    assert clock.pauses == [0.5, 0.5]


def test_wait_does_not_sleep_when_the_condition_holds_already(clock: Clock) -> None:
    assert wait_until(lambda: True, 0, "it")
    assert not clock.pauses


def test_wait_checks_once_more_at_its_end_and_names_the_condition(clock: Clock) -> None:
    seen = itertools.count()
    with pytest.raises(
        TimeoutError, match=r"^Waiting for 3 VMs failed because it took more than 1 s\.$"
    ):
        wait_until(
            lambda: next(seen) > 99,
            1,
            lambda: f"{next(seen)} VMs",
            interval_s=0.75,
            sleep=clock.sleep,
        )
    assert clock.pauses == [0.75, 0.75]


def test_wait_ignores_only_the_errors_that_mean_not_yet(clock: Clock) -> None:
    refused = ConnectionRefusedError("nobody listens")
    assert wait_until(values(refused, 1), 5, "it", ignore=(OSError,)) == 1
    with pytest.raises(ValueError, match="broken"):
        wait_until(values(ValueError("broken")), 5, "it", ignore=(OSError,))


def test_wait_reports_the_last_ignored_error(clock: Clock) -> None:
    refused = ConnectionRefusedError("nobody listens")
    with pytest.raises(TimeoutError, match=r"ConnectionRefusedError: nobody listens") as late:
        wait_until(values(refused), 0, "it", ignore=(OSError,))
    assert late.value.__cause__ is refused


def test_wait_on_an_event_loop_lets_other_tasks_run() -> None:
    async def scenario() -> str:
        done: list[str] = []
        asyncio.get_running_loop().call_soon(done.append, "ran")
        return (await wait_until_async(lambda: done, 5, "the callback", interval_s=0))[0]

    assert asyncio.run(scenario()) == "ran"
    with pytest.raises(TimeoutError, match="Waiting for it failed"):
        asyncio.run(wait_until_async(lambda: False, 0, "it"))


def test_repetition_keeps_its_pace_and_makes_up_for_nothing(clock: Clock) -> None:
    steps = repeat_every(2.0)
    for took in (0.5, 3.0, 0.0):
        next(steps)
        clock.now += took
    next(steps)
    assert clock.pauses == [1.5, 0.0, 2.0]


def test_wait_sleeps_as_it_is_told(clock: Clock) -> None:
    own: list[float] = []
    assert wait_until(values(0, 1), 5, "it", sleep=own.append)
    assert (own, clock.pauses) == ([0.1], [])
