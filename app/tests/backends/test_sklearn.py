"""An estimator is read from skops, and from nothing that could do more than predict."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skfleet.backends.sklearn import FILE_NAME, load
from skfleet.documents import read
from skfleet.documents.manifest import Feature, Manifest
from skfleet.errors import IntegrityError
from skfleet_operator.models.publish import write_artefact


def ran(path: Path) -> Any:
    return functools.partial(os.system, f"touch {path}")


@pytest.mark.parametrize("wrap", [lambda path: ran(path), lambda path: os.system])
def test_a_function_of_elsewhere_is_refused_and_never_called(tmp_path: Path, wrap: Any) -> None:
    """A partial is taken, what it calls has to be trusted for itself."""
    rows = np.random.default_rng(0).normal(size=(200, 2))
    estimator = LogisticRegression().fit(rows, rows[:, 0] > 0)
    features = [Feature(name="a"), Feature(name="b")]
    directory = tmp_path / "tiny"
    write_artefact(directory, name="tiny", estimator=estimator, features=features, golden_rows=rows)
    manifest = read(Manifest, (directory / "manifest.json").read_bytes(), "tiny")
    called = tmp_path / "called"
    hostile = make_pipeline(FunctionTransformer(wrap(called)), estimator)
    skops.io.dump(hostile, directory / FILE_NAME)
    with pytest.raises(IntegrityError, match=r"does not trust.*system"):
        load(directory, manifest)
    assert not called.exists()
