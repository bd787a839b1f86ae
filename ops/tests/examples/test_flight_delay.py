"""The example model: its vocabulary, its data, its honesty about how good it is."""

from __future__ import annotations

import numpy as np
import pytest

from skfleet_operator.examples import flight_delay
from skfleet_operator.examples.flight_delay import Flights, Trained


@pytest.fixture(scope="module")
def flights() -> Flights:
    return flight_delay.load_flights()


@pytest.fixture(scope="module")
def trained() -> Trained:
    return flight_delay.train()


def test_a_row_is_37_columns_with_one_carrier_month_origin_and_block(flights: Flights) -> None:
    assert len(flight_delay.FEATURES) == 37
    assert flights.rows.shape == (327_346, 37)
    for first, last in [(0, 16), (16, 28), (28, 31), (31, 37)]:
        assert (flights.rows[:, first:last].sum(axis=1) == 1).all()


def test_every_column_but_the_midnight_block_occurs(flights: Flights) -> None:
    empty = [
        feature.name
        for feature, count in zip(flight_delay.FEATURES, flights.rows.sum(axis=0), strict=True)
        if count == 0
    ]
    assert empty == ["departure_block=0"]


def test_held_out_flights_are_the_same_every_time(flights: Flights) -> None:
    first, second = flight_delay.split(flights)[1], flight_delay.split(flights)[1]
    assert (first.rows == second.rows).all()
    assert len(first.late) == 81_837


def test_it_ranks_better_than_the_baseline_and_predicts_both_classes(trained: Trained) -> None:
    assert trained.metrics["roc_auc"] > 0.65
    assert trained.metrics["baseline"]["roc_auc"] == 0.5
    assert 0.2 < trained.metrics["predicted_late_share"] < 0.8


def test_calibration_names_the_shift_of_the_balanced_weights(trained: Trained) -> None:
    calibration = trained.metrics["calibration"]
    assert calibration["prior_corrected_error"] < 0.02 < calibration["expected_error"]
    assert sum(b["rows"] for b in calibration["bins"]) == 81_837


def test_a_balanced_sample_is_half_of_each_predicted_class(trained: Trained) -> None:
    predicted = trained.estimator.predict(trained.held_out.rows)
    sample = flight_delay.balanced_sample(trained.held_out.rows, predicted, 1000, seed=3)
    assert np.bincount(trained.estimator.predict(sample)).tolist() == [500, 500]
