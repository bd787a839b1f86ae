"""Whatever a body holds, the answer is 4xx: bodies that parsers stumble over, and numbers that models do."""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pytest

from skfleet.serving.protocols import form, mlflow, npy, v1, v2
from skfleet.serving.service import Content, Service
from skfleet.settings import Settings

from .calls import Answer, Call, call
from .conftest import IdentityDir, Signer
from .fuzz_target import ENVIRONMENT, make_models
from .lanes import LANES

JSON, NPY, BINARY = "application/json", "application/x-npy", "application/octet-stream"
GOOD = [0.5, -1.0, 2.0]
# Numbers beyond what each model's arithmetic takes; none has a limit of its own.
TOO_MUCH = {"forest": 1e39, "graph": 1e39, "sum": 1e308}
ERROR_FIELDS = {"error", "code", "where", "hint"}

Ask = Callable[[Call], Answer]


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, iap_key: Signer, google_key: Signer
) -> Iterator[Service]:
    root: Path = tmp_path_factory.mktemp("unanswerable")
    (root / "identity").mkdir()
    IdentityDir(root / "identity", [iap_key], [google_key], ENVIRONMENT).write()
    settings = Settings(release="r1", identity_dir=root / "identity", run_dir=root)
    with pytest.MonkeyPatch.context() as patch:
        service = Service(settings, Content("r1", make_models(root / "models")))
        patch.setattr(service.access_log, "_write", lambda _: None)
        yield service


@pytest.fixture(params=sorted(LANES))
def ask(request: pytest.FixtureRequest, service: Service) -> Ask:
    return LANES[request.param](service)


def post(path: str, body: bytes, kind: str, **headers: str) -> Call:
    return call("POST", path, body, port=8081, content_type=kind, **headers)


def array(rows: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(rows, float))
    return file.getvalue()


def tensor(rows: Any, **more: Any) -> dict[str, Any]:
    return {"name": "rows", "shape": [len(rows), len(rows[0])], "datatype": "FP64", **more}


def protocols(model: str, rows: list[list[float]]) -> dict[str, Call]:
    """The rows in every protocol that has a model's name in its path."""
    binary = struct.pack(f"<{len(rows) * len(rows[0])}d", *(value for row in rows for value in row))
    head = {"inputs": [tensor(rows, parameters={"binary_data_size": len(binary)})]}
    text = json.dumps(head).encode()
    infer, predict = f"/v2/models/{model}/infer", f"/v1/models/{model}:predict"
    columns = [
        {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": list(column)}
        for name, column in zip("xyz", zip(*rows, strict=True), strict=True)
    ]
    return {
        "V1": post(predict, json.dumps({"instances": rows}).encode(), JSON),
        "V1 names": post(
            predict,
            json.dumps(
                {"instances": [dict(zip("xyz", row, strict=True)) for row in rows]}
            ).encode(),
            JSON,
        ),
        "npy": post(predict, array(rows), NPY),
        "V2": post(infer, json.dumps({"inputs": [tensor(rows, data=rows)]}).encode(), JSON),
        "V2 columns": post(infer, json.dumps({"inputs": columns}).encode(), JSON),
        "V2 binary": post(
            infer, text + binary, BINARY, inference_header_content_length=str(len(text))
        ),
    }


PROTOCOLS = tuple(protocols("sum", [GOOD]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("model", TOO_MUCH)
def test_row_that_overflows_is_422_and_named(ask: Ask, model: str, protocol: str) -> None:
    for bad_at, count in ((0, 1), (2, 5), (17, 40)):
        rows = [GOOD] * count
        assert ask(protocols(model, rows)[protocol]).status == 200
        rows[bad_at] = [TOO_MUCH[model]] * 3
        answer = ask(protocols(model, rows)[protocol])
        assert (answer.status, answer.json["code"]) == (422, "invalid_rows"), answer.body
        assert set(answer.json) == ERROR_FIELDS
        assert f"[{bad_at}]" in answer.json["where"]


def test_overflow_of_the_default_model_is_422_in_its_protocols(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = service.content.models
    monkeypatch.setattr(service, "content", Content("r1", type(models)("sum", models.served)))
    row = [1e308] * 3
    for ask in (lane(service) for lane in LANES.values()):
        answer = ask(post("/", b"x=" + quote_plus(json.dumps(row)).encode(), form.CONTENT_TYPE))
        assert (answer.status, answer.json["where"]) == (422, "x")
        answer = ask(post("/invocations", json.dumps({"inputs": [GOOD, row]}).encode(), JSON))
        assert (answer.status, answer.json["where"]) == (422, "row[1]")


def test_probabilities_that_overflow_are_422(ask: Ask) -> None:
    body = {"instances": [GOOD, [1e39] * 3], "parameters": {"probabilities": True}}
    answer = ask(post("/v1/models/forest:predict", json.dumps(body).encode(), JSON))
    assert (answer.status, answer.json["where"]) == (422, "instances[1]")


def test_model_that_fails_on_everything_is_still_our_failure(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise ValueError("broken")

    monkeypatch.setattr(service.content.models.served["sum"].model.backend, "predict", broken)
    for ask in (lane(service) for lane in LANES.values()):
        answer = ask(protocols("sum", [GOOD])["V1"])
        assert (answer.status, answer.json["code"]) == (500, "internal")


HEAD = array([GOOD])[:128]
DAMAGED_HEADS = {
    "bracket": HEAD.replace(b"(1, 3)", b"(1, 3 "),
    "brace": HEAD.replace(b"}", b" "),
    "quote": HEAD.replace(b"'descr", b" descr"),
    "string": HEAD.replace(b"'shape'", b"'''shape"),
    "key": HEAD.replace(b"'shape'", b"'shap3'"),
    "dtype": HEAD.replace(b"<f8", b"<q8"),
    "nested": HEAD.replace(b"(1, 3)", b"(((((("),
    "zero": HEAD.replace(b"(1, 3)", b"(\0, 3)"),
    "backslash": HEAD.replace(b"(1, 3)", b"(1,\\3)"),
    "number": HEAD.replace(b"(1, 3)", b"(1,3J)"),
    "not ASCII": HEAD.replace(b"(1, 3)", b"(1,\xff3)"),
    "tab": HEAD.replace(b"{'descr", b"\n\tdescr"),
    "version": b"\x93NUMPY\x07" + HEAD[7:],
    "length": HEAD[:8] + b"\xff\xff" + HEAD[10:],
}


@pytest.mark.parametrize("name", DAMAGED_HEADS)
def test_damaged_npy_head_is_400(ask: Ask, name: str) -> None:
    answer = ask(post("/v1/models/sum:predict", DAMAGED_HEADS[name] + array([GOOD])[128:], NPY))
    assert answer.status == 400
    assert set(answer.json) == ERROR_FIELDS


@pytest.mark.parametrize("protocol", [form, mlflow, npy, v1, v2])
def test_parser_that_stumbles_is_400(
    service: Service, monkeypatch: pytest.MonkeyPatch, protocol: Any
) -> None:
    """Whatever it raises: the next version of a library may raise something new."""

    def stumble(*_: Any) -> Any:
        raise LookupError("nobody expected this")

    monkeypatch.setattr(protocol, "parse_row" if protocol is form else "parse", stumble)
    digits = json.dumps([0, 1] * 18 + [1]).encode()
    requests = {
        form: post("/", b"x=" + digits + b"&y=1", form.CONTENT_TYPE),
        mlflow: post("/invocations", b'{"inputs": [%b]}' % digits, JSON),
        npy: protocols("forest", [GOOD])["npy"],
        v1: protocols("forest", [GOOD])["V1"],
        v2: protocols("forest", [GOOD])["V2"],
    }
    answer = LANES["flask"](service)(requests[protocol])
    assert (answer.status, answer.json["code"]) == (400, "bad_request")
