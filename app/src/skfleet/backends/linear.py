"""Linear models compiled to their coefficients: a dot product and a link function.

File `linear.json`: `coefficients` (outputs, features), `intercept` (outputs,), `classes`, `link`. One output
of a classifier is binary. scikit-learn is not imported.
"""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfleet.backends.base import Rows
from skfleet.documents.manifest import Label, Manifest
from skfleet.errors import IntegrityError

FILE_NAME = "linear.json"
OVERFLOW = "a decision value is not a finite number"
# logit: logistic or softmax; ovr: a logistic a class, normalised; none: labels alone; identity: numbers.
LINKS = ("logit", "ovr", "none", "identity")


class LinearBackend:
    """Answers from coefficients; equal to scikit-learn within rounding."""

    name = "linear"

    def __init__(
        self,
        coefficients: npt.NDArray[np.float64],
        intercept: npt.NDArray[np.float64],
        classes: list[Label],
        link: str = "logit",
        several: bool = False,
    ) -> None:
        self._weights = np.ascontiguousarray(coefficients.T)
        self._intercept = intercept
        self._class_array = np.asarray(classes)
        self._link = link
        self._several = several
        # One row of a binary model is the common case, and NumPy's calls are most of its cost.
        self._binary = link != "identity" and len(coefficients) == 1
        self._only, self._bias = self._weights[:, 0].copy(), float(intercept[0])
        self._labels: list[Any] = self._class_array.tolist()

    def predict(self, rows: Rows) -> list[Any]:
        """Labels, shape (n,): the class of the largest decision value, as scikit-learn breaks ties.

        A regressor's numbers: shape (n,), or (n, outputs).
        """
        if self._binary and len(rows) == 1:
            score = self._only.dot(rows[0]) + self._bias
            if not isfinite(score):
                raise FloatingPointError(OVERFLOW)
            return [self._labels[1 if score > 0 else 0]]
        scores = self._scores(rows)
        if self._link == "identity":
            numbers: list[Any] = (scores if self._several else scores[:, 0]).tolist()
            return numbers
        binary = scores.shape[1] == 1
        index = (scores[:, 0] > 0).astype(np.intp) if binary else scores.argmax(axis=1)
        labels: list[Any] = self._class_array[index].tolist()
        return labels

    def predict_proba(self, rows: Rows) -> list[list[float]]:
        """Probabilities, shape (n, classes)."""
        scores = self._scores(rows)
        if scores.shape[1] == 1:
            positive = _logistic(scores[:, 0])
            probabilities = np.column_stack([1 - positive, positive])
        elif self._link == "ovr":
            each = _logistic(scores)
            probabilities = each / each.sum(axis=1, keepdims=True)
        else:
            shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        result: list[list[float]] = probabilities.tolist()
        return result

    def _scores(self, rows: Rows) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = (
            np.asarray(rows, dtype=np.float64) @ self._weights + self._intercept
        )
        # Of one row without NumPy, whose calls cost more; of many at once, where their sum does not overflow.
        if not (
            all(map(isfinite, scores[0].tolist()))
            if len(scores) == 1
            else isfinite(scores.sum()) or np.isfinite(scores).all()
        ):
            raise FloatingPointError(OVERFLOW)
        return scores


def _logistic(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    # exp never overflows: both forms of the logistic function, each where it is exact.
    result: npt.NDArray[np.float64] = np.exp(-np.logaddexp(0, -scores))
    return result


def load(directory: Path, manifest: Manifest) -> LinearBackend:
    """The backend from the artefact's `linear.json`."""
    try:
        form = json.loads((directory / FILE_NAME).read_bytes())
        link = form.get("link", "logit")
        if link not in LINKS:
            raise ValueError(f"link '{link}' is not known to this build")
        weights = np.asarray(form["coefficients"], dtype=np.float64)
        intercept = np.asarray(form["intercept"], dtype=np.float64)
        _check_shapes(weights, intercept, link, manifest)
        return LinearBackend(
            weights,
            intercept,
            manifest.classes,
            link,
            bool(manifest.outputs),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"The linear form of model '{manifest.name}' cannot be read: {error}.",
            where=str(directory / FILE_NAME),
            hint="Publish the model again.",
        ) from error


def _check_shapes(
    weights: npt.NDArray[np.float64],
    intercept: npt.NDArray[np.float64],
    link: str,
    manifest: Manifest,
) -> None:
    """Raise ValueError unless the numbers are finite and of the manifest's features and classes."""
    if weights.ndim != 2 or weights.shape[1] != len(manifest.features):
        raise ValueError(
            f"coefficients {weights.shape} are not of {len(manifest.features)} columns"
        )
    if intercept.shape != (len(weights),):
        raise ValueError(f"{intercept.shape} intercepts for {len(weights)} outputs")
    if not (np.isfinite(weights).all() and np.isfinite(intercept).all()):
        raise ValueError("a coefficient or intercept is not finite")
    classes = len(manifest.classes)
    if link != "identity" and len(weights) != (1 if classes == 2 else classes):
        raise ValueError(f"{len(weights)} outputs for {classes} classes")
