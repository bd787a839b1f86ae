"""scikit-learn itself, from a skops file: every estimator that has no faster form.

What a file may contain is this server's own list, never read from the artefact.
"""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import skops.io
from sklearn.exceptions import InconsistentVersionWarning

from skfleet.backends import structure
from skfleet.backends.base import Rows
from skfleet.backends.floats import FloatRange
from skfleet.documents.manifest import Manifest
from skfleet.errors import IntegrityError, SkfleetError, VersionMismatch

FILE_NAME = "model.skops"
# Types beyond skops' own defaults that this server loads; extend it here, by review. All are scikit-learn's
# own holders of numbers: none runs what a file says. `structure.check` refuses trees, neighbours and the like
# whose numbers would crash compiled code.
TRUSTED_TYPES: tuple[str, ...] = (
    # Categorical boosting checks its columns by a partial; what a partial calls must be trusted itself.
    "functools.partial",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
)


def _trusting() -> AbstractContextManager[None]:
    """As fast as scikit-learn goes: rows were validated before they came here. The caller's settings stay."""
    context: AbstractContextManager[None] = sklearn.config_context(
        assume_finite=True, skip_parameter_validation=True
    )
    return context


class SklearnBackend:
    """Answers with the estimator's own predict and predict_proba."""

    name = "sklearn"

    def __init__(self, estimator: Any, manifest: Manifest) -> None:
        self._estimator = estimator
        # Text stands beside numbers only in an array of objects.
        self._dtype: Any = object if manifest.mixed else np.float64
        self._number = manifest.kind == "regressor"
        self._range = FloatRange(manifest)

    def predict(self, rows: Rows) -> list[Any]:
        """Labels, shape (n,) or (n, outputs)."""
        with _trusting():
            found = np.asarray(self._estimator.predict(self._array(rows)))
        if self._number:
            found = found.astype(np.float64)
        elif found.dtype.kind == "f":  # classes that are whole numbers, whatever their type was
            found = found.astype(np.int64)
        labels: list[Any] = found.tolist()
        return labels

    def predict_proba(self, rows: Rows) -> list[list[float]]:
        """Probabilities, shape (n, classes of all outputs)."""
        with _trusting():
            values = self._estimator.predict_proba(self._array(rows))
        if isinstance(values, list):  # one array an output
            values = np.hstack(values)
        result: list[list[float]] = values.tolist()
        return result

    def _array(self, rows: Rows) -> Any:
        self._range.check(rows)
        return np.asarray(rows, dtype=self._dtype)


def load(directory: Path, manifest: Manifest) -> SklearnBackend:
    """The backend from `model.skops`; refuses other versions of scikit-learn and unknown types."""
    made_with = manifest.versions.get("scikit-learn")
    if made_with != sklearn.__version__:
        raise VersionMismatch(
            f"Model '{manifest.name}' was made with scikit-learn {made_with}, "
            f"this build has {sklearn.__version__}.",
            where=str(directory),
            hint="Train or import the model again with this build's version.",
        )
    path = directory / FILE_NAME
    try:
        return _load_skops(path, manifest)
    except SkfleetError:
        raise
    except Exception as error:  # what hostile or damaged bytes raise has no list
        raise IntegrityError(
            f"Model '{manifest.name}' cannot be read: {type(error).__name__}: {error}.",
            where=str(path),
            hint="Publish the model again.",
        ) from error


def _load_skops(path: Path, manifest: Manifest) -> SklearnBackend:
    unknown = set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES)
    if unknown:
        raise IntegrityError(
            f"Model '{manifest.name}' contains types this server does not trust: {sorted(unknown)}.",
            where=str(path),
            hint="Review them, then extend TRUSTED_TYPES in skfleet.backends.sklearn.",
        )
    structure.check_archive(str(path), str(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", InconsistentVersionWarning)
        estimator = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    structure.check(estimator, len(manifest.features), str(path))
    return SklearnBackend(estimator, manifest)
