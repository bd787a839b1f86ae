"""The few REST calls of `doctor` and `ssh` to Google's APIs, and what can go wrong with them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import google.auth
import google.auth.exceptions
import google.auth.transport.requests
import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from skfleet.errors import ConfigurationError, SkfleetError

# The first is the one that all these APIs take; the second names a person by their e-mail address.
SCOPES = (
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/userinfo.email",
)

# Every one can be replaced by --endpoint: a private address, a proxy, an emulator.
ENDPOINTS: Mapping[str, str] = {
    "compute": "https://compute.googleapis.com/compute/v1",
    "iam": "https://iam.googleapis.com/v1",
    "monitoring": "https://monitoring.googleapis.com/v3",
    "oauth2": "https://www.googleapis.com/oauth2/v2",
    "orgpolicy": "https://orgpolicy.googleapis.com/v2",
    "oslogin": "https://oslogin.googleapis.com/v1",
    "resourcemanager": "https://cloudresourcemanager.googleapis.com/v3",
    "serviceusage": "https://serviceusage.googleapis.com/v1",
    "storage": "https://storage.googleapis.com/storage/v1",
}
# Endpoints that the inventory takes from the environment too: one setting moves both.
ENVIRONMENT: Mapping[str, str] = {
    "compute": "SKFLEET_COMPUTE_ENDPOINT",
    "oslogin": "SKFLEET_OSLOGIN_ENDPOINT",
}


def parse_endpoints(given: Iterable[str]) -> Mapping[str, str]:
    """Google's base URLs, those of the environment and those given replaced; raises ConfigurationError."""
    endpoints = dict(ENDPOINTS)
    endpoints |= {name: url for name, env in ENVIRONMENT.items() if (url := os.environ.get(env))}
    for text in given:
        service, _, url = text.partition("=")
        if service not in endpoints or not url.startswith(("http://", "https://")):
            raise ConfigurationError(
                f"{text!r} is no endpoint.",
                where="--endpoint",
                hint=f"SERVICE=URL, SERVICE being one of {', '.join(sorted(endpoints))}.",
            )
        endpoints[service] = url
    return endpoints


class CallFailed(SkfleetError):
    """Google answered with an error, or not at all."""


class NotAllowed(CallFailed):
    """The caller lacks the permission."""


class ApiOff(NotAllowed):
    """The API is not enabled in the project that the call counts against; `service` names it."""

    service = ""


class NotThere(CallFailed):
    """There is no such resource."""


class Cloud(Protocol):
    """All that a check may ask."""

    def get(self, service: str, path: str, **params: str) -> dict[str, Any]:
        """The resource as JSON; raises CallFailed."""

    def post(
        self, service: str, path: str, body: dict[str, Any] | None, **params: str
    ) -> dict[str, Any]:
        """The answer as JSON; raises CallFailed."""

    def delete(self, service: str, path: str) -> None:
        """Delete the resource; raises CallFailed."""


class RestCloud:
    """Google's REST APIs through a session that authorises itself."""

    def __init__(
        self,
        session: requests.Session,
        endpoints: Mapping[str, str] = ENDPOINTS,
        timeout_s: float = 15.0,
    ) -> None:
        self._session = session
        self._endpoints = endpoints
        self._timeout = timeout_s
        # Several checks look at the same group; within one run it is the same.
        self._seen: dict[tuple[str, ...], dict[str, Any]] = {}

    def get(self, service: str, path: str, **params: str) -> dict[str, Any]:
        key = (service, path, *sorted(f"{name}={value}" for name, value in params.items()))
        if key not in self._seen:
            self._seen[key] = self._call("GET", service, path, params=params)
        return self._seen[key]

    def post(
        self, service: str, path: str, body: dict[str, Any] | None, **params: str
    ) -> dict[str, Any]:
        self._forget(service)
        return self._call("POST", service, path, json=body, params=params)

    def delete(self, service: str, path: str) -> None:
        self._forget(service)
        self._call("DELETE", service, path)

    def _forget(self, service: str) -> None:
        """What a change may have made untrue."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != service}

    def _call(self, method: str, service: str, path: str, **how: Any) -> dict[str, Any]:
        url = f"{self._endpoints[service].rstrip('/')}/{path}"
        try:
            response = self._session.request(method, url, timeout=self._timeout, **how)
        except requests.RequestException as error:
            raise CallFailed(f"Google cannot be reached: {error}.", where=url) from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise CallFailed(f"The credentials are refused: {error}.", where=url) from None
        if response.status_code >= 400:
            raise _failure(response, url)
        try:
            answer = response.json()
        except ValueError:
            raise CallFailed("The answer is not JSON.", where=url) from None
        return answer if isinstance(answer, dict) else {}


def authorize(endpoints: Mapping[str, str] = ENDPOINTS) -> tuple[requests.Session, Any]:
    """A session with the default credentials, which tries again, and the credentials."""
    try:
        credentials, _ = google.auth.default(scopes=SCOPES)
    except google.auth.exceptions.GoogleAuthError as error:
        raise ConfigurationError(
            f"No credentials: {error}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint="gcloud auth application-default login",
        ) from None
    session: requests.Session = google.auth.transport.requests.AuthorizedSession(credentials)
    overloaded = [429, 500, 502, 503, 504]
    reads = Retry(total=3, backoff_factor=0.5, status_forcelist=overloaded, raise_on_status=False)
    # OS Login's changes can be repeated, and it answers 409 to two at once.
    changes = Retry(
        total=5, backoff_factor=0.5, status_forcelist=[409, *overloaded], raise_on_status=False,
        allowed_methods=None,
    )  # fmt: skip
    session.mount("https://", HTTPAdapter(max_retries=reads))
    session.mount(endpoints["oslogin"], HTTPAdapter(max_retries=changes))
    return session, credentials


def pages(cloud: Cloud, service: str, path: str, field: str, **params: str) -> Iterator[Any]:
    """All entries of a list that Google answers in pages."""
    token = ""
    while True:
        more = {"pageToken": token} if token else {}
        page = cloud.get(service, path, **params, **more)
        yield from page.get(field, [])
        token = page.get("nextPageToken", "")
        if not token:
            return


def path(*parts: str) -> str:
    """A path whose parts may hold any character."""
    return "/".join(quote(part, safe="") for part in parts)


def last(link: str) -> str:
    """The name at the end of a self link."""
    return link.rstrip("/").rsplit("/", 1)[-1]


def _failure(response: requests.Response, url: str) -> CallFailed:
    """The failure that an answer states: {"error": {"message", "details": [{"reason", "metadata"}]}}."""
    try:
        error = response.json()["error"]
        message = str(error["message"])
        details = [item for item in error.get("details", []) if isinstance(item, dict)]
    except (ValueError, KeyError, TypeError, AttributeError):
        message, details = response.text[:200], []
    text = f"Google answered {response.status_code}: {message}"
    for detail in details:
        if detail.get("reason") == "SERVICE_DISABLED":
            off = ApiOff(text, where=url)
            off.service = str(detail.get("metadata", {}).get("service", ""))
            return off
    kind = {401: NotAllowed, 403: NotAllowed, 404: NotThere}.get(response.status_code, CallFailed)
    return kind(text, where=url)
