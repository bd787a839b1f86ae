"""The three models, trained once on the flights of the example, in every form that a contender reads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np

from skfleet_bench.cases import BOOSTING, FOREST, LINEAR, MODELS

SEED = 2013
ROWS = 64  # distinct rows that are asked
TREES, DEPTH = 100, 12


@dataclass(frozen=True, slots=True)
class Trained:
    """A model's files: `joblib` for others, `artefact` for skfleet; rows and what is right for them."""

    name: str
    joblib: Path
    artefact: Path
    rows: list[list[int]]
    labels: list[int]

    def batch(self, size: int, start: int = 0) -> tuple[list[list[int]], list[int]]:
        """`size` rows from `start` on, again and again from the beginning, with their labels."""
        places = [(start + i) % len(self.rows) for i in range(size)]
        return [self.rows[i] for i in places], [self.labels[i] for i in places]


def prepare(directory: Path) -> dict[str, Trained]:
    """All models, trained where they are not yet."""
    return {name: _model(name, directory / name) for name in MODELS}


def _model(name: str, directory: Path) -> Trained:
    rows_file = directory / "rows.json"
    if not rows_file.exists():
        _train(name, directory)
    found = json.loads(rows_file.read_text())
    return Trained(
        name, directory / "model.joblib", directory / "artefact", found["rows"], found["labels"]
    )


def _estimator(name: str) -> Any:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    return {
        LINEAR: LogisticRegression(class_weight="balanced", max_iter=500),
        FOREST: RandomForestClassifier(
            TREES, max_depth=DEPTH, class_weight="balanced", random_state=SEED, n_jobs=1
        ),
        BOOSTING: HistGradientBoostingClassifier(class_weight="balanced", random_state=SEED),
    }[name]


def _train(name: str, directory: Path) -> None:
    from skfleet_operator.examples import flight_delay
    from skfleet_operator.models.publish import write_artefact

    training, held_out = flight_delay.split(flight_delay.load_flights())
    estimator = _estimator(name).fit(training.rows, training.late)
    predicted = estimator.predict(held_out.rows)
    directory.mkdir(parents=True, exist_ok=True)
    joblib.dump(estimator, directory / "model.joblib")
    write_artefact(
        directory / "artefact",
        name=name,
        estimator=estimator,
        features=flight_delay.FEATURES,
        golden_rows=flight_delay.balanced_sample(held_out.rows, predicted, 200, SEED),
    )
    # Half of each predicted class: a server that always says the same is caught.
    rows = flight_delay.balanced_sample(held_out.rows, predicted, ROWS, SEED + 1).astype(np.int64)
    labels = estimator.predict(rows).astype(np.int64)
    found = {"rows": rows.tolist(), "labels": labels.tolist()}
    (directory / "rows.json").write_text(json.dumps(found))
