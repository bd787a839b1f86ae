"""Answers are right only if they are scikit-learn's; tokens are renewed in time."""

from __future__ import annotations

import base64
import json
import random

import pytest

from skfleet.errors import DocumentError
from skfleet_loadtest import flights
from skfleet_loadtest.bearer import RETRY_S, renew_in
from skfleet_loadtest.flights import ANY_RELEASE, Expectation, Flights
from skfleet_loadtest.protocols import Instances, OriginalForm, Tensors

EXPECTED = Expectation(labels=[0, 1], probabilities=[[0.75, 0.25], [0.125, 0.875]], tolerance=1e-9)
OTHER = Expectation(labels=[1, 0], probabilities=[[0.25, 0.75], [0.875, 0.125]], tolerance=1e-9)
FLIGHTS = Flights(
    model="flight-delay",
    rows=[[0.0, 1.0], [1.0, 0.5]],
    expected={ANY_RELEASE: EXPECTED, "r2": OTHER},
)
RANDOM = random.Random(1)  # noqa: S311 - a test's choice


def test_the_form_is_asked_and_checked_as_the_original_wrote_it() -> None:
    form = OriginalForm(FLIGHTS)
    question = form.ask(RANDOM)
    (row,) = question.rows
    text = "[0,1]" if row == 0 else "[1,0.5]"
    assert question.body == f"x={text}".encode()
    right = {"model_prediction": f"[{EXPECTED.labels[row]}]", "received_data": {"x": text}}
    assert form.is_right(question, json.dumps(right).encode(), EXPECTED)
    assert not form.is_right(question, json.dumps(right).encode(), OTHER)
    assert not form.is_right(question, b"<html>", EXPECTED)


@pytest.mark.parametrize(
    ("change", "right"),
    [
        (lambda answer: None, True),
        (lambda answer: answer["probabilities"][0].__setitem__(0, 0.75 + 1e-12), True),
        (lambda answer: answer["probabilities"][0].__setitem__(0, 0.75 + 1e-6), False),
        (lambda answer: answer["probabilities"][0].__setitem__(0, float("nan")), False),
        (lambda answer: answer["predictions"].reverse(), False),
        (lambda answer: answer["predictions"].pop(), False),
        (lambda answer: answer.pop("probabilities"), False),
        (lambda answer: answer["probabilities"].pop(), False),
    ],
)
def test_instances_are_right_only_with_labels_and_probabilities(change, right: bool) -> None:  # type: ignore[no-untyped-def]
    form = Instances(FLIGHTS, 2, "batch")
    question = form.ask(RANDOM)
    answer = {
        "predictions": [EXPECTED.labels[row] for row in question.rows],
        "probabilities": [list(EXPECTED.probabilities[row]) for row in question.rows],
    }
    change(answer)
    assert form.is_right(question, json.dumps(answer).encode(), EXPECTED) is right


@pytest.mark.parametrize(
    ("change", "right"),
    [
        (lambda answer: None, True),
        (lambda answer: answer["outputs"][1]["data"].__setitem__(0, 0.125 + 1e-12), True),
        (lambda answer: answer["outputs"][1]["data"].__setitem__(0, 0.125 + 1e-6), False),
        (lambda answer: answer["outputs"][1]["data"].reverse(), False),
        (lambda answer: answer["outputs"][1].__setitem__("shape", [2]), False),
        (lambda answer: answer["outputs"][0]["data"].__setitem__(0, 0), False),
        (lambda answer: answer["outputs"].pop(), False),
        (lambda answer: answer["outputs"].reverse(), False),
        (lambda answer: answer.__setitem__("id", "other"), False),
        (lambda answer: answer.pop("id"), False),
        (lambda answer: answer.__setitem__("model_name", "other"), False),
    ],
)
def test_tensors_are_right_only_with_labels_probabilities_and_their_id(change, right: bool) -> None:  # type: ignore[no-untyped-def]
    form = Tensors(FLIGHTS)
    question = next(q for q in iter(lambda: form.ask(RANDOM), None) if q.rows == (1,))
    asked = json.loads(question.body)
    assert asked["inputs"][0]["data"] == [1.0, 0.5]
    answer = {
        "model_name": "flight-delay",
        "model_version": "0123456789ab",
        "id": asked["id"],
        "outputs": [
            {"name": "predict", "shape": [1], "datatype": "INT64", "data": [1]},
            {"name": "predict_proba", "shape": [1, 2], "datatype": "FP64", "data": [0.125, 0.875]},
        ],
    }
    change(answer)
    assert form.is_right(question, json.dumps(answer).encode(), EXPECTED) is right
    assert not form.is_right(question, b"<html>", EXPECTED)


def test_a_release_with_another_model_has_other_right_answers() -> None:
    assert FLIGHTS.of("r1") is EXPECTED
    assert FLIGHTS.of("r2") is OTHER


def test_flights_without_their_answers_are_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "flights.json"
    flights.write(FLIGHTS, path)
    assert flights.read(path) == FLIGHTS
    path.write_text(path.read_text().replace("[0,1]", "[0]"))
    with pytest.raises(DocumentError):
        flights.read(path)


def _token(**claims: float) -> str:
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"head.{payload}.signature"


def test_a_token_is_renewed_after_four_fifths_of_its_life() -> None:
    assert renew_in(_token(iat=1000, exp=4600), now=1000) == 2880
    assert renew_in(_token(iat=1000, exp=4600), now=4000) == RETRY_S


def test_a_token_that_cannot_be_read_is_renewed_soon() -> None:
    assert renew_in("opaque", now=1000) == RETRY_S
