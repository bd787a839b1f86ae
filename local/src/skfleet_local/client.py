"""The project's APIs as one of its accounts: an access token by its key, and Compute calls with it."""

from __future__ import annotations

import json
import time
from typing import Any

import google.auth.credentials
import google.auth.exceptions
import jwt
import requests

from skfleet_local import keys
from skfleet_local.accounts import Account
from skfleet_local.addresses import Addresses
from skfleet_local.compute.project import Links
from skfleet_local.run import Run
from skfleet_operator import google_rest
from skfleet_operator.google_rest import SCOPE, CallFailed, NotThere

_JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class BearerToken(google.auth.credentials.Credentials):  # type: ignore[misc]
    """An access token that is there already.

    google-auth's own service account credentials would ask Google's servers where this account may
    act, and show them a token that is none of theirs.
    """

    def __init__(self, token: str) -> None:
        super().__init__()
        self.token = token

    def refresh(self, _: Any) -> None:
        """There is no other."""
        raise google.auth.exceptions.RefreshError("the token was given and cannot be renewed")


def session() -> requests.Session:
    """For loopback: no proxy of the environment is in the way."""
    result = requests.Session()
    result.trust_env = False
    return result


def access_token(run: Run, account: Account) -> str:
    """An access token by the account's key file, from the file's token endpoint."""
    info = json.loads(keys.key_file(run, account).read_bytes())
    now = int(time.time())
    claims = {
        "iss": info["client_email"],
        "scope": SCOPE,
        "aud": info["token_uri"],
        "iat": now,
        "exp": now + 3600,
    }
    assertion = jwt.encode(
        claims, info["private_key"], algorithm="RS256", headers={"kid": info["private_key_id"]}
    )
    form = {"grant_type": _JWT_BEARER, "assertion": assertion}
    answer = session().post(info["token_uri"], data=form, timeout=10)
    if answer.status_code != 200:
        raise CallFailed(answer.text, where=info["token_uri"])
    return str(answer.json()["access_token"])


class Compute:
    """The Compute API as the holder of a token."""

    def __init__(self, addresses: Addresses, token: str) -> None:
        self.links = Links(addresses.compute_url)
        self._session = session()
        self._session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One call, tried once; raises CallFailed with the API's message."""
        return google_rest.call(self._session, method, url, body, timeout_s=130, patience_s=0)

    def find(self, url: str) -> dict[str, Any] | None:
        """A resource, or None."""
        try:
            return self.call("GET", url)
        except NotThere:
            return None

    def change(self, url: str, body: dict[str, Any] | None = None, method: str = "POST") -> None:
        """A change, waited for."""
        operation = self.call(method, url, body)
        while operation["status"] != "DONE":
            operation = self.call("POST", f"{operation['selfLink']}/wait")

    def policy(self, autoscaler: str) -> dict[str, Any]:
        """An autoscaler's policy."""
        found: dict[str, Any] = self.call("GET", self.links.autoscaler(autoscaler))
        return dict(found["autoscalingPolicy"])

    def set_policy(self, autoscaler: str, fields: dict[str, Any]) -> None:
        """Change these fields of its policy; the others stay."""
        url = f"{self.links.region}/autoscalers?autoscaler={autoscaler}"
        self.change(url, {"autoscalingPolicy": fields}, method="PATCH")
