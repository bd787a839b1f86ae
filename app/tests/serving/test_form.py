"""The original contract, byte for byte, and its failures as 4xx."""

from __future__ import annotations

from urllib.parse import urlencode

import flask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import form
from skfleet.serving.protocols.rows import RowCheck

CHECK = RowCheck([Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(3)])


def test_the_answer_is_the_originals() -> None:
    assert form.answer(1, [("x", "[0, 1]")]) == (
        b'{"model_prediction":"[1]","received_data":{"x":"[0, 1]"}}\n'
    )


@given(
    st.integers(-5, 5),
    st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=4),
)
def test_the_answer_is_what_flasks_jsonify_gives(label: int, fields: dict[str, str]) -> None:
    import numpy as np

    app = flask.Flask("original")
    with app.test_request_context():
        original = flask.jsonify(
            {"model_prediction": str(np.array([label])), "received_data": fields}
        )
    assert form.answer(label, list(fields.items())) == original.data


@given(st.lists(st.tuples(st.text(max_size=5), st.text(max_size=20)), max_size=4))
def test_fields_are_those_flask_reads(pairs: list[tuple[str, str]]) -> None:
    body = urlencode(pairs).encode()
    app = flask.Flask("original")
    with app.test_request_context(method="POST", data=body, content_type=form.CONTENT_TYPE):
        original = list(flask.request.form.items(multi=True))
    assert sorted(form.parse_fields(body)) == sorted(original)


def test_a_row_is_read_from_field_x() -> None:
    assert form.parse_row([("a", "b"), ("x", " [0, 1.0,\n1]")], CHECK) == [0, 1, 1]


@pytest.mark.parametrize(
    ("value", "error", "where"),
    [
        ("", BadRequest, "x"),
        ("0, 1, 1", InvalidRows, "x"),
        ("[0, 1, 1", BadRequest, "x"),
        ("[0, 1, 1,]", BadRequest, "x"),
        ("[0, 1, NaN]", BadRequest, "x"),
        ("[0, 1, 1] ;import os", BadRequest, "x"),
        ("__import__('os')", BadRequest, "x"),
        ("[" * 100_000, InvalidRows, "x[0]"),
        ("[0, 1, 1e999]", InvalidRows, "x[2]"),
        ("[0, 1, " + "9" * 5000 + "]", InvalidRows, "x[2]"),
        ("[0, 1, true]", InvalidRows, "x[2]"),
        ("[0, 1, null]", InvalidRows, "x[2]"),
        ('[0, "1", 1]', InvalidRows, "x[1]"),
        ("[[0, 1, 1]]", InvalidRows, "x[0]"),
        ('{"a": 1}', InvalidRows, "x"),
        ("[0, 1]", InvalidRows, "x"),
        ("[0, 1, 2]", InvalidRows, "x[2]"),
        ("[0, 0.5, 1]", InvalidRows, "x[1]"),
    ],
)
def test_what_is_no_row_is_refused(value: str, error: type[Exception], where: str) -> None:
    with pytest.raises(error) as refused:
        form.parse_row([("x", value)], CHECK)
    assert refused.value.where == where  # type: ignore[attr-defined]


@pytest.mark.parametrize("fields", [[], [("y", "[0, 1, 1]")], [("x", "[0, 1, 1]")] * 2])
def test_there_is_one_x(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(BadRequest, match="field"):
        form.parse_row(fields, CHECK)


@pytest.mark.parametrize("body", [b"x=\xff", b"x=%ff", b"&".join([b"a=1"] * 1001)])
def test_what_is_no_form_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        form.parse_fields(body)
