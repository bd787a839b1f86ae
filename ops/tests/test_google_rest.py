"""The REST client: what is tried again, how failures are named, and Compute Engine's own names for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import google.auth.exceptions
import pytest
import requests
from requests.adapters import BaseAdapter

from skfleet.errors import ConfigurationError
from skfleet_operator import google_rest
from skfleet_operator.compute.client import Compute
from skfleet_operator.compute.errors import (
    ComputeForbidden,
    ComputeRefused,
    ComputeUnavailable,
    FingerprintChanged,
    QuotaExceeded,
)
from skfleet_operator.google_rest import (
    ApiOff,
    CallFailed,
    CredentialsRefused,
    NotAllowed,
    NotThere,
    Unavailable,
)

URL = "https://example.googleapis.com/v1/thing"


class Answers(BaseAdapter):
    """Answers one after the other, the last again and again: (status, document) or an error."""

    def __init__(self, *given: tuple[int, Any] | Exception) -> None:
        super().__init__()
        self.given = list(given)
        self.asked: list[str] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        self.asked.append(f"{request.method} {request.url}")
        answer = self.given.pop(0) if len(self.given) > 1 else self.given[0]
        if isinstance(answer, Exception):
            raise answer
        response = requests.Response()
        response.status_code, document = answer
        response._content = (
            document if isinstance(document, bytes) else json.dumps(document).encode()
        )
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def session_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[requests.Session, Answers]]:
    monkeypatch.setattr(google_rest, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(google_rest, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(google_rest, "PATIENCE_S", 60.0)

    def make(*given: tuple[int, Any] | Exception) -> tuple[requests.Session, Answers]:
        session, answers = requests.Session(), Answers(*given)
        session.mount("https://", answers)
        return session, answers

    return make


def error(message: str = "said Google", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


OFF = {"reason": "SERVICE_DISABLED", "metadata": {"service": "oslogin.googleapis.com"}}
TOO_FAST = error(errors=[{"reason": "rateLimitExceeded"}])
NO_QUOTA = error(errors=[{"reason": "quotaExceeded"}])


@pytest.mark.parametrize(
    "trouble",
    [
        requests.ConnectionError(),
        requests.ReadTimeout(),
        (503, b"<html>"),
        (429, error()),
        (403, TOO_FAST),
    ],
)
def test_trouble_that_passes_is_tried_again(session_of: Any, trouble: Any) -> None:
    session, answers = session_of(trouble, trouble, (200, {"name": "x"}))
    assert google_rest.call(session, "GET", URL) == {"name": "x"}
    assert answers.asked == [f"GET {URL}"] * 3


@pytest.mark.parametrize("trouble", [requests.ConnectionError("refused"), (503, error())])
def test_trouble_that_stays_is_named(
    session_of: Any, trouble: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, answers = session_of(trouble)
    monkeypatch.setattr(google_rest, "PATIENCE_S", 1.0)
    with pytest.raises(Unavailable) as failed:
        google_rest.call(session, "GET", URL)
    assert (failed.value.exit_code, failed.value.where) == (3, URL)
    assert len(answers.asked) > 1


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        ((401, error()), NotAllowed, "Google answered 401: said Google"),
        ((403, error()), NotAllowed, "403"),
        ((403, NO_QUOTA), NotAllowed, "403"),
        ((403, error(details=[OFF])), ApiOff, "403"),
        ((404, error()), NotThere, "404"),
        ((409, error()), CallFailed, "409"),
        ((400, b"<html>not found</html>"), CallFailed, "<html>"),
        ((400, {"error": "text"}), CallFailed, "400"),
        ((200, b"<html>"), CallFailed, "not a JSON object"),
        ((200, ["x"]), CallFailed, "not a JSON object"),
        (google.auth.exceptions.RefreshError("expired"), CredentialsRefused, "expired"),
    ],
)
def test_other_failures_are_named_and_not_tried_again(
    session_of: Any, answer: Any, kind: type[CallFailed], words: str
) -> None:
    session, answers = session_of(answer)
    with pytest.raises(CallFailed, match=words) as failed:
        google_rest.call(session, "POST", URL, {})
    assert type(failed.value) is kind
    assert len(answers.asked) == 1
    if isinstance(failed.value, ApiOff):
        assert failed.value.service == "oslogin.googleapis.com"


def test_caller_may_name_another_status_that_passes(session_of: Any) -> None:
    session, answers = session_of((409, error()), (200, {}))
    assert google_rest.call(session, "POST", URL, {}, transient={409}) == {}
    assert len(answers.asked) == 2


def test_lists_are_read_to_their_last_page() -> None:
    asked: list[dict[str, str]] = []

    def read(params: dict[str, str]) -> dict[str, Any]:
        asked.append(params)
        return [{"items": [1], "nextPageToken": "a"}, {"nextPageToken": "b"}, {"items": [2]}][
            len(asked) - 1
        ]

    assert list(google_rest.pages(read, "items")) == [1, 2]
    assert asked == [{}, {"pageToken": "a"}, {"pageToken": "b"}]


def test_missing_credentials_are_a_matter_of_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    def default(**_: Any) -> None:
        raise google.auth.exceptions.DefaultCredentialsError("none found")

    monkeypatch.setattr(google.auth, "default", default)
    with pytest.raises(ConfigurationError, match="No credentials: none found"):
        google_rest.authorize()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (requests.ConnectionError(), ComputeUnavailable),
        ((503, error()), ComputeUnavailable),
        ((403, TOO_FAST), ComputeUnavailable),
        ((403, NO_QUOTA), QuotaExceeded),
        ((401, error()), ComputeForbidden),
        (google.auth.exceptions.RefreshError("expired"), ComputeForbidden),
        ((412, error()), FingerprintChanged),
        ((400, error()), ComputeRefused),
        ((200, b"<html>"), ComputeRefused),
    ],
)
def test_compute_engine_has_its_own_names(
    session_of: Any, answer: Any, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_rest, "PATIENCE_S", 0.0)
    compute = Compute("p", "r", "https://compute.example.com", session_of(answer)[0])
    with pytest.raises(ComputeRefused) as failed:
        compute.group("g")
    assert type(failed.value) is kind
    if isinstance(answer, tuple) and answer[0] >= 400:
        assert failed.value.message == "said Google."


def test_wait_for_an_operation_that_breaks_late_is_tried_again(
    session_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`operations.wait` holds a call longer than a call is tried again for."""
    link = "https://compute.example.com/operations/o"
    running = {"name": "o", "status": "RUNNING", "selfLink": link}
    session, answers = session_of((200, running), (503, b""), (200, {**running, "status": "DONE"}))
    monkeypatch.setattr(google_rest, "PATIENCE_S", 0.0)  # as if the call had used it up
    Compute("p", "r", "https://compute.example.com", session).resize("g", 3)
    assert [asked.rpartition("/")[2] for asked in answers.asked[1:]] == ["wait", "wait"]
