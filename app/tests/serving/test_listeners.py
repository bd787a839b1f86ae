"""Each listener serves its own, and only the socket says which listener it is; on both lanes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
import requests

from skfleet.errors import ConfigurationError
from skfleet.serving import listeners
from skfleet.serving.listeners import Listener
from skfleet.settings import Settings
from skfleet_operator.doctor.access import judge_call

from .calls import call
from .conftest import IAP_AUDIENCE, IdentityDir, Signer, iap_claims
from .lanes import LANES, Ask

FORM = "application/x-www-form-urlencoded"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()
ERROR_FIELDS = {"error", "code", "where", "hint"}


@pytest.fixture(params=sorted(LANES))
def ask(request: pytest.FixtureRequest, service: Any) -> Ask:
    return LANES[request.param](service)


PREDICTIONS = [
    ("POST", "/", FORM, ROW),
    ("POST", "/predict", FORM, ROW),
    ("POST", "/v1/models/tiny:predict", "application/json", b'{"instances": [[0]]}'),
    ("GET", "/v1/models/tiny", "", b""),
    ("GET", "/livez", "", b""),
    ("GET", "/readyz", "", b""),
    ("GET", "/version", "", b""),
    ("GET", "/nothing", "", b""),
    ("GET", "/metrics", "", b""),
    ("DELETE", "/", "", b""),
]


@pytest.mark.parametrize("port", [8080, 8081])
@pytest.mark.parametrize(("method", "path", "kind", "body"), PREDICTIONS)
def test_nothing_is_answered_without_identity(
    ask: Ask, port: int, method: str, path: str, kind: str, body: bytes
) -> None:
    answer = ask(call(method, path, body, port=port, content_type=kind))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    if answer.body:
        assert answer.json["code"] == "unauthenticated"
        assert set(answer.json) == ERROR_FIELDS


def test_doctor_reads_the_audience_that_iap_signs_for_from_the_answer(
    ask: Ask, iap_key: Signer
) -> None:
    signed_for = "/projects/1/europe-west1/backendServices/9"
    token = iap_key.sign(iap_claims(aud=signed_for))
    answer = ask(call("GET", "/version", port=8080, **{"x-goog-iap-jwt-assertion": token}))
    response = requests.Response()
    response.status_code, response.raw = answer.status, io.BytesIO(answer.body)
    result = judge_call("external audience", response, [IAP_AUDIENCE])
    assert result.verdict == "fail"
    assert result.seen == f"IAP signs for {signed_for}; the VMs expect {IAP_AUDIENCE}"


def test_each_listener_takes_its_own_kind_of_identity(
    ask: Ask, iap_header: dict[str, str], bearer_header: dict[str, str]
) -> None:
    def status(port: int, **headers: str) -> int:
        request = call("POST", "/", ROW, port=port, content_type=FORM, **headers)
        return int(ask(request).status)

    assert status(8080, **iap_header) == 200
    assert status(8081, **bearer_header) == 200
    assert status(8080, **bearer_header) == 401
    assert status(8081, **iap_header) == 401


def test_proxy_authorization_comes_before_authorization(
    ask: Ask, bearer_header: dict[str, str]
) -> None:
    token = bearer_header["authorization"]

    def status(**headers: str) -> int:
        request = call("POST", "/", ROW, port=8081, content_type=FORM, **headers)
        return int(ask(request).status)

    assert status(proxy_authorization=token) == 200
    assert status(proxy_authorization=token, authorization="Basic abc") == 200
    assert status(proxy_authorization="Basic abc", authorization=token) == 401


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version"])
def test_the_health_listener_needs_no_identity(ask: Ask, path: str) -> None:
    assert ask(call("GET", path, port=8082)).status == 200


@pytest.mark.parametrize(
    "path",
    ["/", "/predict", "/livezz", "/livez/", "/livez/../predict", "//livez", "/LIVEZ", "/livez%2f",
     "/livez;x", "/readyz/x", "/metrics", "/v1/models/tiny", "/v1/models/tiny:predict", "/x\u00e9",
     "/%ff"],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"])
def test_the_health_listener_serves_nothing_else(
    ask: Ask, iap_header: dict[str, str], method: str, path: str
) -> None:
    answer = ask(call(method, path, ROW, port=8082, content_type=FORM, **iap_header))
    assert answer.status == 404
    assert answer.json["code"] == "not_found"
    assert set(answer.json) == ERROR_FIELDS


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_on_the_health_listener_takes_a_change(ask: Ask, method: str) -> None:
    answer = ask(call(method, "/readyz", port=8082))
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/version", "/", "/predict", "/metrics/"])
def test_the_metrics_listener_serves_metrics_alone(ask: Ask, path: str) -> None:
    assert ask(call("GET", "/metrics", port=8083)).status == 200
    assert ask(call("GET", path, port=8083)).status == 404


def test_metrics_are_on_no_other_listener(ask: Ask, iap_header: dict[str, str]) -> None:
    for path in ("/metrics", "//metrics", "///metrics", "/%2fmetrics", "/./metrics"):
        assert ask(call("GET", path, port=8080, **iap_header)).status == 404


@pytest.mark.parametrize(
    "trick",
    [
        {"host": "127.0.0.1:8082"},
        {"host": "service:8083"},
        {"host": ""},
        {"host": "bad host!"},
        {"x_forwarded_port": "8082"},
        {"x_forwarded_host": "service:8082"},
        {"forwarded": "host=service:8082"},
        {"x_original_url": "/livez"},
        {"x_rewrite_url": "/livez"},
        {"server_port": "8082"},
        {"script_name": "/livez"},
    ],
)
def test_no_header_moves_a_request_to_another_listener(ask: Ask, trick: dict[str, str]) -> None:
    assert ask(call("POST", "/", ROW, content_type=FORM, **trick)).status == 401
    assert ask(call("GET", "/metrics", **trick)).status == 401
    # Nor does it break a request that is as it should be.
    assert ask(call("GET", "/livez", port=8082, **trick)).status == 200
    assert ask(call("GET", "/predict", port=8082, **trick)).status == 404


def test_an_unknown_port_serves_nothing(ask: Ask, iap_header: dict[str, str]) -> None:
    for path in ("/", "/livez", "/metrics"):
        assert ask(call("GET", path, port=80, **iap_header)).status == 404


def test_identity_none_opens_the_internal_listener_alone(
    identity_dir: IdentityDir, make_service: Callable[..., Any]
) -> None:
    identity_dir.environment["internal"]["identity"] = "none"
    identity_dir.write()
    service = make_service()
    for make in LANES.values():
        ask = make(service)
        assert ask(call("POST", "/", ROW, port=8081, content_type=FORM)).status == 200
        assert ask(call("POST", "/", ROW, port=8080, content_type=FORM)).status == 401
        assert ask(call("GET", "/readyz", port=8082)).json["internal_identity"] == "none"
        assert ask(call("GET", "/version", port=8082)).json["internal_identity"] == "none"


def test_an_account_that_is_not_allowed_is_forbidden(
    ask: Ask, google_key: Any, identity_dir: IdentityDir
) -> None:
    from .conftest import google_claims

    token = google_key.sign(google_claims(email="other@example.com"))
    answer = ask(
        call("POST", "/", ROW, port=8081, content_type=FORM, authorization=f"Bearer {token}")
    )
    assert (answer.status, answer.json["code"]) == (403, "forbidden")


@pytest.mark.parametrize("path", ["/livezz", "/livez/", "/livez/../predict", "/", "/metrics"])
def test_open_paths_are_exact(path: str) -> None:
    assert listeners.serves(Listener.HEALTH, "/livez")
    assert not listeners.serves(Listener.HEALTH, path)


def test_two_listeners_never_share_a_port() -> None:
    with pytest.raises(ConfigurationError, match="same port"):
        listeners.by_port(Settings(port_iap=8082))


def test_every_listener_either_is_open_or_needs_identity() -> None:
    assert {one for one in Listener if not listeners.needs_identity(one)} == {
        Listener.HEALTH,
        Listener.METRICS,
    }
