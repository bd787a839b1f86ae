"""One request and what came of it, over FastHttpUser's own client and its pool of connections."""

from __future__ import annotations

import socket
from typing import Any

import msgspec
from geventhttpclient.client import HTTPClient
from geventhttpclient.response import HTTPParseError
from geventhttpclient.url import URL

RELEASE_HEADER = "X-Skfleet-Release"
REFUSED = frozenset({401, 403})


class Reply(msgspec.Struct, frozen=True):
    """What came back. `status` 0: nothing did, for the reason in `failure`."""

    status: int
    release: str = ""
    body: bytes = b""
    failure: str = ""


class Caller:
    """Keep-alive connections to one address, as many as there are requests in flight."""

    def __init__(self, url: str, ca_file: str, connections: int, timeout_s: float) -> None:
        arguments: dict[str, Any] = {
            "concurrency": connections,
            "connection_timeout": timeout_s,
            "network_timeout": timeout_s,
        }
        if url.startswith("https:") and ca_file:
            arguments["ssl_options"] = {"ca_certs": ca_file}
        # The HTTPClient below FastHttpSession: no cookies, redirects or retries, which would hide what
        # the fleet answers and cost more than the request itself.
        self._client = HTTPClient.from_url(URL(url), **arguments)

    def post(self, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """Send it once. POST is never sent again by the client, whatever breaks."""
        try:
            response = self._client.request("POST", path, body=body, headers=headers)
            data = bytes(response.read())
        except TimeoutError:
            return Reply(0, failure="timeout")
        except (ConnectionRefusedError, socket.gaierror):
            return Reply(0, failure="no connection")
        except (OSError, HTTPParseError):
            return Reply(0, failure="connection broken")
        release = response.get(RELEASE_HEADER)
        return Reply(response.status_code, release if isinstance(release, str) else "", data)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()
