"""The compiled linear backend equals scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression

from skfleet.backends.linear import LinearBackend
from skfleet_operator.models import compiling


def compiled(estimator: LogisticRegression) -> LinearBackend:
    return LinearBackend(estimator.coef_, estimator.intercept_, estimator.classes_.tolist())


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_equals_scikit_learn(classes: int) -> None:
    rows, labels = make_classification(
        4000, 12, n_informative=8, n_classes=classes, random_state=classes
    )
    estimator = LogisticRegression(max_iter=500).fit(rows[:2000], labels[:2000])
    backend = compiled(estimator)
    assert backend.predict(rows.tolist()) == estimator.predict(rows).tolist()
    np.testing.assert_allclose(
        backend.predict_proba(rows.tolist()), estimator.predict_proba(rows), rtol=0, atol=1e-12
    )


@given(st.lists(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_a_batch_answers_as_its_rows_do(rows: list[list[float]]) -> None:
    backend = LinearBackend(np.array([[0.5, -2.0, 3.0]]), np.array([0.1]), [0, 1])
    assert backend.predict(rows) == [backend.predict([row])[0] for row in rows]
    np.testing.assert_allclose(
        backend.predict_proba(rows), [backend.predict_proba([row])[0] for row in rows], atol=1e-12
    )


@pytest.mark.parametrize("score", [-1e6, -800.0, 0.0, 800.0, 1e6])
def test_probabilities_never_overflow(score: float) -> None:
    backend = LinearBackend(np.array([[1.0]]), np.array([0.0]), [0, 1])
    with np.errstate(all="raise", under="ignore"):
        (no, yes) = backend.predict_proba([[score]])[0]
    assert 0 <= yes <= 1
    assert abs(no + yes - 1) < 1e-12


def test_other_estimators_have_no_linear_form(tmp_path: Path) -> None:
    from sklearn.tree import DecisionTreeClassifier

    assert compiling.to_linear(DecisionTreeClassifier()) is None
