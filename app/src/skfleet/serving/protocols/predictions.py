"""Labels and probabilities of rows, as every protocol asks for them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from math import isfinite
from typing import Any

from skfleet.backends import Model
from skfleet.serving.errors import BadRequest, InvalidRows

log = logging.getLogger("skfleet.predictions")

# What backends raise for a row whose numbers they cannot take; scikit-learn's own is a ValueError.
UNANSWERABLE = (ArithmeticError, ValueError)

Rows = Sequence[Sequence[Any]]
Probabilities = Sequence[Sequence[float]]
Prediction = tuple[list[Any], Probabilities | None]


def require_probabilities(model: Model, where: str) -> None:
    """Raise BadRequest where the model has none to give."""
    if not model.manifest.has_probabilities:
        raise BadRequest(
            f"Model '{model.name}' gives no probabilities.",
            where=where,
            hint="Ask for labels alone.",
        )


def predict(
    model: Model,
    rows: Rows,
    *,
    labels: bool = True,
    probabilities: bool = False,
    where: str = "parameters",
    path: str = "row[{row}]",
) -> Prediction:
    """Return (labels, probabilities), each where it is asked for; labels are empty otherwise.

    Raises BadRequest where the model has no probabilities, and InvalidRows, with `path` of the row, where
    a row that passed its checks has no answer: its numbers overflow the model's arithmetic.
    """
    if probabilities:
        require_probabilities(model, where)
    try:
        return _answer(model, rows, labels, probabilities)
    except UNANSWERABLE as error:
        index = _first_failure(model, rows, labels, probabilities)
        if index is None:
            raise
        log.debug("row %d has no answer", index, exc_info=error)
        raise InvalidRows(
            "The row's values overflow the model's arithmetic.",
            where=path.format(row=index),
            hint="Send values like those the model was trained on.",
        ) from None


def require_finite_labels(model: Model, labels: Sequence[Any]) -> None:
    """Raise FloatingPointError unless all labels are classes, or numbers that JSON has."""
    if model.manifest.kind == "regressor" and not all(map(_is_finite, labels)):
        raise FloatingPointError("a prediction is not a finite number")


def _answer(model: Model, rows: Rows, labels: bool, probabilities: bool) -> Prediction:
    found = model.backend.predict(rows) if labels else []
    require_finite_labels(model, found)
    if not probabilities:
        return found, None
    numbers = model.backend.predict_proba(rows)
    if not all(map(_is_finite, numbers)):
        raise FloatingPointError("a probability is not a finite number")
    return found, numbers


def _is_finite(value: Any) -> bool:
    return all(map(isfinite, value)) if isinstance(value, list) else isfinite(value)


def _first_failure(model: Model, rows: Rows, labels: bool, probabilities: bool) -> int | None:
    """The first row without an answer, by halves, for the price of one more answer to all.

    None where the model itself is what fails.
    """

    def fails(some: Rows) -> bool:
        try:
            _answer(model, some, labels, probabilities)
        except UNANSWERABLE:
            return True
        return False

    if fails(model.manifest.golden.rows[:1]):
        return None
    start, end = 0, len(rows)
    while end - start > 1:
        middle = (start + end) // 2
        if fails(rows[start:middle]):
            end = middle
        else:
            start = middle
    return start if fails(rows[start:end]) else None
