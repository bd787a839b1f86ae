"""Google's REST APIs: a session with the default credentials, calls with retries, failures by kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests
from google.api_core.exceptions import RetryError
from google.api_core.retry import Retry, if_exception_type

from skfleet.errors import ConfigurationError, SkfleetError

SCOPE = "https://www.googleapis.com/auth/cloud-platform"  # the one that all the APIs take
TIMEOUT_S = 30.0
# A call is tried again for so long: one that timed out, once more.
PATIENCE_S = 35.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 8.0
TRANSIENT = frozenset({429, 500, 502, 503, 504})
# Too many calls a minute are refused with 403, too, and it passes.
_TOO_MANY_CALLS = {"rateLimitExceeded", "userRateLimitExceeded"}


class CallFailed(SkfleetError):
    """Google answered with an error, or not at all (`status` 0). `error`: what the answer says of it."""

    status = 0
    error: Mapping[str, Any] = {}


class Unavailable(CallFailed):
    """The API cannot be reached, or is overloaded; worth trying again later."""

    exit_code = 3


class CredentialsRefused(CallFailed):
    """The credentials expired, or their account is gone."""


class NotAllowed(CallFailed):
    """The caller lacks the permission."""


class ApiOff(NotAllowed):
    """The API is not enabled in the project that the call counts against; `service` names it."""

    service = ""


class NotThere(CallFailed):
    """The resource does not exist."""


def authorize(scopes: Sequence[str] = (SCOPE,)) -> tuple[requests.Session, Any]:
    """A session with the default credentials, and the credentials; raises ConfigurationError."""
    try:
        credentials, _ = google.auth.default(scopes=list(scopes))
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"No credentials: {str(error).rstrip('.')}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint='`gcloud auth application-default login`; locally eval "$(skfleet-local env)".',
        ) from None
    session: requests.Session = google.auth.transport.requests.AuthorizedSession(credentials)
    return session, credentials


def call(
    session: requests.Session,
    method: str,
    url: str,
    body: Mapping[str, Any] | None = None,
    params: Mapping[str, str] | None = None,
    *,
    timeout_s: float = TIMEOUT_S,
    patience_s: float | None = None,
    transient: Collection[int] = TRANSIENT,
) -> dict[str, Any]:
    """The JSON object that Google answers; raises CallFailed.

    Tried again for `patience_s`, with growing random pauses, where the API cannot be reached or answers a
    `transient` status: a change must be one that Google does once (`requestId`), or that can be repeated.
    """

    def attempt() -> dict[str, Any]:
        return _attempt(session, method, url, body, params, timeout_s, transient)

    retry = Retry(
        if_exception_type(Unavailable),
        initial=FIRST_PAUSE_S,
        maximum=LONGEST_PAUSE_S,
        timeout=PATIENCE_S if patience_s is None else patience_s,
    )
    try:
        answer: dict[str, Any] = retry(attempt)()
    except RetryError as error:
        raise error.cause from None
    return answer


def pages(read: Callable[[dict[str, str]], Mapping[str, Any]], field: str) -> Iterator[Any]:
    """All entries of a list that Google answers in pages; `read` takes the parameters of the next one."""
    params: dict[str, str] = {}
    while True:
        page = read(params)
        yield from page.get(field) or []
        if not (token := page.get("nextPageToken")):
            return
        params = {"pageToken": token}


def reasons(error: Mapping[str, Any]) -> set[str]:
    """The names by which the older APIs tell causes of one status apart."""
    return {str(item.get("reason", "")) for item in error.get("errors") or []}


def _attempt(
    session: requests.Session,
    method: str,
    url: str,
    body: Mapping[str, Any] | None,
    params: Mapping[str, str] | None,
    timeout_s: float,
    transient: Collection[int],
) -> dict[str, Any]:
    try:
        response = session.request(method, url, json=body, params=params, timeout=timeout_s)
    except requests.RequestException as error:
        raise Unavailable(
            f"Google cannot be reached: {type(error).__name__}.", where=url, hint="Try again later."
        ) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise CredentialsRefused(
            f"The credentials are refused: {error}.",
            where=url,
            hint="`gcloud auth application-default login`; for a workflow: `skfleet doctor`.",
        ) from None
    try:
        document = response.json()
    except ValueError:
        document = None
    if response.status_code >= 400:
        raise _failure(response.status_code, document, response.text, url, transient)
    if not isinstance(document, dict):
        raise CallFailed("The answer is not a JSON object.", where=url)
    return document


def _failure(
    status: int, document: Any, text: str, url: str, transient: Collection[int]
) -> CallFailed:
    """The failure that {"error": {"message", "errors": [{"reason"}], "details": […]}} states."""
    found = document.get("error") if isinstance(document, Mapping) else None
    error = found if isinstance(found, Mapping) else {}
    details = [item for item in error.get("details") or [] if isinstance(item, Mapping)]
    off = next((item for item in details if item.get("reason") == "SERVICE_DISABLED"), None)
    kinds = {401: NotAllowed, 403: NotAllowed, 404: NotThere}
    kind = kinds.get(status, CallFailed)
    if off is not None:
        kind = ApiOff
    elif status in transient or reasons(error) & _TOO_MANY_CALLS:
        kind = Unavailable
    failure = kind(f"Google answered {status}: {error.get('message') or text[:200]}", where=url)
    failure.status, failure.error = status, error
    if isinstance(failure, ApiOff) and off is not None:
        failure.service = str(off.get("metadata", {}).get("service", ""))
    return failure
