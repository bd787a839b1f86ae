"""One HTTP call to a fleet's prediction routes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import requests

from skfleet.declared import declared
from skfleet.errors import ConfigurationError, SkfleetError


class Refused(SkfleetError):
    """The fleet answered with an error status."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """A fleet's answer: status, the release that gave it, the body as JSON or text."""

    status: int
    release: str
    body: Any


class Client:
    """Predictions from one door of a fleet; keeps its connection. `timeout_s`: by default 2 × edge.yml's."""

    def __init__(
        self, url: str, token: str, ca_file: str = "", timeout_s: float | None = None
    ) -> None:
        if not url:
            raise ConfigurationError(
                "No address of a fleet is given.",
                where="SKFLEET_URL or SKFLEET_INTERNAL_URL",
                hint="Use --url; the local fleet's are in `skfleet-local env`.",
            )
        self._url = url.rstrip("/")
        # The load balancer is to say that a request took too long.
        self._timeout = timeout_s or 2 * declared().edge.timeouts.request_s
        self._session = requests.Session()
        self._session.trust_env = False  # no netrc: it would replace the Authorization header
        self._session.verify = ca_file or True
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def add_header(self, name: str, value: str) -> None:
        """Send this header too, from now on."""
        self._session.headers[name] = value

    def form(self, row: list[float]) -> Answer:
        """The original contract: `x=[…]` as a form."""
        return self._send(
            "/",
            data=b"x=" + msgspec.json.encode(row),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )

    def instances(self, model: str, rows: list[list[float]], probabilities: bool = False) -> Answer:
        """`instances` of shape (n, features) to `/v1/models/<model>:predict`."""
        body: dict[str, Any] = {"instances": rows}
        if probabilities:
            body["parameters"] = {"probabilities": True}
        return self._send(
            f"/v1/models/{model}:predict",
            data=msgspec.json.encode(body),
            headers={"Content-Type": "application/json"},
        )

    def _send(self, path: str, *, data: bytes, headers: dict[str, str]) -> Answer:
        try:
            response = self._session.post(
                self._url + path, data=data, headers=headers, timeout=self._timeout
            )
        except requests.RequestException as error:
            raise SkfleetError(
                f"The fleet cannot be reached: {error}.",
                where=self._url,
                hint="Check the address and SKFLEET_CA_FILE.",
            ) from None
        try:
            body = response.json()
        except ValueError:
            body = response.text
        return Answer(response.status_code, response.headers.get("X-Skfleet-Release", ""), body)


def require_ok(answer: Answer) -> Answer:
    """The answer itself, or Refused with what the fleet said."""
    if answer.status == 200:
        return answer
    body = answer.body if isinstance(answer.body, dict) else {"error": str(answer.body)[:200]}
    raise Refused(
        f"{answer.status}: {body.get('error', '')}",
        where=str(body.get("where", "")),
        hint=str(body.get("hint", "")),
    )
