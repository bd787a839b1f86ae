"""Polling: the one loop that waits for something outside this process, and the one that repeats.

Threads, child processes and futures have waits of their own (`Event.wait`, `Popen.wait`, `asyncio.wait`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
Description = str | Callable[[], str]
Errors = tuple[type[Exception], ...]


def wait_until(
    check: Callable[[], T],
    timeout_s: float,
    describe: Description,
    *,
    interval_s: float = 0.1,
    ignore: Errors = (),
    sleep: Callable[[float], None] | None = None,
) -> T:
    """Return the first true value of `check`, which is called every `interval_s` and at least once.

    `describe`: the condition, for the error. Errors of the types `ignore` mean "not yet". `sleep`: gevent's,
    where gevent has not patched the process. Raises TimeoutError after `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    while not (value := _attempt(check, ignore, deadline, timeout_s, describe)):
        (sleep or time.sleep)(interval_s)
    return value


async def wait_until_async(
    check: Callable[[], T], timeout_s: float, describe: Description, *, interval_s: float = 0.01
) -> T:
    """As `wait_until`, on an event loop; an `interval_s` of 0 is one turn of the loop."""
    deadline = time.monotonic() + timeout_s
    while not (value := _attempt(check, (), deadline, timeout_s, describe)):
        await asyncio.sleep(interval_s)
    return value


def repeat_every(interval_s: float) -> Iterator[None]:
    """Yield once each interval, for ever; a slow step makes the next one later, never two at once."""
    while True:
        began = time.monotonic()
        yield
        time.sleep(max(0.0, began + interval_s - time.monotonic()))


def _attempt(
    check: Callable[[], T], ignore: Errors, deadline: float, timeout_s: float, describe: Description
) -> T | None:
    """The value of `check`, None for an ignored error; raises TimeoutError for neither past the deadline."""
    value, error = None, None
    try:
        value = check()
    except ignore as caught:
        error = caught
    if not value and time.monotonic() >= deadline:
        awaited = describe if isinstance(describe, str) else describe()
        reason = f" The last error was {type(error).__name__}: {error}" if error else ""
        raise TimeoutError(
            f"Waiting for {awaited} failed because it took more than {timeout_s:g} s.{reason}"
        ) from error
    return value
