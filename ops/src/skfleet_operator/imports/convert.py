"""Estimators of older scikit-learn versions whose meaning changed: converted, or refused.

- LogisticRegression with one-vs-rest (`multi_class="ovr"`, or `"auto"` with liblinear) and several classes
  gives one-vs-rest probabilities only up to 1.7; later versions read the same coefficients as a softmax, with
  the same labels and probabilities wrong by up to 0.19. It becomes a OneVsRestClassifier of the same numbers.
- LogisticRegression with `multi_class="multinomial"` and two classes gave the softmax of (-z, z), which is
  the logistic function of 2z. Its coefficients are doubled.
- `multi_class` itself is gone.
- A classifier's trees held the weights of each class in a node up to 1.3, and its predictions divided by
  their sum; later ones hold shares, and nothing divides. The weights become shares.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import numpy as np

from skfleet_operator.models import compiling

LOGISTIC = ("LogisticRegression", "LogisticRegressionCV")


class Refused(Exception):
    """What changed its meaning and cannot be converted."""


def modernise(estimator: Any) -> tuple[Any, list[str]]:
    """(the estimator with today's meaning, what was converted); raises Refused."""
    if not hasattr(estimator, "predict"):
        raise Refused(
            f"The pickle holds {_kind(estimator)}, which has no predict; pickle the fitted estimator itself."
        )
    said: list[str] = []
    result = _modern(estimator, said)
    _share(result, said)
    _fill(result)
    return result, said


def _fill(estimator: Any) -> None:
    """Parameters that came after the version of the pickle get their defaults: what older ones did."""
    for part in compiling.parts(estimator):
        for parameter in inspect.signature(type(part).__init__).parameters.values():
            if parameter.default is not parameter.empty:
                part.__dict__.setdefault(parameter.name, parameter.default)


def _share(estimator: Any, said: list[str]) -> None:
    """Weights in the nodes of classifiers' trees become shares, in place."""
    counting = 0
    for part in compiling.parts(estimator):
        if hasattr(part, "tree_") and hasattr(part, "classes_"):
            value = part.tree_.value  # shape (nodes, outputs, classes), the tree's own memory
            sums = value.sum(axis=2, keepdims=True)
            if not np.allclose(sums, 1):
                np.divide(value, sums, out=value, where=sums > 0)
                counting += 1
    if counting:
        said.append(
            f"{counting} decision trees: the weights of the classes in a node became shares"
        )


def _modern(estimator: Any, said: list[str]) -> Any:
    name = type(estimator).__name__
    if name == "Pipeline":
        result = copy.copy(estimator)
        result.steps = [(label, _modern(step, said)) for label, step in estimator.steps]
        return result
    if name in LOGISTIC:
        return _logistic(estimator, said)
    inner = [
        part
        for part in _children(estimator)
        if type(part).__name__ in LOGISTIC and _meaning(part) != "unchanged"
    ]
    if inner:
        raise Refused(
            f"Inside {name} is a {type(inner[0]).__name__} ({_meaning(inner[0])}) whose probabilities mean "
            "something else in this version; train the model again."
        )
    return estimator


def _children(estimator: Any) -> list[Any]:
    found: list[Any] = []
    for value in getattr(estimator, "__dict__", {}).values():
        values = value if isinstance(value, (list, tuple)) else [value]
        for item in values:
            part = item[1] if isinstance(item, tuple) and len(item) > 1 else item
            if hasattr(part, "predict") and hasattr(part, "__dict__"):
                found += [part, *_children(part)]
    return found


def _meaning(estimator: Any) -> str:
    """`ovr`, `doubled` or `unchanged`: what its coefficients meant where it was fitted."""
    if not hasattr(estimator, "classes_"):
        return "unchanged"
    declared = estimator.__dict__.get("multi_class")
    several = len(estimator.classes_) > 2
    if several and (declared == "ovr" or (declared == "auto" and estimator.solver == "liblinear")):
        return "ovr"
    if not several and declared == "multinomial":
        return "doubled"
    return "unchanged"


def _logistic(estimator: Any, said: list[str]) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import LabelBinarizer

    meaning = _meaning(estimator)
    result = copy.copy(estimator)
    result.__dict__.pop("multi_class", None)
    for parameter, default in LogisticRegression().get_params().items():
        result.__dict__.setdefault(parameter, default)
    if meaning == "unchanged":
        return result
    if meaning == "doubled":
        result.coef_, result.intercept_ = 2 * estimator.coef_, 2 * estimator.intercept_
        said.append("LogisticRegression, multinomial with two classes: coefficients doubled")
        return result
    parts = []
    for weights, intercept in zip(estimator.coef_, estimator.intercept_, strict=True):
        part = LogisticRegression()
        part.classes_ = np.array([0, 1])
        part.coef_, part.intercept_ = weights.reshape(1, -1), np.array([intercept])
        part.n_features_in_ = len(weights)
        part.n_iter_ = np.array([0])
        parts.append(part)
    whole = OneVsRestClassifier(LogisticRegression())
    whole.estimators_ = parts
    whole.label_binarizer_ = LabelBinarizer(sparse_output=True).fit(estimator.classes_)
    whole.n_features_in_ = estimator.coef_.shape[1]
    whole.classes_ = estimator.classes_
    said.append("LogisticRegression, one-vs-rest with several classes: now a OneVsRestClassifier")
    return whole


def _kind(value: Any) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
