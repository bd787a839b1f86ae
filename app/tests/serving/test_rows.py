"""Rows are judged by the manifest's features alone, and the answer names the place."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.errors import InvalidRows
from skfleet.serving.protocols.rows import RowCheck

BITS = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(3)]
MIXED = [
    Feature(name="age", low=0, high=120, integer=True),
    Feature(name="share", low=-0.5, high=0.5),
]


@pytest.mark.parametrize("row", [[0, 1, 0], [0.0, 1.0, -0.0]])
def test_rows_in_range_are_accepted(row: list[float]) -> None:
    RowCheck(BITS).refuse([row], "x")


@pytest.mark.parametrize(
    ("features", "row", "where", "says"),
    [
        (BITS, [0, 1], "instances[0]", "has 2 values"),
        (BITS, [0, 1, 0, 1], "instances[0]", "has 4 values"),
        (BITS, [], "instances[0]", "has 0 values"),
        (BITS, [0, 2, 0], "instances[0][1]", "out of range"),
        (BITS, [0, 0.5, 0], "instances[0][1]", "not a whole number"),
        (BITS, [0, 1, math.nan], "instances[0][2]", "not a finite"),
        (BITS, [math.inf, 1, 0], "instances[0][0]", "not a finite"),
        (MIXED, [1.5, 0], "instances[0][0]", "not a whole number"),
        (MIXED, [1, 0.6], "instances[0][1]", "out of range"),
        (MIXED, [1, math.nan], "instances[0][1]", "not a finite"),
        (MIXED, [-1, 0], "instances[0][0]", "out of range"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(
    features: list[Feature], row: list[float], where: str, says: str
) -> None:
    with pytest.raises(InvalidRows, match=says) as refused:
        RowCheck(features).refuse([row], "instances[{row}]")
    assert refused.value.where == where
    assert refused.value.hint


def test_the_place_counts_rows() -> None:
    with pytest.raises(InvalidRows) as refused:
        RowCheck(BITS).refuse([[0, 0, 0], [0, 0, 7]], "instances[{row}]")
    assert refused.value.where == "instances[1][2]"


numbers = st.floats(allow_nan=True) | st.integers(-3, 3).map(float)


@given(st.lists(numbers, max_size=4))
def test_the_quick_check_decides_as_the_definition_does(row: list[float]) -> None:
    by_definition = len(row) == 3 and all(value in (0, 1) for value in row)
    assert RowCheck(BITS).accepts(row) == by_definition


@given(st.lists(numbers, min_size=2, max_size=2))
def test_what_is_not_accepted_is_always_explained(row: list[float]) -> None:
    check = RowCheck(MIXED)
    if check.accepts(row):
        check.refuse([row], "x")
    else:
        with pytest.raises(InvalidRows):
            check.refuse([row], "x")
