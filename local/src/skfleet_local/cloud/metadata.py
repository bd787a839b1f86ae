"""The metadata server, one listener per VM: a VM is who listens on its address.

Published behaviour: `Metadata-Flavor: Google` asked for and given, `X-Forwarded-For` refused, folders
end in a slash and list, `?recursive=true` gives JSON with camelCase names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from aiohttp import web

from skfleet_local.accounts import PROJECT, PROJECT_NUMBER, Account
from skfleet_local.cloud.tokens import LIFETIME_S, Tokens

_FLAVOR = {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
_ROOT = "/computeMetadata/v1"


@dataclass(frozen=True, slots=True)
class Facts:
    """What a VM may know about itself."""

    name: str
    id: int
    zone: str
    address: str
    created_at: str  # RFC 3339
    attributes: Mapping[str, str]
    account: Account
    scopes: tuple[str, ...] = ("https://www.googleapis.com/auth/cloud-platform",)

    def tree(self) -> dict[str, Any]:
        """The whole of it, as paths spell it."""
        account = {
            "aliases": ["default"],
            "email": self.account.email,
            "scopes": list(self.scopes),
        }
        return {
            "instance": {
                "attributes": dict(self.attributes),
                "hostname": f"{self.name}.{self.zone}.c.{PROJECT}.internal",
                "id": self.id,
                "name": self.name,
                "network-interfaces": {"0": {"ip": self.address}},
                "service-accounts": {"default": account, self.account.email: account},
                "zone": f"projects/{PROJECT_NUMBER}/zones/{self.zone}",
            },
            "project": {
                "attributes": {},
                "numeric-project-id": PROJECT_NUMBER,
                "project-id": PROJECT,
            },
            "universe": {"universe-domain": "googleapis.com"},
        }


def application(
    tokens: Tokens,
    facts: Callable[[], Facts],
    write: Callable[[str, str], bool] = lambda _path, _value: False,
) -> web.Application:
    """One VM's site. `facts` is asked at every request: a recreated VM has a new id.

    `write` keeps a guest attribute (NAMESPACE/KEY, value); False where the VM may have none.
    """
    return shared_application(tokens, lambda _: facts(), write)


def shared_application(
    tokens: Tokens,
    facts: Callable[[str], Facts | None],
    write: Callable[[str, str], bool] = lambda _path, _value: False,
) -> web.Application:
    """The site of all VMs, at Google's address: `facts` of who calls from an address."""

    async def handle(request: web.Request) -> web.Response:
        if "X-Forwarded-For" in request.headers:
            return _text("X-Forwarded-For is not allowed.", 403)
        path = request.path
        if path in ("", "/"):
            return _text("computeMetadata/\n")
        if request.headers.get("Metadata-Flavor") != "Google":
            return _text("Missing Metadata-Flavor:Google header.", 403)
        if not path.startswith(_ROOT):
            return _text("Not found", 404)
        found = facts(request.remote or "")
        if found is None:
            return _text("Not found", 404)
        return _answer(tokens, found, path.removeprefix(_ROOT), request.query)

    async def put(request: web.Request) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return _text("Missing Metadata-Flavor:Google header.", 403)
        path = request.match_info["path"]
        if not write(path, await request.text()):
            return _text("Guest attributes endpoint access is disabled.", 403)
        return _text("")

    app = web.Application()
    app.router.add_put(_ROOT + "/instance/guest-attributes/{path:[^/]+/[^/]+}", put)
    app.router.add_get("/{path:.*}", handle)
    return app


def _answer(tokens: Tokens, facts: Facts, path: str, query: Mapping[str, str]) -> web.Response:
    parts = [part for part in path.split("/") if part]
    if parts[:2] == ["instance", "service-accounts"] and len(parts) == 4:
        if parts[2] not in ("default", facts.account.email):
            return _text("Not found", 404)
        if parts[3] == "token":
            return _json(
                {
                    "access_token": tokens.access_token(facts.account),
                    "expires_in": LIFETIME_S - 1,
                    "token_type": "Bearer",
                }
            )
        if parts[3] == "identity":
            return _identity(tokens, facts, query)
    node: Any = facts.tree()
    for part in parts:
        if not isinstance(node, dict) or part not in node:
            return _text("Not found", 404)
        node = node[part]
    if query.get("recursive", "").lower() == "true":
        return _json(_camel(node, keep=parts[-1:] == ["attributes"]))
    if isinstance(node, dict):
        lines = [f"{key}/" if isinstance(value, dict) else key for key, value in node.items()]
        return _text("".join(f"{line}\n" for line in lines))
    return _text("\n".join(node) + "\n" if isinstance(node, list) else str(node))


def _identity(tokens: Tokens, facts: Facts, query: Mapping[str, str]) -> web.Response:
    audience = query.get("audience", "")
    if not audience:
        return _text("non-empty audience parameter required", 400)
    extra: dict[str, Any] = {}
    if query.get("format") == "full":
        created = datetime.fromisoformat(facts.created_at)
        extra["google"] = {
            "compute_engine": {
                "instance_creation_timestamp": int(created.timestamp()),
                "instance_id": str(facts.id),
                "instance_name": facts.name,
                "project_id": PROJECT,
                "project_number": PROJECT_NUMBER,
                "zone": facts.zone,
            }
        }
    return _text(tokens.id_token(facts.account, audience, extra))


def _camel(node: Any, keep: bool = False) -> Any:
    """Folder names as recursive answers spell them; names of attributes are the user's own."""
    if not isinstance(node, dict):
        return node
    result = {}
    for key, value in node.items():
        head, *tail = key.split("-")
        name = key if keep or "@" in key else head + "".join(part.title() for part in tail)
        result[name] = _camel(value, keep=key == "attributes")
    return result


def _text(text: str, status: int = 200) -> web.Response:
    return web.Response(
        text=text, status=status, headers={**_FLAVOR, "Content-Type": "application/text"}
    )


def _json(value: Any) -> web.Response:
    return web.Response(
        text=json.dumps(value), headers={**_FLAVOR, "Content-Type": "application/json"}
    )
