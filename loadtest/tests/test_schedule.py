"""The open schedule: it holds its rate, changes it at any instant, and sees what a closed loop cannot."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from skfleet_loadtest.arrivals import BLOCK, Timeline, constant, poisson, schedule
from skfleet_loadtest.histogram import Histogram
from skfleet_loadtest.profiles import DEFAULTS, asked, make


@given(st.integers(0, 10_000), st.integers(1, 50))
def test_poisson_arrivals_come_in_order_and_hold_their_count(seed: int, blocks: int) -> None:
    drawn = list(itertools.islice(poisson(random.Random(seed)), blocks * BLOCK))  # noqa: S311
    assert drawn == sorted(drawn)
    assert (blocks - 1) * BLOCK <= drawn[-1] < blocks * BLOCK


def test_poisson_gaps_scatter_as_independent_callers_do() -> None:
    drawn = list(itertools.islice(poisson(random.Random(1)), 20_000))  # noqa: S311
    gaps = [b - a for a, b in itertools.pairwise(drawn)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert 0.95 < deviation / mean < 1.05  # 1 for a Poisson process, 0 for a metronome


def test_workers_draw_different_arrivals_and_a_seed_the_same() -> None:
    first, again, other = (
        list(itertools.islice(schedule("poisson", 7, worker, 2), 50)) for worker in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_the_metronomes_of_workers_interleave() -> None:
    merged = sorted(
        itertools.chain(*(itertools.islice(schedule("constant", 1, w, 4), 10) for w in range(4)))
    )
    assert {round(b - a, 9) for a, b in itertools.pairwise(merged)} == {0.25}


@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(0, 200)), min_size=1, max_size=8))
def test_a_changing_rate_yields_the_integral_of_the_rate(parts: list[tuple[float, int]]) -> None:
    timeline, now, area = Timeline(), 0.0, 0.0
    for length, rate in parts:
        timeline.change(now, rate)
        now += length
        area += length * rate
    timeline.change(now, 0)
    count = sum(1 for _ in itertools.takewhile(lambda p: timeline.due(p) <= now, constant(0.5)))
    assert abs(count - area) <= 1


def test_an_arrival_that_was_due_before_a_change_keeps_its_time() -> None:
    timeline = Timeline()
    timeline.change(0, 10)
    timeline.change(1.0, 1000)
    assert timeline.due(9) == 0.9
    assert timeline.due(10.5) == 1.0005


def test_every_profile_asks_for_its_peak_and_no_more() -> None:
    for name, default in DEFAULTS.items():
        profile = make(name, default.rate, default.duration_s)
        rates = [profile.rate(t) for t in range(int(default.duration_s))]
        assert max(rates) == default.rate
        assert min(rates) >= 1
        assert asked(profile, 0, default.duration_s) == sum(rates)


def _frozen_fleet(starts: list[float], frozen: tuple[float, float]) -> list[float]:
    """Response times of a fleet that answers in 10 ms, but for one pause."""
    return [(frozen[1] - start if frozen[0] <= start < frozen[1] else 0) + 0.01 for start in starts]


def test_a_freeze_is_seen_by_the_schedule_and_missed_by_a_closed_loop() -> None:
    frozen, end = (10.0, 15.0), 30.0
    due = [position / 100 for position in itertools.islice(constant(0.0), int(end * 100))]
    open_times = Histogram()
    for seconds in _frozen_fleet(due, frozen):
        open_times.add(seconds)

    closed_times = Histogram()  # ten users, each asks ten times a second once it was answered
    for user in range(10):
        now = user / 100
        while now < end:
            (seconds,) = _frozen_fleet([now], frozen)
            closed_times.add(seconds)
            now = max(now + seconds, now + 0.1)

    open_p90, closed_p90 = open_times.percentile(90), closed_times.percentile(90)
    assert open_p90 is not None
    assert open_p90 > 400
    assert closed_p90 is not None
    assert closed_p90 < 20
