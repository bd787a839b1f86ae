"""The binomial tests against scipy's distribution, and their use: proof of a target, excess over chance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from skfleet_operator.binomial import (
    is_above_chance,
    probability_at_most,
    proves_target,
    requests_to_prove,
)


@given(st.integers(1, 100_000), st.floats(1e-5, 0.6), st.floats(0, 1))
def test_probability_is_scipys(trials: int, share: float, place: float) -> None:
    for count in (int(place * trials), int(place * 3 * trials * share)):
        expected = binom.cdf(count, trials, share)
        assert probability_at_most(count, trials, share) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(
    ("count", "share", "probability"),
    [(0, 0.0, 1.0), (3, -1e-12, 1.0), (9, 1.0, 0.0), (10, 1.0, 1.0), (10, 0.5, 1.0)],
)
def test_probability_at_the_ends_of_its_range(count: int, share: float, probability: float) -> None:
    assert probability_at_most(count, 10, share) == probability


def test_sample_size_is_that_of_the_binomial_bound() -> None:
    assert requests_to_prove(0.9995) == 5990
    assert not proves_target(0.9995, 5989, 0)
    assert 9400 < requests_to_prove(0.9995, 1) < 9600
    assert requests_to_prove(0.9) == 29


@given(st.floats(0.9, 0.9999), st.integers(0, 5))
def test_requests_to_prove_are_the_fewest(target: float, failures: int) -> None:
    count = requests_to_prove(target, failures)
    assert proves_target(target, count, failures)
    assert not proves_target(target, count - 1, failures)


@given(st.integers(1, 100_000), st.floats(1e-4, 0.4), st.sampled_from([0.95, 0.99]))
def test_more_failures_are_never_less_significant(
    total: int, share: float, confidence: float
) -> None:
    counts = range(0, min(total, 60) + 1, 3)
    marks = [is_above_chance(bad, total, share, confidence) for bad in counts]
    assert marks == sorted(marks)
    assert not is_above_chance(0, total, share, confidence)
    assert is_above_chance(total, total, share, confidence) or total * share < 5 or total < 3


@pytest.mark.parametrize(("failures", "share"), [(1, 0.0), (10, 0.999)])
def test_failures_beyond_what_the_share_allows_are_above_chance(
    failures: int, share: float
) -> None:
    assert is_above_chance(failures, 10, share) is (share == 0.0)
    assert not is_above_chance(failures, 10, 1.0), "and where every request fails none is"
