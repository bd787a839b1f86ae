"""The few REST calls that the checks make, and what can go wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import requests

from skfleet.errors import SkfleetError

# Every one can be replaced by --endpoint: a private address, a proxy, a stand-in.
ENDPOINTS: Mapping[str, str] = {
    "compute": "https://compute.googleapis.com/compute/v1",
    "orgpolicy": "https://orgpolicy.googleapis.com/v2",
    "resourcemanager": "https://cloudresourcemanager.googleapis.com/v3",
    "serviceusage": "https://serviceusage.googleapis.com/v1",
    "storage": "https://storage.googleapis.com/storage/v1",
}


class CallFailed(SkfleetError):
    """Google answered with an error, or not at all."""


class NotAllowed(CallFailed):
    """The caller may not look, or the API is off (Google answers 403 to both)."""


class NotThere(CallFailed):
    """There is no such resource."""


class Cloud(Protocol):
    """All that a check may ask."""

    def get(self, service: str, path: str, **params: str) -> dict[str, Any]:
        """The resource as JSON; raises CallFailed."""

    def post(self, service: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The answer as JSON; raises CallFailed."""


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

    def post(self, service: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", service, path, json=body)

    def _call(self, method: str, service: str, path: str, **how: Any) -> dict[str, Any]:
        url = f"{self._endpoints[service].rstrip('/')}/{path}"
        try:
            response = self._session.request(method, url, timeout=self._timeout, **how)
        except requests.RequestException as error:
            raise CallFailed(f"Google cannot be reached: {error}.", where=url) from None
        if response.status_code >= 400:
            raise _failure(response.status_code, _said(response), url)
        try:
            answer = response.json()
        except ValueError:
            raise CallFailed("The answer is not JSON.", where=url) from None
        return answer if isinstance(answer, dict) else {}


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


def _failure(status: int, said: str, url: str) -> CallFailed:
    kind = {401: NotAllowed, 403: NotAllowed, 404: NotThere}.get(status, CallFailed)
    return kind(f"Google answered {status}: {said}", where=url)


def _said(response: requests.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
