"""When two answers are the same: labels equal, numbers within a tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# NumPy is imported where it is needed: an image's own service has none.


def same_label(got: Any, wanted: Any, tolerance: float) -> bool:
    """Classes are equal; a regressor's number is near; of several outputs each."""
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(
            same_label(a, b, tolerance) for a, b in zip(got, wanted, strict=True)
        )
    if type(wanted) is float:
        return bool(abs(got - wanted) <= tolerance * max(1.0, abs(wanted)))
    return type(got) is type(wanted) and bool(got == wanted)


def first_difference(
    got: tuple[Sequence[Any], Sequence[Sequence[float]]],
    wanted: tuple[Sequence[Any], Sequence[Sequence[float]]],
    tolerance: float,
) -> tuple[int | None, float]:
    """(first row that differs or None, largest difference of a number) of (labels, probabilities)."""
    import numpy as np

    labels, probabilities = got
    if len(labels) != len(wanted[0]) or len(probabilities) != len(wanted[1]):
        return 0, float("inf")
    first = next(
        (i for i, (a, b) in enumerate(zip(labels, wanted[0], strict=True))
         if not same_label(a, b, tolerance)),
        None,
    )  # fmt: skip
    largest = _largest_of_numbers(labels, wanted[0])
    if len(wanted[1]):
        a, b = np.asarray(probabilities, dtype=float), np.asarray(wanted[1], dtype=float)
        if a.shape != b.shape:
            return 0, float("inf")
        apart = np.abs(a - b).max(axis=1)
        largest = max(largest, float(apart.max()))
        # `not <=`, so that NaN counts as different.
        beyond = np.flatnonzero(~(apart <= tolerance))
        if len(beyond):
            first = int(beyond[0]) if first is None else min(first, int(beyond[0]))
    return first, largest


def _largest_of_numbers(got: Sequence[Any], wanted: Sequence[Any]) -> float:
    import numpy as np

    flat = [value for label in wanted for value in (label if isinstance(label, list) else [label])]
    if not flat or not all(type(value) is float for value in flat):
        return 0.0
    a = np.asarray(got, dtype=float).ravel()
    b = np.asarray(flat)
    return float((np.abs(a - b) / np.maximum(1.0, np.abs(b))).max()) if len(a) == len(b) else np.inf
