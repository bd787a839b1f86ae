"""Overload is shed at once with 429, and health is exempt."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from typing import Any

from skfleet.serving.admission import LEAST, SHED_CPU_S, TARGET_SHARE, Admission
from skfleet.serving.fast import FastLane

from .calls import call
from .lanes import LANES


class Clock:
    """Time and CPU time as a test lets them pass."""

    def __init__(self) -> None:
        self.now = self.cpu = 0.0

    def work(
        self, admission: Admission, requests: int, seconds_each: float, busy: float = 1.0
    ) -> None:
        """So many requests one after the other, each of so much CPU time."""
        for _ in range(requests):
            assert admission.enter()
            self.now += seconds_each / busy
            self.cpu += seconds_each
            admission.leave()


def clocked(limit: int) -> tuple[Admission, Clock]:
    clock = Clock()
    return Admission(limit, lambda: clock.now, lambda: clock.cpu, OBJECTIVE_S), clock


OBJECTIVE_S = 0.4
TARGET_S = TARGET_SHARE * OBJECTIVE_S
FORM = "application/x-www-form-urlencoded"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()


def test_a_place_is_taken_and_given_back() -> None:
    admission = Admission(2)
    assert [admission.enter() for _ in range(3)] == [True, True, False]
    admission.leave()
    assert admission.enter()


def test_dear_requests_lower_the_cap_to_what_is_answered_in_time() -> None:
    admission, clock = clocked(256)
    clock.work(admission, 100, 0.010)
    assert admission.cap == round(TARGET_S / 0.010)


def test_cheap_requests_have_no_cap_but_the_limit() -> None:
    admission, clock = clocked(256)
    clock.work(admission, 10_000, 0.0001)
    assert admission.cap == 256


def test_places_never_run_out_however_dear_a_request_is() -> None:
    admission, clock = clocked(256)
    clock.work(admission, 3, 5.0)
    assert admission.cap == LEAST


def test_callers_that_send_slowly_do_not_lower_the_cap() -> None:
    """They hold places, and the worker has nothing to do."""
    admission, clock = clocked(256)
    clock.work(admission, 50, 0.010, busy=0.01)
    assert admission.cap == 256


def test_a_worker_that_is_idle_again_takes_all_even_if_nothing_leaves() -> None:
    admission, clock = clocked(256)
    clock.work(admission, 3, 5.0)
    for _ in range(LEAST):
        assert admission.enter()
    assert not admission.enter()
    clock.now += 1.0
    assert admission.enter()


def test_refusals_do_not_count_as_work() -> None:
    admission, clock = clocked(1)
    for _ in range(100):
        assert admission.enter()
        for _ in range(50):
            assert not admission.enter()
        clock.now += 0.003 + 50 * SHED_CPU_S
        clock.cpu += 0.003 + 50 * SHED_CPU_S
        admission.leave()
    assert admission._seconds is not None
    assert abs(admission._seconds - 0.003) < 1e-4


def test_as_many_may_wait_for_the_event_loop_as_are_answered_in_time() -> None:
    """Dear ones, which hold no place."""
    admission, clock = clocked(256)
    assert admission.waiting_cap == inf

    def answer(requests: int, busy: float = 1.0) -> None:
        for _ in range(requests):
            clock.now += 0.010 / busy
            clock.cpu += 0.010
            admission.passed()

    answer(100)
    assert admission.waiting_cap == round(TARGET_S / 0.010)
    for _ in range(1000):
        clock.now += SHED_CPU_S
        clock.cpu += SHED_CPU_S
        admission.shed()
    answer(100)
    assert admission.waiting_cap == round(TARGET_S / 0.010), "refusals are no work"
    answer(100, busy=0.1)
    assert admission.waiting_cap == inf, "a worker with little to do"
    assert admission.in_flight == 0


def test_a_full_worker_answers_429_and_still_its_health(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    service = make_service(max_in_flight=1)
    for make in LANES.values():
        ask = make(service)
        request = call("POST", "/", ROW, content_type=FORM, **iap_header)
        assert service.admission.enter()
        answer = ask(request)
        assert (answer.status, answer.json["code"]) == (429, "overloaded")
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["x-skfleet-release"] == "r1"
        for path, port in (("/livez", 8082), ("/readyz", 8082), ("/metrics", 8083)):
            assert ask(call("GET", path, port=port)).status == 200
        service.admission.leave()
        assert ask(request).status == 200
        # What the fast lane hands over takes one place, not two.
        assert ask(call("GET", "/v1/models/tiny", **iap_header)).status == 200


def test_every_way_out_gives_the_place_back(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    service = make_service(max_body_bytes=1024)
    requests = [
        call("POST", "/", ROW, content_type=FORM, **iap_header),
        call("POST", "/", ROW, content_type=FORM, **iap_header),
        call("POST", "/", ROW, content_type=FORM),
        call("POST", "/", b"x=1", content_type=FORM, **iap_header),
        call("POST", "/", b"x" * 2000, content_type=FORM, **iap_header),
        call("GET", "/nothing", **iap_header),
    ]
    for make in LANES.values():
        ask = make(service)
        for request in requests:
            ask(request)
            assert service.admission.in_flight == 0


def test_a_body_on_the_way_holds_no_place(service: Any, iap_header: dict[str, str]) -> None:
    LANES["flask"](service)(call("POST", "/", ROW, content_type=FORM, **iap_header))
    app = FastLane(service)
    messages = [
        {"type": "http.request", "body": b"x=[", "more_body": True},
        {"type": "http.disconnect"},
    ]
    request = call("POST", "/", content_type=FORM, **iap_header)
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "server": ("127.0.0.1", 8080),
        "headers": [(k.encode(), v.encode()) for k, v in request.all_headers()],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        # As many slow senders as there are places would otherwise be everybody's 429.
        assert service.admission.in_flight == 0
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 400  # for a client that is only slow; one that left hears nothing
    assert service.admission.in_flight == 0
