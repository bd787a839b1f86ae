"""A pickle of any age becomes a safe artefact that answers as it did, or is refused; it can do no harm."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skfleet.backends import load_model
from skfleet.documents.manifest import Manifest
from skfleet.errors import ConfigurationError, DocumentError
from skfleet_operator.cli.command import skfleet
from skfleet_operator.imports import sandbox, scan
from skfleet_operator.imports.convert import modernise
from skfleet_operator.imports.importing import REPORT, import_model, unpickle
from skfleet_operator.models import compiling

OLD = Path(__file__).parent / "old"  # made with scikit-learn 1.2.2 by make.py
NEEDS = scan.Needs()
WEAKER = bool(sandbox.lacking())  # test_sandbox says what is missing


def imported(name: str, output: Path, expect: Path | None = None) -> Manifest:
    data = OLD / ("raw.csv" if name == "raw-columns" else "rows.csv")
    return import_model(
        OLD / f"{name}.pkl",
        name,
        output,
        data,
        expect or OLD / f"{name}.csv",
        weaker_sandbox=WEAKER,
    )


@pytest.mark.parametrize(
    ("name", "backend", "converted"),
    [
        ("binary", "linear", False),
        ("multinomial", "linear", False),
        ("one-vs-rest", "linear", True),
        ("liblinear", "linear", True),
        ("doubled", "linear", True),
        ("ridge", "linear", False),
        ("raw-columns", "onnx", False),
    ],
)
def test_an_old_model_answers_as_it_did(
    tmp_path: Path, name: str, backend: str, converted: bool
) -> None:
    manifest = imported(name, tmp_path / "m")
    facts = manifest.training["imported"]
    assert facts["scikit-learn"] == "1.2.2"
    assert bool(facts["converted"]) == converted
    assert any("are the old ones" in line for line in facts["said"])
    assert load_model(tmp_path / "m").backend.name == backend
    page = (tmp_path / "m" / REPORT).read_text()
    assert "<svg" in page
    assert "equivalent" in page
    assert REPORT in {entry.name for entry in manifest.files}


def test_without_the_conversion_one_vs_rest_is_refused(tmp_path: Path) -> None:
    """The negative control: today's scikit-learn reads the same coefficients as a softmax."""
    old = joblib.load(OLD / "one-vs-rest.pkl")
    now = LogisticRegression()
    now.coef_, now.intercept_, now.classes_ = old.coef_, old.intercept_, old.classes_
    now.feature_names_in_, now.n_features_in_ = old.feature_names_in_, old.n_features_in_
    joblib.dump(now, tmp_path / "naive.pkl")
    with pytest.raises(DocumentError, match=r"probabilities differ by up to 0\.1"):
        import_model(
            tmp_path / "naive.pkl",
            "naive",
            tmp_path / "m",
            OLD / "rows.csv",
            OLD / "one-vs-rest.csv",
            weaker_sandbox=WEAKER,
        )
    assert "refused" in (tmp_path / "m" / REPORT).read_text()
    assert not (tmp_path / "m" / "manifest.json").exists()


def test_refused_import_can_be_tried_again_and_leaves_an_artefact(tmp_path: Path) -> None:
    lines = (OLD / "binary.csv").read_text().splitlines()
    lines[1] = str(1 - int(lines[1][0])) + lines[1][1:]
    (tmp_path / "wrong.csv").write_text("\n".join(lines) + "\n")
    for directory in ("m", "m-refused"):
        with pytest.raises(DocumentError) as refused:
            imported("binary", tmp_path / "m", tmp_path / "wrong.csv")
        assert str(tmp_path / directory / REPORT) in refused.value.hint
        imported("binary", tmp_path / "m")
    assert load_model(tmp_path / "m").name == "binary"


def test_old_trees_are_refused_and_say_why(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="node array") as refused:
        imported("forest", tmp_path / "m")
    assert "1.2.2" in refused.value.hint
    assert not (tmp_path / "m").exists()


def test_other_labels_are_refused(tmp_path: Path) -> None:
    lines = (OLD / "binary.csv").read_text().splitlines()
    lines[1] = str(1 - int(lines[1][0])) + lines[1][1:]
    (tmp_path / "wrong.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(DocumentError, match="1 of 240 labels differ"):
        imported("binary", tmp_path / "m", tmp_path / "wrong.csv")


def test_labels_alone_are_said_to_be_that(tmp_path: Path) -> None:
    labels = [line.split(",")[0] for line in (OLD / "binary.csv").read_text().splitlines()]
    (tmp_path / "labels.csv").write_text("\n".join(labels) + "\n")
    said = imported("binary", tmp_path / "m", tmp_path / "labels.csv").training["imported"]["said"]
    assert any("LABELS ONLY" in line for line in said)


def test_without_data_a_numeric_model_is_imported_too(tmp_path: Path) -> None:
    manifest = import_model(
        OLD / "binary.pkl", "m", tmp_path / "m", None, None, weaker_sandbox=WEAKER
    )
    assert [feature.name for feature in manifest.features] == list("abcd")
    with pytest.raises(ConfigurationError, match="text columns"):
        import_model(
            OLD / "raw-columns.pkl", "m", tmp_path / "n", None, None, weaker_sandbox=WEAKER
        )


def test_a_pickle_is_not_read_without_the_word(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"")
    done = CliRunner().invoke(skfleet, ["model", "import", str(tmp_path / "x.pkl")])
    assert isinstance(done.exception, ConfigurationError)
    assert "--trust-pickle" in done.exception.hint


class Evil:
    """Runs a Python expression when it is unpickled, and hands on its value as an exception."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> Any:
        return eval, (self.code,)


def said_by(code: str) -> str:
    """What the sandbox says to this code: it must fail in there."""
    with pytest.raises(DocumentError) as refused:
        unpickle(pickle.dumps(Evil(code)), NEEDS, "evil", weaker_sandbox=WEAKER)
    return refused.value.message


def test_memory_and_time_are_bounded() -> None:
    assert "MemoryError" in said_by("b'x' * (8 << 30)")


def test_types_of_other_packages_are_refused(tmp_path: Path) -> None:
    message = said_by("__import__('decimal').Decimal(1)")
    assert "no predict" in message


def test_the_scan_names_what_a_pickle_needs_and_runs_nothing(tmp_path: Path) -> None:
    needs = scan.scan(pickle.dumps(Evil(f"open({str(tmp_path / 'x')!r}, 'w')")))
    assert needs.globals == ("builtins.eval",)
    assert not (tmp_path / "x").exists()
    fitted = LogisticRegression().fit([[0], [1]], [0, 1])
    buffer = io.BytesIO()
    pickle.dump(fitted, buffer)
    needs = scan.scan(buffer.getvalue())
    assert "sklearn.linear_model._logistic.LogisticRegression" in needs.globals
    assert not scan.foreign(needs)
    assert needs.version
    assert scan.scan(b"garbage").whole is False
    assert json.dumps(needs.globals)


@pytest.mark.parametrize(
    "estimator",
    [
        DecisionTreeClassifier(max_depth=4),
        RandomForestClassifier(5, max_depth=4, random_state=0),
        make_pipeline(StandardScaler(), BaggingClassifier(n_estimators=3, random_state=0)),
    ],
    ids=lambda estimator: type(estimator).__name__,
)
def test_trees_that_held_weights_hold_shares(estimator: Any) -> None:
    """Up to scikit-learn 1.3 a node held the weight of each class, and predictions divided by their sum."""
    rows = np.random.default_rng(0).normal(size=(300, 3))
    answers = np.digitize(rows[:, 0] + rows[:, 1] ** 2, [0.3, 1.5])
    estimator.fit(rows, answers)
    wanted = estimator.predict_proba(rows)
    for part in compiling.parts(estimator):
        if hasattr(part, "tree_"):
            part.tree_.value[...] *= part.tree_.weighted_n_node_samples[:, None, None]
    assert not np.allclose(estimator.predict_proba(rows), wanted)
    modern, said = modernise(estimator)
    assert np.allclose(modern.predict_proba(rows), wanted, atol=1e-15)
    assert "became shares" in " ".join(said)
    assert modernise(modern)[1] == []
