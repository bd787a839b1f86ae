"""When two answers are the same: labels equal, numbers within a tolerance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def find_wrong_row(
    body: Any, expected: Mapping[int, tuple[Any, Sequence[float]]], tolerance: float
) -> str:
    """Why a V1 response is not the answer to known rows; empty where it is right.

    `expected`: row number → label (or number, or several) and probabilities (none of a regressor), in the
    order in which the rows were asked.
    """
    if not isinstance(body, Mapping):
        return "the body is not a JSON object"
    labels = body.get("predictions")
    probabilities = body.get("probabilities") or [[] for _ in expected]
    if not isinstance(labels, list) or len(labels) != len(expected):
        return f"{len(expected)} rows give predictions {str(labels)[:100]}"
    if not isinstance(probabilities, list) or len(probabilities) != len(expected):
        return f"{len(expected)} rows give probabilities {str(probabilities)[:100]}"
    answers = zip(expected.items(), labels, probabilities, strict=True)
    for (number, (label, wanted)), got, given in answers:
        if not is_same_json(got, label, tolerance):
            return f"row {number} gives {got}, not {label}"
        if not is_same_json(given, wanted, tolerance):
            return f"row {number} gives probabilities {given}, not {wanted}"
    return ""


def is_same_json(got: Any, wanted: Any, tolerance: float) -> bool:
    """As `same_label`, of a value from outside, which may have any type."""
    try:
        return same_label(got, wanted, tolerance)
    except TypeError:  # neither a list nor a number
        return False


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
