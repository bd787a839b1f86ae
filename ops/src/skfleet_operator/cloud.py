"""The few REST calls of `doctor` and `ssh` to Google's APIs, and where."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol
from urllib.parse import quote

import requests

from skfleet.errors import ConfigurationError
from skfleet_operator import google_rest
from skfleet_operator.google_rest import SCOPE, TRANSIENT, call

# The second names a person by their e-mail address.
SCOPES = (SCOPE, "https://www.googleapis.com/auth/userinfo.email")

PATIENCE_S = 5.0  # for each call: there are many, and somebody waits
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
                f"{text!r} is not an endpoint.",
                where="--endpoint",
                hint=f"SERVICE=URL, SERVICE being one of {', '.join(sorted(endpoints))}.",
            )
        endpoints[service] = url
    return endpoints


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
        # Several checks read the same group, which does not change within one run.
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
        return self._call("POST", service, path, body, params)

    def delete(self, service: str, path: str) -> None:
        self._forget(service)
        self._call("DELETE", service, path)

    def _forget(self, service: str) -> None:
        """What a change may have made untrue."""
        self._seen = {key: seen for key, seen in self._seen.items() if key[0] != service}

    def _call(
        self,
        method: str,
        service: str,
        path: str,
        body: dict[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        transient, patience_s = TRANSIENT, PATIENCE_S
        if service == "oslogin":  # its changes can be repeated, and it answers 409 to two at once
            transient, patience_s = TRANSIENT | {409}, 3 * PATIENCE_S
        url = f"{self._endpoints[service].rstrip('/')}/{path}"
        return call(
            self._session, method, url, body, params,
            timeout_s=self._timeout, patience_s=patience_s, transient=transient,
        )  # fmt: skip


def pages(cloud: Cloud, service: str, path: str, field: str, **params: str) -> Iterator[Any]:
    """All entries of a list that Google answers in pages."""
    return google_rest.pages(lambda more: cloud.get(service, path, **params, **more), field)


def path(*parts: str) -> str:
    """A path whose parts may hold any character."""
    return "/".join(quote(part, safe="") for part in parts)


def last(link: str) -> str:
    """The name at the end of a self link."""
    return link.rstrip("/").rsplit("/", 1)[-1]
