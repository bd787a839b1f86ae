"""Batches as arrays: NumPy's bytes and binary tensors are answered as JSON is, on both lanes, or refused."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.errors import ServiceError
from skfleet.serving.protocols import v1
from skfleet.serving.protocols.rows import RowCheck

from .calls import call
from .lanes import LANES, Ask

NPY = "application/x-npy"
PATH = "/v1/models/tiny:predict"


@pytest.fixture(params=sorted(LANES))
def ask(request: pytest.FixtureRequest, service: Any) -> Ask:
    return LANES[request.param](service)


def width_of(service: Any) -> int:
    return len(service.content.models.get().model.manifest.features)


def some_rows(service: Any, count: int) -> Any:
    golden = service.content.models.get().model.manifest.golden.rows
    return np.asarray([golden[i % len(golden)] for i in range(count)], dtype=np.float64)


def saved(array: Any, **how: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **how)
    return file.getvalue()


@pytest.mark.parametrize("count", [1, 15, 16, 300])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<i8", "|u1"])
def test_numpys_bytes_are_answered_as_json_is(
    service: Any, ask: Ask, iap_header: dict[str, str], count: int, dtype: str
) -> None:
    rows = some_rows(service, count)
    body = json.dumps({"instances": rows.tolist()}).encode()
    as_json = ask(call("POST", PATH, body, content_type="application/json", **iap_header))
    answer = ask(call("POST", PATH, saved(rows.astype(dtype)), content_type=NPY, **iap_header))
    assert (answer.status, answer.headers["content-type"]) == (200, NPY)
    assert np.load(io.BytesIO(answer.body)).tolist() == as_json.json["predictions"]


def test_arrays_by_column_are_the_same_rows(
    service: Any, ask: Ask, iap_header: dict[str, str]
) -> None:
    rows = some_rows(service, 20)
    answers = [
        ask(call("POST", PATH, saved(array), content_type=NPY, **iap_header)).body
        for array in (rows, np.asfortranarray(rows))
    ]
    assert answers[0] == answers[1]


def huge(shape: str) -> bytes:
    """A header that promises more than there is."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + b"\0" * 8


BAD = {
    "nothing": b"",
    "no array": b"abc",
    "cut": saved(np.zeros((2, 37)))[:-1],
    "longer": saved(np.zeros((2, 37))) + b"x",
    "a terabyte": huge("(1000000000, 1000)"),
    "negative": huge("(-1, -1)"),
    "objects": saved(np.asarray([[{}] * 37]), allow_pickle=True),
    "text": saved(np.asarray([["a"] * 37])),
    "truth": saved(np.zeros((1, 37), dtype=bool)),
    "one dimension": saved(np.zeros(37)),
    "three": saved(np.zeros((1, 1, 37))),
    "no rows": saved(np.zeros((0, 37))),
    "36 columns": saved(np.zeros((1, 36))),
    "out of range": saved(np.full((1, 37), 7.0)),
    "not whole": saved(np.full((300, 37), 0.5)),
    "NaN": saved(np.full((300, 37), np.nan)),
    "infinite": saved(np.full((1, 37), np.inf)),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_refused_with_the_place(
    ask: Ask, iap_header: dict[str, str], name: str
) -> None:
    answer = ask(call("POST", PATH, BAD[name], content_type=NPY, **iap_header))
    assert answer.status in (400, 422), answer.body
    assert answer.json["where"]
    assert answer.json["hint"]


@pytest.mark.parametrize("place", [0, 17, 39])
@pytest.mark.parametrize("value", [2.0, 0.5, -1.0, float("nan"), float("inf")])
def test_together_and_row_by_row_judge_alike(place: int, value: float) -> None:
    check = RowCheck([Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(4)])
    rows = np.zeros((40, 4))
    assert check.as_array(rows) is not None
    rows[place, 2] = value
    assert check.as_array(rows) is None
    assert not all(check.accepts(row) for row in rows.tolist())


def test_columns_have_limits_of_their_own() -> None:
    check = RowCheck(
        [Feature(name="a", low=0, high=1), Feature(name="b", low=10, high=20, integer=True)]
    )
    assert check.as_array([[0.5, 15]] * 20) is not None
    assert check.as_array([[0.5, 15.5]] * 20) is None
    assert check.as_array([[15, 0.5]] * 20) is None
    assert check.as_array([[0.5, 15]] * 20 + [[0.5]]) is None


@pytest.mark.parametrize(
    ("datatype", "dtype"),
    [("FP64", "<f8"), ("FP32", "<f4"), ("UINT8", "|u1"), ("INT32", "<i4"), ("INT64", "<i8")],
)
def test_binary_tensors_are_answered_alike_on_both_lanes(
    service: Any, iap_header: dict[str, str], datatype: str, dtype: str
) -> None:
    rows = some_rows(service, 100)
    data = rows.astype(dtype).tobytes()
    as_json = LANES["flask"](service)(
        call("POST", PATH, json.dumps({"instances": rows.tolist()}).encode(),
             content_type="application/json", **iap_header)
    )  # fmt: skip
    tensor = {
        "name": "x", "shape": list(rows.shape), "datatype": datatype,
        "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    head = json.dumps({"id": "7", "inputs": [tensor]}).encode()
    request = call(
        "POST", "/v2/models/tiny/infer", head + data, content_type="application/octet-stream",
        inference_header_content_length=str(len(head)), **iap_header,
    )  # fmt: skip
    answers = [ask(request) for make in LANES.values() if (ask := make(service)) and ask(request)]
    assert {answer.status for answer in answers} == {200}
    assert len({answer.body for answer in answers}) == 1
    assert answers[0].json["id"] == "7"
    assert answers[0].json["outputs"][0]["data"] == as_json.json["predictions"]


DIGITS = RowCheck([Feature(name=f"f{i}", low=0, high=3, integer=True) for i in range(3)])
ROW_TEXTS = st.sampled_from(
    ["[0,1,2]", "[0, 1, 2]", "[ 3\n,1,\t2]", "[1,1,1]"] * 3
    + ["[0,1,4]", "[0,1]", "[0,1,2,3]", "[0,1,2.0]", "[0,01,2]", "[0,1 1,2]", "[0,-1,2]", "[0,1,]"]
    + ['[0,"1",2]', "[0,1,true]", "[[0,1,2]]", "[0,1,2", "0,1,2]", "[0;1,2]", "{}", "[0,1,1e0]"]
    + ["[0,1,null]", ""]
)  # fmt: skip


@given(st.lists(ROW_TEXTS, min_size=1, max_size=4), st.sampled_from([",", ", ", " ", ",,"]))
def test_digits_read_together_are_what_they_are_one_by_one(rows: list[str], comma: str) -> None:
    """The same rows and the same refusals, however the body is written."""
    many = "[0,1,2]," * 300
    body = f'{{"instances": [{many}{comma.join(rows)}]}}'.encode()
    assert len(body) > v1.TOGETHER_BYTES

    def outcome(check: RowCheck) -> Any:
        try:
            return np.asarray(v1.parse(body, check).instances).tolist()
        except ServiceError as error:
            return error.body()

    slow = RowCheck(DIGITS.features)
    slow.digits = False
    assert DIGITS.digits
    assert outcome(DIGITS) == outcome(slow)


def test_rows_of_digits_are_read_together() -> None:
    rows = [[0, 1, 2], [3, 0, 1]] * 200
    for written in (
        json.dumps(rows),
        json.dumps(rows, indent=1),
        json.dumps(rows).replace(" ", ""),
    ):
        found = DIGITS.from_digits(written.encode())
        assert found is not None
        assert found.tolist() == rows
