"""What a fitted estimator becomes on a VM: positional for scikit-learn, coefficients, ONNX.

Nothing here is trusted to be right: `proving` holds each form against the estimator as it was given.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from skfleet.documents.manifest import Feature
from skfleet_operator.models import onnx_boosting

LOGISTIC = frozenset({"LogisticRegression", "LogisticRegressionCV"})
REGRESSORS = frozenset(
    "LinearRegression Ridge RidgeCV Lasso LassoCV ElasticNet ElasticNetCV LinearSVR HuberRegressor".split()
)
LABELS_ONLY = frozenset(
    "LinearSVC RidgeClassifier RidgeClassifierCV Perceptron PassiveAggressiveClassifier".split()
)


def positional(estimator: Any) -> Any:
    """A copy that takes columns by position: no pandas on a VM, and no names to compare at each call."""
    result = copy.deepcopy(estimator)
    for part in parts(result):
        names = part.__dict__.pop("feature_names_in_", None)
        part.__dict__.pop("_sklearn_output_config", None)
        if type(part).__name__ == "ColumnTransformer":
            place = {name: index for index, name in enumerate([] if names is None else names)}
            indices = part._transformer_to_input_indices
            part.transformers_ = [
                (name, transformer, _by_place(columns, indices.get(name), place))
                for name, transformer, columns in part.transformers_
            ]
            # `transformers` may hold a callable that chose columns; what it chose is in `_columns`.
            part._columns = [list(indices[name]) for name, _, _ in part.transformers]
            part.transformers = [
                (name, transformer, list(indices[name]))
                for name, transformer, _ in part.transformers
            ]
            label, transformer, columns = part._remainder
            part._remainder = (label, transformer, _by_place(columns, indices.get(label), place))
    return result


def _by_place(columns: Any, indices: Any, place: dict[Any, int]) -> Any:
    if np.isscalar(columns):  # one column as one dimension
        return place.get(columns, columns)
    if indices is not None:
        return [int(index) for index in indices]
    return columns


def parts(estimator: Any) -> Iterator[Any]:
    """Every scikit-learn object that hangs on this one, itself included."""
    return _parts(estimator, set())


def _parts(value: Any, seen: set[int]) -> Iterator[Any]:
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, dict):
        children: list[Any] = list(value.values())
    elif isinstance(value, (list, tuple)):
        children = list(value)
    elif isinstance(value, np.ndarray) and value.dtype == object:
        children = list(value.ravel())
    elif type(value).__module__.startswith("sklearn.") and hasattr(value, "__dict__"):
        yield value
        children = list(value.__dict__.values())
    else:
        return
    for child in children:
        yield from _parts(child, seen)


def to_linear(estimator: Any) -> bytes | None:
    """`linear.json` of an estimator that is a dot product and a link, or None where there is no such form."""
    form = _linear(estimator)
    return None if form is None else json.dumps(form).encode()


def _linear(estimator: Any) -> dict[str, Any] | None:
    name = type(estimator).__name__
    if name == "Pipeline":
        return _scaled(estimator)
    if name == "OneVsRestClassifier" and not estimator.multilabel_:
        each = estimator.estimators_
        if len(each) < 3 or any(type(part).__name__ not in LOGISTIC for part in each):
            return None
        weights = np.vstack([part.coef_ for part in each])
        intercept = np.concatenate([part.intercept_ for part in each])
        return _form(weights, intercept, "ovr", estimator.classes_)
    if name in LOGISTIC:
        link = "logit"
    elif name in LABELS_ONLY:
        link = "none"
    elif name in REGRESSORS:
        link = "identity"
    else:
        return None
    if np.ndim(getattr(estimator, "classes_", [0])) != 1:
        return None  # several outputs
    weights = np.atleast_2d(estimator.coef_)
    intercept = np.broadcast_to(np.ravel(estimator.intercept_), (len(weights),))
    return _form(weights, intercept, link, getattr(estimator, "classes_", np.zeros(0)))


def _scaled(pipeline: Any) -> dict[str, Any] | None:
    """A pipeline of StandardScalers before a linear model: the scaling folded into the coefficients."""
    *scalers, (_, last) = pipeline.steps
    form = _linear(last)
    if form is None or any(type(step).__name__ != "StandardScaler" for _, step in scalers):
        return None
    weights, intercept = np.asarray(form["coefficients"]), np.asarray(form["intercept"])
    for _, scaler in reversed(scalers):
        weights = weights / (1.0 if scaler.scale_ is None else scaler.scale_)
        if scaler.mean_ is not None and scaler.with_mean:
            intercept = intercept - weights @ scaler.mean_
    return {**form, "coefficients": weights.tolist(), "intercept": intercept.tolist()}


def _form(weights: Any, intercept: Any, link: str, classes: Any) -> dict[str, Any]:
    return {
        "coefficients": np.asarray(weights, dtype=float).tolist(),
        "intercept": np.asarray(intercept, dtype=float).tolist(),
        "classes": [plain_label(label) for label in classes],
        "link": link,
    }


def plain_label(label: Any) -> Any:
    """A class as JSON has it: whole numbers are whole whatever their type in training was."""
    value = label.item() if hasattr(label, "item") else label
    return int(value) if isinstance(value, float) and value.is_integer() else value


def to_onnx(estimator: Any, features: Sequence[Feature], double: bool) -> bytes | None:
    """`model.onnx` of a positional estimator, or None where skl2onnx has no form for it.

    In double precision the graph computes what scikit-learn computes, but not every operator has it.
    """
    try:
        from skl2onnx import to_onnx as convert
        from skl2onnx.common.data_types import (
            DoubleTensorType,
            FloatTensorType,
            StringTensorType,
        )
    except ImportError:
        return None
    number = DoubleTensorType if double else FloatTensorType
    if any(feature.categories is not None for feature in features):
        inputs = [
            (f"c{i}", (number if feature.categories is None else StringTensorType)([None, 1]))
            for i, feature in enumerate(features)
        ]
    else:
        inputs = [("rows", number([None, len(features)]))]
    for options in ({id(estimator): {"zipmap": False}}, None):
        try:
            with onnx_boosting.mended():
                made: bytes = convert(
                    estimator, initial_types=inputs, options=options
                ).SerializeToString()
        except Exception:  # noqa: BLE001, S112 - it fails in as many ways as there are estimators
            continue
        return made
    return None
