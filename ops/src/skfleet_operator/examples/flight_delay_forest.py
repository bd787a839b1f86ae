"""The second example: the same question asked of raw named columns, answered by a forest.

A Pipeline: text columns one-hot, numbers as they are, then a random forest. Its trees are kept small
(depth 12, leaves of 50): a hundred full ones weigh hundreds of megabytes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder

from skfleet.documents.manifest import Feature
from skfleet_operator.examples import flight_delay
from skfleet_operator.examples.example import GOLDEN_ROWS, Example

NAME = "flight-delay-forest"
TEXT = ["carrier", "origin"]
NUMBERS = ["month", "weekday", "departure", "distance"]
FEATURES = [
    Feature(name="carrier", categories=flight_delay.CARRIERS),
    Feature(name="origin", categories=flight_delay.ORIGINS),
    Feature(name="month", low=1, high=12, integer=True),
    Feature(name="weekday", low=1, high=7, integer=True),  # Monday is 1
    Feature(name="departure", low=0, high=1439, integer=True),  # scheduled, minutes after midnight
    Feature(name="distance", low=0, high=6000),  # miles
]
SAMPLE_ROWS = 20_000


def load_table() -> tuple[pd.DataFrame, Any]:
    """Raw columns in the order of FEATURES, and labels."""
    table = flight_delay.read_table("year month day sched_dep_time carrier origin distance".split())
    dates = pd.to_datetime(table[["year", "month", "day"]]).to_numpy().astype("datetime64[D]")
    scheduled = table["sched_dep_time"]
    columns = {
        "carrier": table["carrier"],
        "origin": table["origin"],
        "month": table["month"].astype(float),
        "weekday": (dates.astype(int) + 3) % 7 + 1.0,  # 1 January 1970 was a Thursday
        "departure": (scheduled // 100 * 60 + scheduled % 100).astype(float),
        "distance": table["distance"].astype(float),
    }
    return pd.DataFrame(columns), flight_delay.late(table)


def example() -> Example:
    """Fit on three quarters of the flights, the same as the linear example's."""
    table, late = load_table()
    rows, held, trained_late, held_late = train_test_split(
        table, late, test_size=0.25, random_state=2013, stratify=late
    )
    columns = ColumnTransformer(
        [
            ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), TEXT),
            ("numbers", "passthrough", NUMBERS),
        ]
    )
    forest = RandomForestClassifier(
        60, max_depth=12, min_samples_leaf=50, class_weight="balanced", random_state=2013, n_jobs=-1
    )
    estimator = Pipeline([("columns", columns), ("forest", forest)]).fit(rows, trained_late)
    # On a VM a thread pool a request would cost more than the trees.
    estimator.set_params(forest__n_jobs=None)
    held_rows = held.to_numpy(dtype=object)
    predicted = estimator.predict(held)
    sample = np.random.default_rng(1).choice(len(rows), SAMPLE_ROWS, replace=False)
    return Example(
        name=NAME,
        estimator=estimator,
        features=FEATURES,
        golden_rows=flight_delay.balanced_sample(held_rows, predicted, GOLDEN_ROWS, seed=1),
        sample=rows.iloc[sample].to_numpy(dtype=object),
        metrics=flight_delay.held_out_metrics(estimator, held, trained_late, held_late),
    )
