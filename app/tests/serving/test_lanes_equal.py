"""The fast lane answers with Flask's bytes, or leaves the answer to Flask: nobody can tell.

Each drawn request is sent over real WSGI to Flask alone and over real ASGI to the fast lane, to the
latter twice: while no token is known, so that Flask answers, and when all valid ones are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from skfleet.documents.manifest import Feature
from skfleet.serving.app import create_app
from skfleet.serving.fast import FastLane
from skfleet.serving.listeners import Listener
from skfleet.serving.service import Service
from skfleet.settings import Settings
from skfleet_operator.models.publish import write_artefact

from .calls import Answer, Call, asgi, wsgi
from .conftest import IdentityDir, Signer, google_claims, iap_claims

FORM = "application/x-www-form-urlencoded"
LIMIT = 4096


class Pair:
    """Both lanes over one service, with valid tokens."""

    def __init__(self, service: Service, iap: str, bearer: str) -> None:
        self.flask = create_app(service)
        self.fast = FastLane(service)
        self.service = service
        self.iap = iap
        self.bearer = bearer

    def answers(self, request: Call) -> tuple[Answer, list[Answer]]:
        expected = wsgi(self.flask, request)
        identity = self.service.identity
        for policy in identity._policies.values():
            policy.cache.clear()  # type: ignore[union-attr]
        unknown = asgi(self.fast, request)
        identity.verify(Listener.IAP, self.iap)
        identity.verify(Listener.INTERNAL, self.bearer[7:])
        return expected, [*unknown, *asgi(self.fast, request)]


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory,
    estimator: Any,
    golden_rows: Any,
    iap_key: Signer,
    google_key: Signer,
) -> Iterator[Pair]:
    root: Path = tmp_path_factory.mktemp("lanes")
    features = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)]
    write_artefact(
        root / "tiny", name="tiny", estimator=estimator, features=features, golden_rows=golden_rows
    )
    (root / "identity").mkdir()
    files = IdentityDir(root / "identity", [iap_key], [google_key])
    files.write()
    service = Service.start(
        Settings(
            release="r1",
            models=f"tiny={root / 'tiny'}",
            identity_dir=files.path,
            run_dir=root,
            max_body_bytes=LIMIT,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service.access_log, "_write", lambda data: None)
        # One look for the whole run: what changes between two calls is not the lanes' doing.
        patch.setattr(service.health, "_clock", lambda: 0.0)
        yield Pair(
            service, iap_key.sign(iap_claims()), "Bearer " + google_key.sign(google_claims())
        )


# What callers send

bits = st.lists(st.sampled_from([0, 1]), min_size=37, max_size=37)
odd_value: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 0.0, 1.0, -0.0, 0.5, 2, -1, True, None, "1", [], {}, 10**30, 1e300, float("nan"),
     float("inf")]
)  # fmt: skip
odd_row = st.lists(odd_value, max_size=3) | bits.flatmap(
    lambda row: st.tuples(st.integers(0, 36), odd_value).map(
        lambda at: [*row[: at[0]], at[1], *row[at[0] + 1 :]]
    )
)
rows = bits | odd_row | bits.map(lambda row: [*row, 0])
spellings = st.sampled_from(
    [
        lambda row: json.dumps(row),
        lambda row: json.dumps(row, separators=(",", ":")),
        lambda row: json.dumps(row, indent=1),
        lambda row: " " + json.dumps(row) + "\t\r\n",
        lambda row: "  " + json.dumps(row) + " ",
        lambda row: json.dumps(row).replace("1", "1e0"),
        lambda row: json.dumps(row).replace("1", "1e+0"),
        lambda row: json.dumps(row).replace("[", "("),
        lambda row: json.dumps(row) + "]",
        lambda row: str(row),
    ]
)
encodings = st.sampled_from(
    [
        lambda text: text,
        quote,
        quote_plus,
        lambda text: quote_plus(text).lower(),
        lambda text: quote(text, safe="[],"),
        lambda text: text.replace(" ", "+"),
        lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    ]
)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    value = draw(encodings)(draw(spellings)(draw(rows)))
    text = draw(
        st.sampled_from(
            ["x={}", "x={}&y=2", "y=1&x={}", "x={0}&x={0}", "X={}", "x=={}", "{}", "x={}&", "&x={}",
             "%78={}", "x={};y=1", "x", "x={}\n", "+x={}"]
        )
    ).format(value)  # fmt: skip
    return text.encode() + draw(st.sampled_from([b"", b"", b"", b"%", b"%ff", b"\xff", b"\x00"]))


@st.composite
def instances(draw: st.DrawFn) -> bytes:
    body: dict[str, Any] = {"instances": draw(st.lists(rows, max_size=3))}
    if draw(st.booleans()):
        body["parameters"] = draw(
            st.sampled_from(
                [{"probabilities": True}, {"probabilities": False}, {}, None, {"probabilities": 1},
                 {"other": 1}, []]
            )
        )  # fmt: skip
    if draw(st.booleans()):
        body[draw(st.sampled_from(["signature_name", "Instances", "x"]))] = "instances"
    text = str(draw(spellings)(body))
    return text.encode() + draw(st.sampled_from([b"", b"", b"", b"}", b"\x00", b"\xff", b" "]))


content_types = st.sampled_from(
    [FORM, FORM, FORM + "; charset=utf-8", FORM.upper(), "application/json", "application/json",
     "application/json; charset=latin-1", "text/plain", "", "multipart/form-data",
     "multipart/form-data; boundary=b"]
)  # fmt: skip
paths = st.sampled_from(
    ["/", "/", "/predict", "/predict?a=1", "/?x=%ff", "/?\u00e9", "/predict/", "//", "/%70redict",
     "/v1/models/tiny:predict", "/v1/models/tiny:predict", "/v1/models/tiny%3Apredict",
     "/v1/models/other:predict", "/v1/models/tiny", "/v1/models/", "/livez", "/readyz", "/version",
     "/livez/../predict", "/livezz", "/metrics", "/x\u00e9", "/%ff", "/v1/models/t/iny:predict"]
)  # fmt: skip
methods = st.sampled_from(
    ["POST"] * 6 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "get", "FOO"]
)
extra_headers = st.lists(
    st.sampled_from(
        [("host", ""), ("host", "a:8082"), ("content-encoding", "gzip"), ("x-other", "\u00e9"),
         ("content-encoding", "identity"), ("content-type", FORM), ("expect", "x"),
         ("accept", "text/html"), ("x-http-method-override", "GET"), ("cookie", "a=b")]
    ),
    max_size=2,
)  # fmt: skip


@st.composite
def calls(draw: st.DrawFn) -> Call:
    body = draw(forms() | instances() | st.binary(max_size=40) | st.just(b"z" * (LIMIT + 1)))
    cut = draw(st.integers(0, len(body)))
    chunks = tuple(part for part in (body[:cut], body[cut:]) if part)
    return Call(
        draw(methods),
        draw(paths),
        (("content-type", draw(content_types)), *draw(extra_headers)),
        chunks,
        draw(st.booleans()),
        draw(st.sampled_from([8080, 8080, 8080, 8081, 8082, 8083, 80])),
    )


identities = st.sampled_from(["own"] * 6 + ["none", "garbage", "twice", "other", "lowercase"])


def identified(request: Call, kind: str, pair: Pair) -> Call:
    iap = ("x-goog-iap-jwt-assertion", pair.iap)
    bearer = ("authorization", pair.bearer)
    extra = {
        "own": [iap, bearer],
        "none": [],
        "garbage": [(iap[0], "a.b.c"), (bearer[0], "Bearer a.b.c")],
        "twice": [iap, iap, bearer, bearer],
        "other": [(iap[0], pair.bearer[7:]), (bearer[0], "Bearer " + pair.iap)],
        "lowercase": [iap, ("proxy-authorization", "bearer " + pair.bearer[7:])],
    }[kind]
    return replace(request, headers=(*request.headers, *extra))


def check(pair: Pair, request: Call) -> Answer:
    expected, got = pair.answers(request)
    # /metrics counts the calls themselves.
    if request.path == "/metrics" and expected.status == 200:
        assert [answer.status for answer in got] == [200, 200]
        return expected
    for answer in got:
        assert answer.status == expected.status
        assert answer.body == expected.body
        assert dict(answer.headers) == dict(expected.headers)
    assert expected.status != 500
    return expected


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(request=calls(), identity=identities)
@example(
    request=Call("POST", "/", (("content-type", FORM),), (b"x=" + b"\xff" * 20,)), identity="own"
)
def test_any_request_gets_the_same_answer_on_both_lanes(
    pair: Pair, request: Call, identity: str
) -> None:
    check(pair, identified(request, identity, pair))


@settings(max_examples=200, deadline=None)
@given(body=forms(), path=st.sampled_from(["/", "/predict"]))
@example(body=b"y=" + json.dumps([0, 1] * 18 + [1]).encode(), path="/")
def test_any_form_gets_the_same_answer_on_both_lanes(pair: Pair, body: bytes, path: str) -> None:
    request = Call("POST", path, (("content-type", FORM),), (body,))
    check(pair, identified(request, "own", pair))


@settings(max_examples=200, deadline=None)
@given(body=instances())
@example(body=b'{"instances": []}')
def test_any_instances_get_the_same_answer_on_both_lanes(pair: Pair, body: bytes) -> None:
    kind = (("content-type", "application/json"),)
    request = Call("POST", "/v1/models/tiny:predict", kind, (body,))
    check(pair, identified(request, "own", pair))


GOOD = (
    Call("POST", "/", (("content-type", FORM),), (b"x=" + json.dumps([0, 1] * 18 + [1]).encode(),)),
    Call(
        "POST",
        "/v1/models/tiny:predict",
        (("content-type", "application/json"),),
        (json.dumps({"instances": [[0, 1] * 18 + [1]]}).encode(),),
    ),
)


@settings(max_examples=250, deadline=None)
@given(
    good=st.sampled_from(GOOD),
    change=methods.map(lambda method: {"method": method})
    | paths.map(lambda path: {"path": path})
    | content_types.map(lambda kind: {"headers": (("content-type", kind),)})
    | extra_headers.map(lambda extra: {"extra": tuple(extra)})
    | st.booleans().map(lambda chunked: {"chunked": chunked})
    | st.sampled_from([8080, 8081, 8082, 8083, 80]).map(lambda port: {"port": port}),
)
@example(good=GOOD[0], change={"method": "GET"})
@example(good=GOOD[1], change={"method": "PUT"})
def test_a_good_request_with_one_thing_changed_gets_the_same_answer(
    pair: Pair, good: Call, change: dict[str, Any]
) -> None:
    change = dict(change)
    headers = (*change.pop("headers", good.headers), *change.pop("extra", ()))
    check(pair, identified(replace(good, headers=headers, **change), "own", pair))


@pytest.mark.parametrize("port", [8080, 8081])
@pytest.mark.parametrize("identity", ["own", "none", "garbage", "twice", "other", "lowercase"])
def test_any_identity_gets_the_same_answer_on_both_lanes(
    pair: Pair, identity: str, port: int
) -> None:
    body = b"x=" + json.dumps([0, 1] * 18 + [1]).encode()
    request = Call("POST", "/", (("content-type", FORM),), (body,), port=port)
    check(pair, identified(request, identity, pair))


@settings(max_examples=100, deadline=None)
@given(row=bits, spell=spellings, encode=encodings, port=st.sampled_from([8080, 8081]))
def test_well_formed_forms_get_the_same_answer_on_both_lanes(
    pair: Pair, row: list[int], spell: Any, encode: Any, port: int
) -> None:
    body = b"x=" + encode(spell(row)).encode()
    request = Call("POST", "/", (("content-type", FORM),), (body,), port=port)
    check(pair, identified(request, "own", pair))


@settings(max_examples=100, deadline=None)
@given(batch=st.lists(bits, min_size=1, max_size=4), wanted=st.booleans())
def test_well_formed_instances_get_the_same_answer_on_both_lanes(
    pair: Pair, batch: list[list[int]], wanted: bool
) -> None:
    body = json.dumps({"instances": batch, "parameters": {"probabilities": wanted}}).encode()
    kind = (("content-type", "application/json"),)
    request = Call("POST", "/v1/models/tiny:predict", kind, (body,))
    assert check(pair, identified(request, "own", pair)).status == 200


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/", FORM, b"x=" + str([0, 1] * 18 + [1]).encode()),
        ("/predict", FORM, b"x=" + quote_plus(str([0, 1] * 18 + [1])).encode()),
        ("/predict", FORM, b"x=" + quote(str([0, 1] * 18 + [1])).encode()),
        ("/v1/models/tiny:predict", "application/json",
         json.dumps({"instances": [[0, 1] * 18 + [1]]}).encode()),
    ],
)  # fmt: skip
@pytest.mark.parametrize("port", [8080, 8081])
def test_the_common_prediction_does_not_reach_flask(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, path: str, kind: str, body: bytes, port: int
) -> None:
    """Without this, a lane that hands everything over would be equal, and slow."""
    request = identified(Call("POST", path, (("content-type", kind),), (body,), port=port),
                         "own", pair)  # fmt: skip
    check(pair, request)
    fast = FastLane(pair.service)

    async def never(*_: Any) -> None:
        raise AssertionError("Flask was asked")

    monkeypatch.setattr(fast, "_flask", never)
    assert asgi(fast, request)[0].status == 200
    for probe in ("/livez", "/readyz"):
        assert asgi(fast, Call("GET", probe, port=8082))[0].status == 200
