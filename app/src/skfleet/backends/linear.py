"""Linear classifiers compiled to their coefficients: a dot product and a link function.

File `linear.json`: `coefficients` (outputs, features), `intercept` (outputs,), `classes`. One output is
binary (logistic link), several are multinomial (softmax); scikit-learn is not imported.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from skfleet.artifacts.manifest import Manifest
from skfleet.backends.base import Rows
from skfleet.errors import IntegrityError

FILE_NAME = "linear.json"


class LinearBackend:
    """Answers from coefficients; equal to scikit-learn within rounding."""

    name = "linear"

    def __init__(
        self,
        coefficients: npt.NDArray[np.float64],
        intercept: npt.NDArray[np.float64],
        classes: list[int],
    ) -> None:
        self._weights = np.ascontiguousarray(coefficients.T)
        self._intercept = intercept
        self._classes = classes
        self._class_array = np.asarray(classes)

    def predict(self, rows: Rows) -> list[int]:
        """Labels, shape (n,): the class of the largest decision value, as scikit-learn breaks ties."""
        scores = self._scores(rows)
        binary = scores.shape[1] == 1
        index = (scores[:, 0] > 0).astype(np.intp) if binary else scores.argmax(axis=1)
        labels: list[int] = self._class_array[index].tolist()
        return labels

    def predict_proba(self, rows: Rows) -> list[list[float]]:
        """Probabilities, shape (n, classes)."""
        scores = self._scores(rows)
        if scores.shape[1] == 1:
            # exp never overflows: both forms of the logistic function, each where it is exact.
            positive = np.exp(-np.logaddexp(0, -scores[:, 0]))
            probabilities = np.column_stack([1 - positive, positive])
        else:
            shifted = np.exp(scores - scores.max(axis=1, keepdims=True))
            probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        result: list[list[float]] = probabilities.tolist()
        return result

    def _scores(self, rows: Rows) -> npt.NDArray[np.float64]:
        scores: npt.NDArray[np.float64] = (
            np.asarray(rows, dtype=np.float64) @ self._weights + self._intercept
        )
        return scores


def load(directory: Path, manifest: Manifest) -> LinearBackend:
    """The backend from the artefact's `linear.json`."""
    try:
        form = json.loads((directory / FILE_NAME).read_bytes())
        return LinearBackend(
            np.asarray(form["coefficients"], dtype=np.float64).reshape(-1, len(manifest.features)),
            np.asarray(form["intercept"], dtype=np.float64),
            manifest.classes,
        )
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"The linear form of model '{manifest.name}' cannot be read: {error}.",
            where=str(directory / FILE_NAME),
            hint="Publish the model again.",
        ) from error


def compile_estimator(estimator: Any) -> bytes | None:
    """`linear.json` of a fitted LogisticRegression, or None where there is no such form."""
    if type(estimator).__name__ != "LogisticRegression":
        return None
    form = {
        "coefficients": estimator.coef_.tolist(),
        "intercept": estimator.intercept_.tolist(),
        "classes": estimator.classes_.tolist(),
    }
    return json.dumps(form).encode()
