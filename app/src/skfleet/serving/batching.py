"""Concurrent rows of one model answered together, off the event loop.

For models whose single row takes long: scikit-learn spends most of it before and after the arithmetic, so
64 rows cost little more than one. While a batch is answered in a thread, the rows of other requests gather:
they are the next batch. So a row waits for one running batch at most, and at low load for nothing: there is
no timer. Rows were checked before they come here; where a batch fails all the same, its rows are asked one
by one, and each request gets its own answer or failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

MAX_ROWS = 256  # a batch; what comes beyond waits for the next

Row = Sequence[Any]
Predict = Callable[[list[Row]], list[Any]]
Outcome = tuple[list[Any] | None, BaseException | None]


class Batcher:
    """Batches for one model, on one event loop; its one thread starts with the first row."""

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._thread = ThreadPoolExecutor(1, "skfleet-batch")
        self._waiting: list[tuple[Sequence[Row], asyncio.Future[list[Any]]]] = []
        self._running: asyncio.Task[None] | None = None

    async def predict(self, rows: Sequence[Row]) -> list[Any]:
        """The labels of one request's rows; raises what the model raises on them."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()
        self._waiting.append((rows, future))
        if self._running is None:
            self._running = loop.create_task(self._run(loop))
        return await future

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while self._waiting:
                batch = self._take()
                asked = [rows for rows, _ in batch]
                try:
                    outcomes = await loop.run_in_executor(
                        self._thread, answer, self._predict, asked
                    )
                except RuntimeError as ended:  # the interpreter ends; nobody may wait for ever
                    outcomes = [(None, ended)] * len(batch)
                for (_, future), (labels, error) in zip(batch, outcomes, strict=True):
                    if future.done():
                        continue  # its caller has left
                    if error is not None:
                        future.set_exception(error)
                    else:
                        future.set_result(labels or [])
        finally:
            self._running = None

    def _take(self) -> list[tuple[Sequence[Row], asyncio.Future[list[Any]]]]:
        count = size = 0
        for rows, _ in self._waiting:
            if count and size + len(rows) > MAX_ROWS:
                break
            count += 1
            size += len(rows)
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def answer(predict: Predict, requests: Sequence[Sequence[Row]]) -> list[Outcome]:
    """Labels or failure of each request: together, or one by one where together fails."""
    try:
        labels = predict([row for rows in requests for row in rows])
    except Exception as error:  # noqa: BLE001 - each request gets its own
        if len(requests) == 1:
            return [(None, error)]
        return [outcome for rows in requests for outcome in answer(predict, [rows])]
    outcomes: list[Outcome] = []
    at = 0
    for rows in requests:
        outcomes.append((labels[at : at + len(rows)], None))
        at += len(rows)
    return outcomes
