"""Predictions and refusals over HTTP, the same on both lanes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest

from .calls import Call, asgi, call, wsgi
from .lanes import LANES, Ask

FORM = "application/x-www-form-urlencoded"
ROW = [0, 1] * 18 + [1]
BODY = urlencode({"x": str(ROW)}).encode()
ERROR_FIELDS = {"error", "code", "where", "hint"}


@pytest.fixture(params=sorted(LANES))
def ask(request: pytest.FixtureRequest, service: Any, iap_header: dict[str, str]) -> Ask:
    """Asks as an admitted caller."""
    lane = LANES[request.param](service)
    headers = tuple(iap_header.items())

    def admitted(asked: Call) -> Any:
        return lane(
            Call(asked.method, asked.path, asked.headers + headers, asked.chunks, asked.chunked)
        )

    admitted(call("POST", "/", BODY, content_type=FORM))  # the token is known from here on
    return admitted


@pytest.mark.parametrize("path", ["/", "/predict", "/?a=1", "/predict?\u00e9"])
def test_the_original_contract_byte_for_byte(ask: Ask, estimator: Any, path: str) -> None:
    label = int(estimator.predict(np.asarray([ROW]))[0])
    answer = ask(call("POST", path, BODY, content_type=FORM))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.body == (
        b'{"model_prediction":"[%d]","received_data":{"x":"%s"}}\n' % (label, str(ROW).encode())
    )


def test_the_whole_form_is_echoed(ask: Ask) -> None:
    body = urlencode([("y", "é<"), ("x", str(ROW)), ("a", ""), ("y", "2")]).encode()
    answer = ask(call("POST", "/", body, content_type=FORM))
    assert answer.json["received_data"] == {"a": "", "x": str(ROW), "y": "é<"}


def test_a_multipart_form_is_read_as_well(ask: Ask) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n'
        + str(ROW).encode()
        + b"\r\n--b--\r\n"
    )
    answer = ask(call("POST", "/", body, content_type="multipart/form-data; boundary=b"))
    assert answer.json["received_data"] == {"x": str(ROW)}
    broken = ask(call("POST", "/", body[:40], content_type="multipart/form-data; boundary=b"))
    assert broken.status == 400


def test_instances_get_scikit_learns_labels_and_probabilities(ask: Ask, estimator: Any) -> None:
    rows = np.random.default_rng(3).integers(0, 2, (50, 37))
    body = json.dumps({"instances": rows.tolist(), "parameters": {"probabilities": True}}).encode()
    answer = ask(call("POST", "/v1/models/tiny:predict", body, content_type="application/json"))
    assert answer.json["predictions"] == estimator.predict(rows).tolist()
    expected = estimator.predict_proba(rows)
    assert np.abs(np.asarray(answer.json["probabilities"]) - expected).max() < 1e-9


def test_a_batch_answers_as_its_rows_do(ask: Ask) -> None:
    rows = np.random.default_rng(4).integers(0, 2, (20, 37)).tolist()

    def predict(instances: list[list[int]]) -> list[int]:
        body = json.dumps({"instances": instances}).encode()
        path = "/v1/models/tiny:predict"
        labels: list[int] = ask(call("POST", path, body, content_type="application/json")).json[
            "predictions"
        ]
        return labels

    assert predict(rows) == [predict([row])[0] for row in rows]


def test_a_models_status(ask: Ask, service: Any) -> None:
    body = ask(call("GET", "/v1/models/tiny")).json
    assert body == {
        "name": "tiny",
        "ready": True,
        "digest": service.content.models.get().model.digest,
        "backend": "linear",
    }


REFUSALS = [
    (call("GET", "/nothing"), 404, "not_found", "path"),
    (call("POST", "/predict/", BODY, content_type=FORM), 404, "not_found", "path"),
    (call("POST", "//predict", BODY, content_type=FORM), 404, "not_found", "path"),
    (call("GET", "/v1//models/tiny"), 404, "not_found", "path"),
    (call("POST", "/v1/models/other:predict", b"{}"), 404, "model_not_found", "path"),
    (call("GET", "/v1/models/other"), 404, "model_not_found", "path"),
    (call("GET", "/"), 405, "method_not_allowed", "method"),
    (call("PUT", "/predict", BODY), 405, "method_not_allowed", "method"),
    (call("OPTIONS", "/"), 405, "method_not_allowed", "method"),
    (call("POST", "/", BODY), 415, "unsupported_media_type", "Content-Type"),
    (call("POST", "/", BODY, content_type="text/plain"), 415, "unsupported_media_type",
     "Content-Type"),
    (call("POST", "/", BODY, content_type=FORM, content_encoding="gzip"), 415,
     "unsupported_media_type", "Content-Encoding"),
    (call("POST", "/v1/models/tiny:predict", b"{}", content_type=FORM), 415,
     "unsupported_media_type", "Content-Type"),
    (call("POST", "/", content_type=FORM), 400, "bad_request", "x"),
    (call("POST", "/", b"x=[1&x=[2", content_type=FORM), 400, "bad_request", "x"),
    (call("POST", "/", b"x=[0,1]", content_type=FORM), 422, "invalid_rows", "x"),
    (call("POST", "/", b"x=" + b"[0" + b",0" * 35 + b",7]", content_type=FORM), 422,
     "invalid_rows", "x[36]"),
    (call("POST", "/v1/models/tiny:predict", b"{", content_type="application/json"), 400,
     "bad_request", "body"),
    (call("POST", "/v1/models/tiny:predict", json.dumps({"instances": [ROW, [*ROW[:-1], 2]]})
          .encode(), content_type="application/json"), 422, "invalid_rows", "instances[1][36]"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("request_", "status", "code", "where"),
    REFUSALS,
    ids=[f"{r[0].method} {r[0].path} {r[1]} {i}" for i, r in enumerate(REFUSALS)],
)
def test_every_refusal_has_the_one_shape(
    ask: Ask, request_: Call, status: int, code: str, where: str
) -> None:
    answer = ask(request_)
    assert (answer.status, answer.json["code"], answer.json["where"]) == (status, code, where)
    assert set(answer.json) == ERROR_FIELDS
    assert answer.json["error"].endswith(".")
    assert answer.json["hint"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-skfleet-release"] == "r1"
    if status == 405:
        assert answer.headers["allow"]


def test_a_service_without_release_says_none(make_service: Callable[..., Any]) -> None:
    service = make_service(release="")
    for make in LANES.values():
        for request in (call("GET", "/livez", port=8082), call("GET", "/", port=8080)):
            assert make(service)(request).headers["x-skfleet-release"] == "none"


def test_a_bug_is_logged_and_its_caller_learns_an_id(
    service: Any, iap_header: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        name = "linear"

        def predict(self, rows: Any) -> list[int]:
            raise RuntimeError("secret of the inside")

    object.__setattr__(service.content.models.get().model, "backend", Broken())
    for make in LANES.values():
        ask = make(service)
        with caplog.at_level(logging.ERROR, "skfleet"):
            answer = ask(call("POST", "/", BODY, content_type=FORM, **iap_header))
        assert (answer.status, answer.json["code"]) == (500, "internal")
        assert b"secret" not in answer.body
        assert answer.json["where"] in caplog.text
        assert "secret of the inside" in caplog.text


# Bodies and their limit

LIMIT = 2048


class Endless:
    """A body that never ends, as WSGI input; counts what was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "an unbounded read"
        self.taken += size
        return b"x" * size


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_body_over_the_limit_is_413_on_both_lanes(
    make_service: Callable[..., Any], iap_header: dict[str, str], chunked: bool, known: bool
) -> None:
    service = make_service(max_body_bytes=LIMIT)
    for make in LANES.values():
        ask = make(service)
        if known:
            assert ask(call("POST", "/", BODY, content_type=FORM, **iap_header)).status == 200
        big = [b"x=" + b"0" * 1000, b"1" * 1000, b"2" * 1000]
        answer = ask(call("POST", "/", big, chunked=chunked, content_type=FORM, **iap_header))
        assert (answer.status, answer.json["code"]) == (413, "body_too_large")
        assert answer.headers["connection"] == "close"


def test_a_body_of_exactly_the_limit_is_read(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    service = make_service(max_body_bytes=LIMIT)
    body = BODY + b"&a=" + b"y" * (LIMIT - len(BODY) - 3)
    for make in LANES.values():
        for chunked in (True, False):
            ask = make(service)
            right = call("POST", "/", body, chunked=chunked, content_type=FORM, **iap_header)
            over = call("POST", "/", body + b"y", chunked=chunked, content_type=FORM, **iap_header)
            assert ask(right).status == 200
            assert ask(over).status == 413


def test_the_rest_of_a_body_over_the_limit_is_not_read(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    from skfleet.serving.app import create_app
    from skfleet.serving.fast import FastLane

    service = make_service(max_body_bytes=LIMIT)
    small = call("POST", "/", BODY, content_type=FORM, **iap_header)
    app = FastLane(service)
    chunks = tuple(b"z" * 1024 for _ in range(50))
    huge = Call("POST", "/", small.headers, chunks, chunked=True)
    taken: list[int] = []

    async def counting(scope: Any, receive: Any, send: Any) -> None:
        async def counted() -> Any:
            taken.append(1)
            return await receive()

        await app(scope, counted, send)

    assert [answer.status for answer in asgi(counting, small, huge)] == [200, 413]
    assert len(taken) <= 1 + 4  # the small one, and the limit with one chunk more

    stream = Endless()
    flask = create_app(service)

    def endless_input(environ: dict[str, Any], start_response: Any) -> Any:
        environ["wsgi.input"] = stream
        return flask(environ, start_response)

    assert wsgi(endless_input, huge).status == 413
    assert stream.taken <= LIMIT + 1


def test_a_body_that_ends_early_is_refused(service: Any, iap_header: dict[str, str]) -> None:
    request = call("POST", "/", BODY, content_type=FORM, content_length="9999", **iap_header)
    assert LANES["flask"](service)(request).json["code"] == "bad_request"


def test_a_chunked_body_is_read_on_both_lanes(ask: Ask) -> None:
    whole = ask(call("POST", "/", BODY, content_type=FORM))
    pieces = [BODY[:1], BODY[1:30], BODY[30:]]
    assert ask(call("POST", "/", pieces, chunked=True, content_type=FORM)) == whole
    assert ask(call("POST", "/", pieces, content_type=FORM)) == whole
