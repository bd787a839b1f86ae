"""Concurrent rows are answered together; each request gets its own answer, and a bad one fails alone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from skfleet.polling import wait_until_async
from skfleet.serving.batching import MAX_ROWS, Batcher


class Model:
    """Doubles numbers, slowly where told; refuses negative ones as a broken estimator would."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.calls: list[int] = []
        self._seconds = seconds

    def __call__(self, rows: list[Any]) -> list[Any]:
        self.calls.append(len(rows))
        time.sleep(self._seconds)
        if any(row[0] < 0 for row in rows):
            raise ValueError("negative")
        return [row[0] * 2 for row in rows]


def gather(batcher: Batcher, *requests: list[list[int]]) -> list[Any]:
    async def all_of_them() -> list[Any]:
        waits = [batcher.predict(rows) for rows in requests]
        return await asyncio.gather(*waits, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_each_request_gets_its_own_rows() -> None:
    assert gather(Batcher(Model()), [[1]], [[2], [3]], [[4]]) == [[2], [4, 6], [8]]


def test_rows_that_come_together_are_asked_together() -> None:
    model = Model()
    gather(Batcher(model), *([[n]] for n in range(64)))
    assert model.calls == [64]


def test_rows_gather_while_a_batch_is_answered_and_wait_for_no_other() -> None:
    model = Model(0.05)
    batcher = Batcher(model)

    async def scenario() -> None:
        first = asyncio.create_task(batcher.predict([[1]]))
        await asyncio.sleep(0.01)
        rest = [asyncio.create_task(batcher.predict([[n]])) for n in range(20)]
        await asyncio.gather(first, *rest)

    asyncio.run(scenario())
    assert model.calls == [1, 20]


def test_a_batch_is_bounded() -> None:
    model = Model()
    gather(Batcher(model), *([[n]] for n in range(MAX_ROWS + 1)))
    assert model.calls == [MAX_ROWS, 1]


def test_one_bad_row_fails_alone() -> None:
    answers = gather(Batcher(Model()), [[1]], [[-1]], [[3]])
    assert answers[0] == [2]
    assert isinstance(answers[1], ValueError)
    assert answers[2] == [6]


def test_a_caller_that_leaves_takes_nobody_along() -> None:
    batcher = Batcher(Model(0.02))

    async def scenario() -> list[Any]:
        leaves = asyncio.create_task(batcher.predict([[1]]))
        stays = asyncio.create_task(batcher.predict([[2]]))
        await asyncio.sleep(0)
        leaves.cancel()
        return await stays

    assert asyncio.run(scenario()) == [4]


def test_the_event_loop_goes_on_while_a_model_thinks() -> None:
    entered, release = threading.Event(), threading.Event()

    def predict(rows: list[Any]) -> list[Any]:
        entered.set()
        assert release.wait(10)
        return [0 for _ in rows]

    async def scenario() -> list[Any]:
        task = asyncio.create_task(Batcher(predict).predict([[1]]))
        await wait_until_async(entered.is_set, 10, "the model")
        release.set()  # by the loop that a blocking predict would hold
        return await task

    assert asyncio.run(scenario()) == [0]


@pytest.fixture
def slow_backend(service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The small model as one that does not answer at once."""
    from skfleet.serving import fast

    monkeypatch.setattr(fast, "LOOP_ROW_US", -1.0)
    return service


def test_batched_answers_are_those_of_flask(
    slow_backend: Any, iap_header: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from skfleet.serving import fast

    from .calls import call
    from .lanes import LANES

    asked: list[int] = []
    real: Callable[..., Any] = Batcher.predict

    async def counted(self: Batcher, rows: Any) -> Any:
        asked.append(len(rows))
        return await real(self, rows)

    monkeypatch.setattr(fast.Batcher, "predict", counted)
    row = [0, 1] * 18 + [1]
    form = call(
        "POST", "/", b"x=" + str(row).encode(),
        content_type="application/x-www-form-urlencoded", **iap_header,
    )  # fmt: skip
    name = slow_backend.content.models.default
    several = call(
        "POST", f"/v1/models/{name}:predict", str({"instances": [row, row]}).replace("'", '"').encode(),
        content_type="application/json", **iap_header,
    )  # fmt: skip
    answers = {
        lane: [make(slow_backend)(r) for r in (form, form, several)] for lane, make in LANES.items()
    }
    for one, other in zip(*answers.values(), strict=True):
        assert (one.status, one.body) == (other.status, other.body) == (200, other.body)
    assert sorted(asked)[-1] == 2  # the fast lane did batch
