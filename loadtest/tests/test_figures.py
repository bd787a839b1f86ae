"""Counts merge exactly; durations keep their precision; statistics are those of the textbook."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from skfleet.declared import declared
from skfleet_loadtest.figures import Figures, decode, encode
from skfleet_loadtest.histogram import Histogram, bucket, highest, merged
from skfleet_loadtest.watch import ENOUGH, Burn

durations = st.lists(st.floats(0.000_001, 100), min_size=1, max_size=200)


@given(st.integers(0, 10**9))
def test_a_bucket_is_within_two_percent_of_its_values(microseconds: int) -> None:
    top = highest(bucket(microseconds))
    assert microseconds <= top <= max(microseconds * 1.02, microseconds + 1)


def test_buckets_are_in_the_order_of_their_values_without_a_gap() -> None:
    indices = [bucket(value) for value in range(5000)]
    assert indices == sorted(indices)
    assert set(indices) == set(range(indices[-1] + 1))


@given(st.lists(durations, min_size=1, max_size=5))
def test_merging_workers_is_counting_together(parts: list[list[float]]) -> None:
    together, separate = Histogram(), []
    for part in parts:
        one = Histogram()
        for seconds in part:
            one.add(seconds)
            together.add(seconds)
        separate.append(one)
    assert merged(separate).counts == together.counts


@given(durations, st.sampled_from([50, 90, 99, 100]))
def test_a_percentile_is_never_flattered(values: list[float], percent: int) -> None:
    histogram = Histogram()
    for seconds in values:
        histogram.add(seconds)
    ordered = sorted(values)
    exact = ordered[max(1, -(-len(values) * percent // 100)) - 1] * 1000
    found = histogram.percentile(percent)
    assert found is not None
    assert exact - 0.001 <= found <= exact * 1.02 + 0.002


def _figures(second: int, release: str, count: int) -> Figures:
    figures = Figures()
    cell = figures.cell(second, release)
    cell.requests = cell.right = cell.fast = count
    cell.durations = {bucket(1000): count}
    return figures


def test_reports_travel_and_merge_without_loss() -> None:
    leader = Figures()
    for second, release in itertools.product(range(3), ("a", "b")):
        leader.merge(decode(encode(_figures(second, release, 5))))
    assert leader.total().requests == 30
    assert leader.total(1, 3, "a").requests == 10
    assert leader.releases() == ["a", "b"]
    assert msgspec.to_builtins(leader.total())["durations"] == {bucket(1000): 30}


def test_a_burning_run_is_ended_and_a_healthy_one_is_not() -> None:
    burn = Burn(declared().slo, 0)
    burn.add(_figures(1, "a", ENOUGH))
    assert burn.reason(2) == ""
    bad = Figures()
    bad.cell(2, "a").requests = 20
    burn.add(bad)
    assert "burns" in burn.reason(3)


def test_a_fire_that_went_out_does_not_end_the_run() -> None:
    burn = Burn(declared().slo, 0)
    bad = Figures()
    bad.cell(2, "a").requests = 50
    burn.add(bad)
    for second in range(3, 40):
        burn.add(_figures(second, "a", 50))
    assert burn.reason(40) == ""
