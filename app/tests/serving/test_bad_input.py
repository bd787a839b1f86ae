"""Whatever is no request is a 4xx of the one shape, on every protocol and both lanes; memory stays flat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from skfleet.serving.service import Service
from skfleet.settings import Settings

from .calls import Call, call
from .conftest import IdentityDir, Signer
from .lanes import LANES
from .zoo import JSON, PORT, kinds, write

LIMIT = 64 * 1024
GOOD = '["AA", 3, 100.5]'
# A body around one row: route → template.
ROUTES = {
    "/": "x={row}",
    "/v1/models/raw-columns-forest:predict": '{{"instances": [{row}]}}',
    "/invocations": '{{"instances": [{row}]}}',
}
NAMED = {
    "/v1/models/raw-columns-forest:predict": '{{"instances": [{row}]}}',
    "/invocations": '{{"dataframe_records": [{row}]}}',
}
ROWS = {
    "NaN": '["AA", NaN, 1]',
    "infinity": '["AA", Infinity, 1]',
    "1e999": '["AA", 1e999, 1]',
    "huge integer": '["AA", 1' + "0" * 400 + ", 1]",
    "boolean": '["AA", true, 1]',
    "null": '["AA", null, 1]',
    "text for a number": '["AA", "3", 1]',
    "number for text": "[1, 3, 1]",
    "unknown category": '["ZZ", 3, 1]',
    "lower case": '["aa", 3, 1]',
    "not whole": '["AA", 3.5, 1]',
    "below": '["AA", -1, 1]',
    "above": '["AA", 24, 1]',
    "too few": '["AA", 3]',
    "too many": '["AA", 3, 1, 1]',
    "none": "[]",
    "nested": '[["AA", 3, 1]]',
    "deep": "[" * 20_000 + "]" * 20_000,
    "unclosed": '["AA", 3, 1',
    "no JSON": "AA, 3, 1",
    "object in a row": '["AA", {"a": 1}, 1]',
    "surrogate": '["\\ud800", 3, 1]',
    "NUL": '["AA\\u0000", 3, 1]',
}
NAMED_ROWS = {
    "missing column": '{"carrier": "AA", "hour": 3}',
    "another column": '{"carrier": "AA", "hour": 3, "distance": 1, "x": 1}',
    "column given twice": '{"carrier": "AA", "hour": 3, "hour": 4, "distance": 1}',
    "empty": "{}",
    "null value": '{"carrier": null, "hour": 3, "distance": 1}',
}


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, iap_key: Signer, google_key: Signer
) -> Iterator[Service]:
    root: Path = tmp_path_factory.mktemp("bad")
    write(kinds()["raw-columns-forest"], root / "raw-columns-forest")
    (root / "identity").mkdir()
    files = IdentityDir(root / "identity", [iap_key], [google_key])
    files.environment["internal"] = {"identity": "none"}
    files.write()
    made = Service.start(
        Settings(
            models=f"raw-columns-forest={root / 'raw-columns-forest'}",
            run_dir=root,
            identity_dir=root / "identity",
            max_body_bytes=LIMIT,
        )
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made.access_log, "_write", lambda data: None)
        yield made


def request(route: str, body: str, **more: Any) -> Call:
    kind = {"content_type": "application/x-www-form-urlencoded"} if route == "/" else JSON
    return call("POST", route, body.encode(), port=PORT, **{**kind, **more})


CASES = [
    *((route, name, template.format(row=row))
      for route, template in ROUTES.items() for name, row in ROWS.items()),
    *((route, name, template.format(row=row))
      for route, template in NAMED.items() for name, row in NAMED_ROWS.items()),
    *((route, name, body) for route in (*ROUTES, "/v2/models/raw-columns-forest/infer")
      for name, body in {"nothing": "", "a list": "[]", "null": "null", "bytes": "\udcff" and "\x00",
                         "over the limit": " " * (LIMIT + 1)}.items()),
]  # fmt: skip


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(("route", "name", "body"), CASES, ids=lambda v: str(v)[:40])
def test_bad_input_is_refused_with_its_place(
    service: Service, lane: str, route: str, name: str, body: str
) -> None:
    for more in ({}, {"chunked": True}):
        answer = LANES[lane](service)(request(route, body, **more))
        assert 400 <= answer.status < 500, (answer.status, answer.body)
        error = json.loads(answer.body)
        assert set(error) == {"error", "code", "where", "hint"}
        assert all(error.values())
        assert error["error"].endswith(".")


@pytest.mark.parametrize("route", ROUTES)
def test_the_same_with_a_good_row_is_answered(service: Service, route: str) -> None:
    """The negative control: the refusals above are of the rows."""
    for lane in LANES.values():
        assert lane(service)(request(route, ROUTES[route].format(row=GOOD))).status == 200


def test_a_refusal_names_field_row_and_remedy(service: Service) -> None:
    body = '{"instances": [["AA", 3, 1], ["ZZ", 3, 1]]}'
    error = LANES["flask"](service)(request("/v1/models/raw-columns-forest:predict", body)).json
    assert error["where"] == "instances[1][0]"
    assert "'carrier'" in error["error"]
    assert error["hint"] == "Text, one of: AA, B6, DL."


def test_memory_stays_flat_under_bad_input(service: Service) -> None:
    bad = [request(route, body) for route, _, body in CASES]
    for lane in LANES.values():
        ask = lane(service)
        for one in bad:
            ask(one)
        before = psutil.Process().memory_info().rss
        for _ in range(5):
            for one in bad:
                ask(one)
        assert psutil.Process().memory_info().rss - before < 16 * 1024**2
