"""`instances` → `predictions`: what is read, what is refused and where, what is answered."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import v1
from skfleet.serving.protocols.rows import RowCheck

CHECK = RowCheck([Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(3)])
bits = st.lists(st.integers(0, 1), min_size=3, max_size=3)


@given(st.lists(bits, min_size=1, max_size=5))
def test_rows_arrive_as_sent(rows: list[list[int]]) -> None:
    assert v1.parse(json.dumps({"instances": rows}).encode(), CHECK).instances == rows


@given(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=1, max_size=4))
def test_probabilities_keep_every_digit(probabilities: list[list[float]]) -> None:
    answer = json.loads(v1.answer([1], probabilities))
    assert answer["probabilities"] == probabilities


def test_probabilities_are_answered_only_when_asked_for() -> None:
    assert v1.answer([1, 0], None) == b'{"predictions":[1,0]}\n'


def test_fields_of_other_servers_are_ignored() -> None:
    body = b'{"signature_name": "serving_default", "instances": [[0, 1, 1]]}'
    assert v1.parse(body, CHECK).instances == [[0, 1, 1]]


@pytest.mark.parametrize(
    ("body", "error", "where"),
    [
        (b"", BadRequest, "body"),
        (b"x=[1]", BadRequest, "body"),
        (b"\xff\xfe", BadRequest, "body"),
        (b"[]", BadRequest, "body"),
        (b"{}", BadRequest, "body"),
        (b'{"instances": null}', BadRequest, "instances"),
        (b'{"instances": {"a": 1}}', BadRequest, "instances"),
        (b'{"instances": []}', InvalidRows, "instances"),
        (b'{"instances": [[]]}', InvalidRows, "instances[0]"),
        (b'{"instances": [{"f0": 0}]}', InvalidRows, "instances[0]"),
        (b'{"instances": [0, 1, 1]}', InvalidRows, "instances[0]"),
        (b'{"instances": [[0, 1, 1], [0, 1]]}', InvalidRows, "instances[1]"),
        (b'{"instances": [[0, 1, 1], [0, 1, true]]}', InvalidRows, "instances[1][2]"),
        (b'{"instances": [[0, 1, "1"]]}', InvalidRows, "instances[0][2]"),
        (b'{"instances": [[0, 1, 1e999]]}', InvalidRows, "instances[0][2]"),
        (b'{"instances": [[0, 1, NaN]]}', BadRequest, "body"),
        (b'{"instances": [[0, 1, Infinity]]}', BadRequest, "body"),
        (b'{"instances": [[0, 1, 1]], "parameters": {"probs": true}}', BadRequest, "parameters"),
        (b'{"instances": [[0, 1, 1]], "parameters": {"probabilities": 1}}', BadRequest,
         "parameters.probabilities"),
        (b'{"instances": [[0,1,1]], "instances": [[1,1,1]]}', BadRequest, "instances"),
        (b'{"instances": [[0,1,1]], "\\u0069nstances": [[1,1,1]]}', BadRequest, "instances"),
        (b'{"instances": [[0,1,1]], "parameters": {}, "parameters": {}}', BadRequest, "parameters"),
        (b'{"instances": ' + b"[" * 100_000, InvalidRows, "instances[0][0]"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b', "instances": []}', BadRequest, "body"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_its_place(
    body: bytes, error: type[Exception], where: str
) -> None:
    with pytest.raises(error) as refused:
        v1.parse(body, CHECK)
    assert refused.value.where == where  # type: ignore[attr-defined]


def test_a_name_inside_a_string_is_no_repetition() -> None:
    body = b'{"note": "\\"instances\\" twice", "instances": [[0, 1, 1]]}'
    assert v1.parse(body, CHECK).instances == [[0, 1, 1]]
