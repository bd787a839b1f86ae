"""What a release changes is said for models of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from skfleet.backends import Model, load_model
from skfleet.documents.manifest import Feature
from skfleet_operator.models.publish import write_artefact
from skfleet_operator.rollouts import changes

FEATURES = [Feature(name=f"f{i}", low=-9, high=9) for i in range(3)]


def model(directory: Path, estimator: Any, shift: float) -> Model:
    x = np.random.default_rng(3).normal(size=(300, 3))
    y = x[:, 0] + shift
    estimator.fit(x, y if isinstance(estimator, Ridge) else y > 0)
    labels = estimator.predict(x)
    order = np.argsort(labels)
    golden = x[np.concatenate([order[:60], order[-60:]])]
    write_artefact(directory, name="m", estimator=estimator, features=FEATURES, golden_rows=golden)
    return load_model(directory)


@pytest.mark.parametrize("kind", [Ridge, LinearSVC])
def test_models_without_probabilities_are_compared_by_what_they_answer(
    tmp_path: Path, kind: Any
) -> None:
    old, same = model(tmp_path / "a", kind(), 0), model(tmp_path / "b", kind(), 0)
    other = model(tmp_path / "c", kind(), 0.4)
    assert changes._compare(old, same).same
    assert changes._compare(old, other).labels_changed > 0
