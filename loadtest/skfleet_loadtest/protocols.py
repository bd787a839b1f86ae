"""What goes over the wire, and whether what comes back is right: all pure functions of bytes."""

from __future__ import annotations

import json
import random
from typing import Any, Protocol

import msgspec

from skfleet.backends.compare import find_wrong_row, is_same_json
from skfleet_loadtest.flights import Expectation, Flights

BATCH_ROWS = 32


class Question(msgspec.Struct, frozen=True):
    """One request, made before it is due."""

    name: str  # for Locust's table
    path: str
    content_type: str
    body: bytes
    rows: tuple[int, ...]  # which of the flights it asks about


class Form(Protocol):
    """A way to ask."""

    def ask(self, generator: random.Random) -> Question:
        """A request for some of the flights."""

    def is_right(self, question: Question, body: bytes, expected: Expectation) -> bool:
        """Whether the body answers it as scikit-learn does."""


class OriginalForm:
    """`x=[37 zeros or ones]`, the contract of the service that this one replaces."""

    def __init__(self, flights: Flights) -> None:
        self._questions = []
        self._echoes = []
        for index, row in enumerate(flights.rows):
            text = json.dumps([int(v) if v == int(v) else v for v in row], separators=(",", ":"))
            body = b"x=" + text.encode()
            self._questions.append(
                Question("form", "/", "application/x-www-form-urlencoded", body, (index,))
            )
            self._echoes.append({"x": text})

    def ask(self, generator: random.Random) -> Question:
        return generator.choice(self._questions)

    def is_right(self, question: Question, body: bytes, expected: Expectation) -> bool:
        (index,) = question.rows
        wanted = {
            "model_prediction": f"[{expected.labels[index]}]",
            "received_data": self._echoes[index],
        }
        return bool(_json(body) == wanted)


class Instances:
    """V1: `instances` → `predictions` and `probabilities`, of one row or of a batch."""

    def __init__(self, flights: Flights, rows: int, name: str) -> None:
        self._path = f"/v1/models/{flights.model}:predict"
        self._name = name
        self._rows = min(rows, len(flights.rows))
        self._encoded = [msgspec.json.encode(row) for row in flights.rows]

    def ask(self, generator: random.Random) -> Question:
        rows = tuple(generator.sample(range(len(self._encoded)), self._rows))
        instances = b",".join(self._encoded[row] for row in rows)
        body = b'{"instances":[' + instances + b'],"parameters":{"probabilities":true}}'
        return Question(self._name, self._path, "application/json", body, rows)

    def is_right(self, question: Question, body: bytes, expected: Expectation) -> bool:
        known = {row: (expected.labels[row], expected.probabilities[row]) for row in question.rows}
        return not find_wrong_row(_json(body), known, expected.tolerance)


class Tensors:
    """The Open Inference Protocol V2: one row as a tensor → `predict` and `predict_proba`."""

    def __init__(self, flights: Flights) -> None:
        path = f"/v2/models/{flights.model}/infer"
        self._model = flights.model
        self._questions = []
        for index, row in enumerate(flights.rows):
            body = {
                "id": str(index),
                "inputs": [
                    {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
                ],
                "outputs": [{"name": "predict"}, {"name": "predict_proba"}],
            }
            encoded = msgspec.json.encode(body)
            self._questions.append(Question("v2", path, "application/json", encoded, (index,)))

    def ask(self, generator: random.Random) -> Question:
        return generator.choice(self._questions)

    def is_right(self, question: Question, body: bytes, expected: Expectation) -> bool:
        (index,) = question.rows
        try:
            answer = _tensors.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return False
        if (answer.model_name, answer.id) != (self._model, str(index)) or len(answer.outputs) != 2:
            return False
        labels, probabilities = answer.outputs
        wanted = expected.probabilities[index]
        return (
            (labels.name, labels.shape, labels.data) == ("predict", [1], [expected.labels[index]])
            and (probabilities.name, probabilities.shape) == ("predict_proba", [1, len(wanted)])
            and is_same_json(probabilities.data, wanted, expected.tolerance)
        )


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    data: list[float]


class _TensorAnswer(msgspec.Struct):
    model_name: str
    id: str
    outputs: list[_Tensor]


_tensors = msgspec.json.Decoder(_TensorAnswer)


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
