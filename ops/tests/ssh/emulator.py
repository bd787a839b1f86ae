"""OS Login, credentials and one VM group at their HTTP edge, for the whole chain from a key to a login.

Requests of OS Login are held to its discovery document and to what its API answers in practice: an
account changes its own profile alone, a profile has 32 KiB, a key expires by the clock. A VM asks as the
guest agent does.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from skfleet import documents
from skfleet_testing import discovery

ANSWERS = Path(__file__).resolve().parents[3] / "playbooks/tests/answers"
PROJECT = "example-prod"
PROFILE_BYTES = 32 * 1024
API = "oslogin.v1"


class Refused(Exception):
    """An error answer."""

    def __init__(self, status: int, message: str, reason: str = "", service: str = "") -> None:
        super().__init__(message)
        details = [{"reason": reason, "metadata": {"service": service}}] if reason else []
        error = {"code": status, "message": message, "status": "", "details": details}
        self.status, self.body = status, {"error": error}


class Google:
    """What the emulator knows. Tests change it between calls."""

    def __init__(self) -> None:
        self.tokens: dict[str, str] = {}  # access token → account
        self.keys: dict[str, dict[str, dict[str, str]]] = {}  # account → fingerprint → key
        self.users: dict[str, str] = {}  # account → POSIX user
        self.admins: set[str] = set()  # accounts with roles/compute.osAdminLogin
        self.compute: dict[str, Any] = json.loads((ANSWERS / "compute.json").read_text())
        self.host_key = ""
        self.api_is_off = False
        self.guest_attributes_are_forbidden = False
        self.conflicts = 0  # so many changes are answered with 409
        self.faults: list[str] = []
        self.calls: Counter[str] = Counter()
        self.lock = threading.Lock()

    def expire_keys(self) -> None:
        """Let an hour more pass than every key has."""
        for keys in self.keys.values():
            for key in keys.values():
                key["expirationTimeUsec"] = str(int((time.time() - 1) * 1_000_000))

    def profile(self, account: str) -> dict[str, Any]:
        """users.getLoginProfile"""
        user = self.users.get(account, "")
        answer: dict[str, Any] = {"name": account}
        if user:
            home = {
                "uid": "20001",
                "gid": "20001",
                "homeDirectory": f"/home/{user}",
                "shell": "/bin/sh",
            }
            posix = {"primary": True, "username": user, "operatingSystemType": "LINUX", **home}
            answer["posixAccounts"] = [{**posix, "accountId": PROJECT}]
        if self.keys.get(account):
            answer["sshPublicKeys"] = self.keys[account]
        return answer

    def oslogin(self, account: str, verb: str, path: str, body: Any) -> dict[str, Any]:
        """One call of the API as this account."""
        if self.api_is_off:
            raise Refused(
                403, "Cloud OS Login API has not been used in project 1 before or it is disabled.",
                "SERVICE_DISABLED", "oslogin.googleapis.com",
            )  # fmt: skip
        match = re.match(r"/v1/users/([^/:]+)(.*)", path)
        assert match
        if unquote(match[1]) != account:
            raise Refused(403, "The caller does not have permission")
        keys = self.keys.setdefault(account, {})
        if verb == "GET":
            return self.profile(account)
        if self.conflicts:
            self.conflicts -= 1
            raise Refused(
                409, "Multiple concurrent mutations were attempted. Please retry the request."
            )
        if verb == "DELETE":
            if keys.pop(match[2].rpartition("/")[2], None) is None:
                raise Refused(404, "The SSH public key was not found.")
            return {}
        if not re.fullmatch(r"ssh-ed25519 AAAA[A-Za-z0-9+/]{64} skfleet", body["key"]):
            raise Refused(400, "Key must be a valid SSH public key.")
        fingerprint = documents.sha256(body["key"].encode())
        new = {
            **body,
            "fingerprint": fingerprint,
            "name": f"users/{account}/sshPublicKeys/{fingerprint}",
        }
        if len(json.dumps({**keys, fingerprint: new})) > PROFILE_BYTES:
            raise Refused(
                400,
                "Login profile size exceeds 32 KiB. Delete profile values to make additional space.",
            )
        keys[fingerprint] = new
        return {"loginProfile": self.profile(account)}

    def metadata(self, path: str, query: dict[str, list[str]]) -> dict[str, Any]:
        """What the guest agent asks on a VM: a user's profile, and whether they may log in."""
        if path.endswith("/users"):
            account = next((a for a, u in self.users.items() if [u] == query["username"]), "")
            if not account:
                raise Refused(404, "no such user")
            return {"loginProfiles": [self.profile(account)]}
        return {"success": query["email"][0] in self.admins}


class Handler(BaseHTTPRequestHandler):
    """All addresses of one emulator."""

    google: Google

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, verb: str) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            with self.google.lock:
                status, body = 200, self._route(verb, text)
        except Refused as refused:
            status, body = refused.status, refused.body
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _route(self, verb: str, text: bytes) -> Any:
        google, parts = self.google, urlsplit(self.path)
        if parts.path.startswith("/computeMetadata/"):
            return google.metadata(parts.path, parse_qs(parts.query))
        if parts.path.startswith("/token/"):  # OAuth's and STS's
            kind = "urn:ietf:params:oauth:token-type:access_token"
            token = {"access_token": parts.path.rpartition("/")[2], "issued_token_type": kind}
            return {**token, "expires_in": 3599, "token_type": "Bearer"}
        if parts.path.startswith("/impersonate/"):
            if self.headers["Authorization"] != "Bearer federated":
                raise Refused(403, "Permission 'iam.serviceAccounts.getAccessToken' denied.")
            account = parts.path.rpartition("/")[2].removesuffix(":generateAccessToken")
            google.tokens["impersonated"] = account
            return {"accessToken": "impersonated", "expireTime": "2999-01-01T00:00:00Z"}
        account = google.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if account is None:
            raise Refused(401, "Request had invalid authentication credentials.")
        if parts.path == "/oauth2/v2/userinfo":
            return {"id": "1", "email": account, "verified_email": True}
        if parts.path.startswith("/compute/v1"):
            return self._compute(parts.path.removeprefix("/compute/v1"))
        google.calls[
            f"{verb} {parts.path.rpartition(':')[2] if verb == 'POST' else ''}".strip()
        ] += 1
        body = json.loads(text) if text else None
        faults = discovery.request_faults(verb, self.path, body, API)
        if not faults:
            answer = google.oslogin(account, verb, parts.path, body)
            faults = discovery.answer_faults(verb, self.path, 200, answer, API)
        google.faults += faults
        if faults:
            raise Refused(400, "; ".join(faults))
        return answer

    def _compute(self, path: str) -> Any:
        if path.endswith("/getGuestAttributes"):
            if self.google.guest_attributes_are_forbidden:
                raise Refused(
                    412,
                    "Constraint constraints/compute.disableGuestAttributesAccess violated for project 1.",
                )
            kind, _, key = self.google.host_key.partition(" ")
            item = {"namespace": "hostkeys", "key": kind, "value": key}
            return {
                "kind": "compute#guestAttributes",
                "queryPath": "hostkeys/",
                "queryValue": {"items": [item]},
            }
        if path not in self.google.compute:
            raise Refused(404, path)
        return self.google.compute[path]["answer"]

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def serve(google: Google) -> ThreadingHTTPServer:
    """A running emulator on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"google": google}))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return server
