"""The Open Inference Protocol V2: the same model, the same answers, the same refusals on both lanes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import v2
from skfleet.serving.protocols.rows import RowCheck

from .calls import Answer, Call, call
from .lanes import LANES

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
INFER = "/v2/models/tiny/infer"
WIDTH = 37
CHECK = RowCheck([Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(3)])
bits = st.lists(st.integers(0, 1), min_size=WIDTH, max_size=WIDTH)

Ask = Callable[[Call], Answer]


@pytest.fixture
def both(service: Any, iap_header: dict[str, str]) -> Ask:
    """Asks both lanes as an admitted caller; what differs is a failure."""
    lanes = [make(service) for make in LANES.values()]

    def ask(request: Call) -> Answer:
        headers = (*request.headers, *iap_header.items())
        admitted = Call(
            request.method, request.path, headers, request.chunks, request.chunked, request.port
        )
        first, *others = [lane(admitted) for lane in lanes]
        for other in others:
            assert (other.status, other.body) == (first.status, first.body)
        return first

    return ask


@pytest.fixture
def version(service: Any) -> str:
    digest: str = service.content.models.get().model.digest
    return digest[:12]


def infer(body: Any, path: str = INFER, **headers: str) -> Call:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return call("POST", path, data, **{"content_type": JSON, **headers})


def rows_of(rows: list[list[Any]], datatype: str = "FP64", flat: bool = False) -> dict[str, Any]:
    data: list[Any] = [value for row in rows for value in row] if flat else rows
    shape = [len(rows), len(rows[0])]
    tensor = {"name": "input-0", "shape": shape, "datatype": datatype, "data": data}
    return {"inputs": [tensor]}


# Answers


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batch=st.lists(bits, min_size=1, max_size=4), datatype=st.sampled_from(v2.DATATYPES))
def test_the_form_v1_and_v2_give_the_same_answers(
    both: Ask, batch: list[list[int]], datatype: str
) -> None:
    wanted = {"outputs": [{"name": "predict"}, {"name": "predict_proba"}]}
    nested = both(infer({**rows_of(batch, datatype), **wanted}))
    assert both(infer({**rows_of(batch, datatype, flat=True), **wanted})).body == nested.body
    labels, probabilities = nested.json["outputs"]

    v1 = both(
        call(
            "POST",
            "/v1/models/tiny:predict",
            json.dumps({"instances": batch, "parameters": {"probabilities": True}}).encode(),
            content_type=JSON,
        )
    ).json
    assert labels["data"] == v1["predictions"]
    assert np.reshape(probabilities["data"], probabilities["shape"]).tolist() == v1["probabilities"]

    forms = [both(call("POST", "/", f"x={row}".encode(), content_type=FORM)) for row in batch]
    assert [f"[{label}]" for label in labels["data"]] == [
        form.json["model_prediction"] for form in forms
    ]


def test_the_answer_byte_for_byte(both: Ask, version: str, estimator: Any) -> None:
    row = [0, 1] * 18 + [1]
    label = int(estimator.predict(np.asarray([row]))[0])
    answer = both(infer({"id": "a\u00e9 1", **rows_of([row])}))
    assert answer.status == 200
    assert answer.headers["content-type"] == JSON
    expected = (
        '{"model_name":"tiny","model_version":"VERSION","id":"a\u00e9 1","outputs":'
        '[{"name":"predict","shape":[1],"datatype":"INT64","data":[LABEL]}]}\n'
    )
    expected = expected.replace("VERSION", version).replace("LABEL", str(label))
    assert answer.body == expected.encode()


def test_scikit_learns_labels_and_probabilities(both: Ask, estimator: Any) -> None:
    rows = np.random.default_rng(5).integers(0, 2, (50, WIDTH))
    asked = {**rows_of(rows.tolist()), "parameters": {"probabilities": True}}
    labels, probabilities = both(infer(asked)).json["outputs"]
    assert labels["data"] == estimator.predict(rows).tolist()
    assert probabilities["shape"] == [50, 2]
    given_ = np.reshape(probabilities["data"], (50, 2))
    assert np.abs(given_ - estimator.predict_proba(rows)).max() < 1e-9


@pytest.mark.parametrize(
    ("outputs", "parameters", "names"),
    [
        (None, None, ["predict"]),
        ([], {}, ["predict"]),
        (None, {"probabilities": True}, ["predict", "predict_proba"]),
        (["predict"], {"probabilities": True}, ["predict", "predict_proba"]),
        (["predict_proba"], None, ["predict_proba"]),
        (["predict_proba", "predict"], {"priority": 1}, ["predict_proba", "predict"]),
    ],
)
def test_the_outputs_are_those_asked_for(
    both: Ask, outputs: list[str] | None, parameters: Any, names: list[str]
) -> None:
    body: dict[str, Any] = {**rows_of([[0] * WIDTH]), "parameters": parameters}
    body["outputs"] = None if outputs is None else [{"name": name} for name in outputs]
    answer = both(infer(body)).json
    assert [output["name"] for output in answer["outputs"]] == names
    assert "id" not in answer


# Models, versions, health


def test_metadata_says_what_infer_takes_and_gives(both: Ask, version: str) -> None:
    server = both(call("GET", "/v2")).json
    assert (server["name"], server["extensions"]) == ("skfleet", ["binary_tensor_data"])
    assert server["version"]
    metadata = both(call("GET", "/v2/models/tiny")).json
    assert metadata == {
        "name": "tiny",
        "versions": [version],
        "platform": "sklearn_skops",
        "inputs": [{"name": "input-0", "datatype": "FP64", "shape": [-1, WIDTH]}],
        "outputs": [
            {"name": "predict", "datatype": "INT64", "shape": [-1]},
            {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]},
        ],
    }
    assert both(call("GET", f"/v2/models/tiny/versions/{version}")).json == metadata


def test_a_named_version_answers_as_the_model_does(both: Ask, version: str) -> None:
    asked = rows_of([[1] * WIDTH])
    path = f"/v2/models/tiny/versions/{version}"
    assert both(infer(asked, path + "/infer")).body == both(infer(asked)).body
    assert both(call("GET", path + "/ready")).json == {"name": "tiny", "ready": True}
    assert both(call("GET", "/v2/models/tiny/ready")).json == {"name": "tiny", "ready": True}


@pytest.mark.parametrize("where", ["other", "tiny/versions/1", "tiny/versions/123456789abc"])
def test_an_unknown_model_or_version_is_404(both: Ask, where: str) -> None:
    requests = [
        call("GET", f"/v2/models/{where}"),
        call("GET", f"/v2/models/{where}/ready"),
        infer(rows_of([[0] * WIDTH]), f"/v2/models/{where}/infer"),
    ]
    for request in requests:
        answer = both(request)
        assert (answer.status, answer.json["code"]) == (404, "model_not_found")


@pytest.mark.parametrize("port", [8080, 8081, 8082, 8083])
@pytest.mark.parametrize(
    "path", ["/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/tiny", INFER]
)
def test_no_listener_serves_v2_without_identity(service: Any, port: int, path: str) -> None:
    for make in LANES.values():
        answer = make(service)(call("GET", path, port=port))
        assert answer.status == (401 if port < 8082 else 404)


def test_health_says_what_livez_and_readyz_say(both: Ask, service: Any, run_dir: Any) -> None:
    live = both(call("GET", "/v2/health/live"))
    assert (live.status, live.json) == (200, {"live": True})
    ready = both(call("GET", "/v2/health/ready"))
    assert (ready.status, ready.json) == (200, {"ready": True})
    (run_dir / "drain.json").write_text('{"owner": "test", "expires_at": 9e9}')
    service.health._looked_at = float("-inf")
    ready = both(call("GET", "/v2/health/ready"))
    assert (ready.status, ready.json) == (503, {"ready": False})
    assert both(call("GET", "/readyz")).status == 503


def test_a_model_that_is_not_loaded_is_503(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    service = make_service(models="tiny=/nowhere")
    for make in LANES.values():
        ask = make(service)
        for path in ("/v2/models/tiny", "/v2/models/tiny/ready"):
            answer = ask(call("GET", path, **iap_header))
            assert (answer.status, answer.json["code"]) == (503, "model_not_loaded")


# Refusals


@pytest.mark.parametrize(
    ("request_", "status", "where"),
    [
        (infer(b"{"), 400, "body"),
        (infer({"inputs": []}), 400, "inputs"),
        (infer(rows_of([[0, 1]])), 422, "inputs[0].data[0]"),
        (infer(rows_of([[0] * WIDTH, [0] * 36 + [2]])), 422, "inputs[0].data[1][36]"),
        (infer(rows_of([[0] * WIDTH, [0] * 36 + [2]], flat=True)), 422, "inputs[0].data[1][36]"),
        (infer(rows_of([[0] * WIDTH]), inference_header_content_length="9"), 400, "body"),
        (infer(b"", inference_header_content_length="9", content_type="application/octet-stream"),
         400, "Inference-Header-Content-Length"),
        (infer(rows_of([[0] * WIDTH]), content_type="application/octet-stream"), 415, "Content-Type"),
        (infer(b"x=[1]", content_type=FORM), 415, "Content-Type"),
        (infer(b"{}", content_encoding="gzip"), 415, "Content-Encoding"),
        (call("GET", INFER), 405, "method"),
        (call("POST", "/v2"), 405, "method"),
        (call("GET", "/v2/"), 404, "path"),
        (call("GET", "/v2/models/tiny/versions/"), 404, "path"),
    ],
)  # fmt: skip
def test_every_refusal_has_the_one_shape(
    both: Ask, request_: Call, status: int, where: str
) -> None:
    answer = both(request_)
    assert (answer.status, answer.json["where"]) == (status, where)
    assert set(answer.json) == {"error", "code", "where", "hint"}
    assert answer.json["error"].endswith(".")
    assert answer.json["hint"]


def tensor(**changes: Any) -> bytes:
    """One row of three, with something changed; None leaves a field out."""
    fields = {"name": "a", "shape": [1, 3], "datatype": "FP64", "data": [0, 1, 1], **changes}
    return json.dumps({"inputs": [{k: v for k, v in fields.items() if v is not None}]}).encode()


def plus(**fields: Any) -> bytes:
    return json.dumps({**json.loads(tensor()), **fields}).encode()


DATA = "inputs[0].data"


@pytest.mark.parametrize(
    ("body", "error", "where"),
    [
        (b"", BadRequest, "body"),
        (b"\xff\xfe", BadRequest, "body"),
        (b"[]", BadRequest, "body"),
        (b"{}", BadRequest, "body"),
        (b'{"inputs": null}', BadRequest, "inputs"),
        (b'{"inputs": [1]}', BadRequest, "inputs[0]"),
        (b'{"inputs": [{}, {}]}', BadRequest, "inputs[0]"),
        (tensor(name=None), BadRequest, "inputs[0]"),
        (tensor(data=None), BadRequest, "inputs[0]"),
        (tensor(name=1), BadRequest, "inputs[0].name"),
        (plus(inputs=json.loads(tensor())["inputs"] * 2), BadRequest, "inputs"),
        (tensor(datatype="BOOL", data=[False, True, True]), BadRequest, "inputs[0].datatype"),
        (tensor(datatype="BYTES", data=["0", "1", "1"]), BadRequest, "inputs[0].datatype"),
        (tensor(datatype="FP16"), BadRequest, "inputs[0].datatype"),
        (tensor(datatype="fp64"), BadRequest, "inputs[0].datatype"),
        (tensor(shape=[3]), BadRequest, "inputs[0].shape"),
        (tensor(shape=[1, 1, 3]), BadRequest, "inputs[0].shape"),
        (tensor(shape=[-1, 3]), BadRequest, "inputs[0].shape"),
        (tensor(shape=[-1, -3]), BadRequest, "inputs[0].shape"),
        (tensor(shape=[3, 0], data=[]), BadRequest, "inputs[0].shape"),
        (tensor(shape=[1, True]), BadRequest, "inputs[0].shape[1]"),
        (tensor(shape=[1, 3.5]), BadRequest, "inputs[0].shape[1]"),
        (tensor(shape="1,3"), BadRequest, "inputs[0].shape"),
        (tensor(shape=[0, 3], data=[]), InvalidRows, "inputs[0].shape"),
        (tensor(shape=[2, 3]), BadRequest, DATA),
        (tensor(shape=[10**30, 10**30]), BadRequest, DATA),
        (tensor(shape=[1, 2]), BadRequest, DATA),
        (tensor(shape=[3, 1], data=[[0, 1, 1]]), BadRequest, DATA),
        (tensor(shape=[2, 3], data=[[0, 1, 1], [0, 1]]), BadRequest, DATA),
        (tensor(shape=[1, 4], data=[0, 1, 1, 0]), InvalidRows, DATA + "[0]"),
        (tensor(data={}), InvalidRows, DATA),
        (tensor(data="[0,1,1]"), InvalidRows, DATA),
        (tensor(data=[0, 1, True]), InvalidRows, DATA + "[0][2]"),
        (tensor(data=[0, 1, None]), InvalidRows, DATA + "[0][2]"),
        (tensor(data=[[0, 1, "1"]]), InvalidRows, DATA + "[0][2]"),
        (tensor(data=[[[0, 1, 1]]]), InvalidRows, DATA + "[0][0]"),
        (tensor(data=[[0, 1, 1], 1], shape=[2, 3]), InvalidRows, DATA + "[1]"),
        (tensor(shape=[2, 3], data=[0, 1, 1, 0, 1, 0.5]), InvalidRows, DATA + "[1][2]"),
        (tensor(data=[0, 1, 0.5], datatype="INT32"), InvalidRows, DATA + "[0][2]"),
        (tensor(data=[0, 1, 128], datatype="INT8"), InvalidRows, DATA + "[0][2]"),
        (tensor(data=[0, 1, -1], datatype="UINT64"), InvalidRows, DATA + "[0][2]"),
        (tensor().replace(b"1, 1]", b"1, 1e999]"), InvalidRows, DATA + "[0][2]"),
        (tensor().replace(b"1, 1]", b"1, NaN]"), BadRequest, "body"),
        (tensor().replace(b"[0, 1, 1]", b"[" * 100_000), BadRequest, "body"),
        (tensor().replace(b"[0, 1, 1]", b"[" * 100_000 + b"]" * 100_000), BadRequest, "body"),
        (plus(id=1), BadRequest, "id"),
        (plus(parameters=[]), BadRequest, "parameters"),
        (plus(parameters={"probabilities": 1}), BadRequest, "parameters.probabilities"),
        (plus(outputs=[{"name": "other"}]), BadRequest, "outputs[0].name"),
        (plus(outputs=[{"name": "predict"}] * 2), BadRequest, "outputs[1].name"),
        (plus(outputs=["predict"]), BadRequest, "outputs[0]"),
        (b'{"id":"a","id":"b",' + tensor()[1:], BadRequest, "id"),
        (b'{"\\u0069d":"a","id":"b",' + tensor()[1:], BadRequest, "id"),
        (tensor().replace(b'"name": "a"', b'"name": "a", "name": "b"'), BadRequest, "name"),
        (tensor().replace(b'"data"', b'"data": [1, 1, 1], "data"'), BadRequest, "data"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_with_its_place(
    body: bytes, error: type[Exception], where: str
) -> None:
    with pytest.raises(error) as refused:
        v2.parse(body, CHECK)
    assert refused.value.where == where  # type: ignore[attr-defined]


def test_names_in_strings_are_no_repetition() -> None:
    body = b'{"id": "\\"inputs\\"", ' + tensor(name="data", parameters={"shape": 1})[1:]
    assert v2.parse(body, CHECK).rows == [[0, 1, 1]]


@settings(max_examples=200, deadline=None)
@given(
    body=st.builds(
        lambda shape, datatype, data: tensor(shape=shape, datatype=datatype, data=data),
        st.lists(st.integers(-2, 4), max_size=3),
        st.sampled_from([*v2.DATATYPES, "BOOL", ""]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
            lambda inner: st.lists(inner, max_size=4),
        ),
    )
    | st.binary(max_size=60)
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        rows = v2.parse(body, CHECK).rows
    except (BadRequest, InvalidRows):
        rows = []
    assert all(CHECK.accepts(row) for row in rows)
