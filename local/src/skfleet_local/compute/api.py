"""The subset of the Compute Engine API (v1) that a regional managed instance group needs.

Paths, methods, field names and types are the published ones; the caller needs an access token of an
account with the right. What is not here is answered with 404 and its name, never with a guess.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from skfleet_local.accounts import PROJECT, Account
from skfleet_local.cloud.errors import ApiError, errors_middleware
from skfleet_local.cloud.tokens import Refused, Tokens, bearer
from skfleet_local.compute import forms
from skfleet_local.compute.group import ControlLoop
from skfleet_local.compute.health import BackendHealth
from skfleet_local.compute.model import Instance
from skfleet_local.compute.operations import Operations, timestamp
from skfleet_local.compute.project import INTERNAL_BACKEND, REGION, ZONES, Links
from skfleet_local.hosts.vm import HostVm
from skfleet_operator.instance_group import autoscaler
from skfleet_operator.instance_group.decisions import Liveness

_NAME = re.compile(r"^[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?\Z")
_ACCOUNT = web.RequestKey("account", Account)

_GROUPS = "/regions/{region}/instanceGroupManagers"
_GROUP = _GROUPS + "/{name}"
_TEMPLATES = "/global/instanceTemplates"
_AUTOSCALERS = "/regions/{region}/autoscalers"
_MODES = ("ON", "OFF", "ONLY_SCALE_OUT", "ONLY_UP")


@dataclass(slots=True)
class ComputeApi:
    """The site."""

    tokens: Tokens
    links: Links
    control: ControlLoop
    health: BackendHealth
    operations: Operations

    def application(self) -> web.Application:
        """Its routes."""
        app = web.Application(middlewares=[errors_middleware, self._authorize, self._unkind])
        base = "/compute/v1/projects/{project}"
        for method, path, handler in (
            ("POST", _TEMPLATES, self.insert_template),
            ("GET", _TEMPLATES + "/{name}", self.get_template),
            ("POST", _GROUPS, self.insert_group),
            ("GET", _GROUPS, self.list_groups),
            ("GET", _GROUP, self.get_group),
            ("PATCH", _GROUP, self.patch_group),
            ("POST", _GROUP + "/listManagedInstances", self.list_managed),
            ("POST", _GROUP + "/resize", self.resize),
            ("POST", _GROUP + "/recreateInstances", self.recreate),
            ("POST", _GROUP + "/deleteInstances", self.delete),
            ("POST", _AUTOSCALERS, self.insert_autoscaler),
            ("GET", _AUTOSCALERS, self.list_autoscalers),
            ("PATCH", _AUTOSCALERS, self.patch_autoscaler),
            ("GET", _AUTOSCALERS + "/{name}", self.get_autoscaler),
            ("GET", "/zones/{zone}/instances", self.list_instances),
            ("GET", "/zones/{zone}/instances/{name}", self.get_instance),
            ("GET", "/zones/{zone}/instances/{name}/getGuestAttributes", self.get_attributes),
            ("POST", "/zones/{zone}/instances/{name}/reset", self.reset_instance),
            ("GET", "/global/operations/{name}", self.get_operation),
            ("POST", "/global/operations/{name}/wait", self.wait_operation),
            ("GET", "/zones/{zone}/operations/{name}", self.get_operation),
            ("POST", "/zones/{zone}/operations/{name}/wait", self.wait_operation),
            ("GET", "/regions/{region}/operations/{name}", self.get_operation),
            ("POST", "/regions/{region}/operations/{name}/wait", self.wait_operation),
            ("GET", "/global/backendServices/{name}", self.get_backend),
            ("POST", "/global/backendServices/{name}/getHealth", self.get_health),
            ("GET", "/regions/{region}/backendServices/{name}", self.get_backend),
            ("POST", "/regions/{region}/backendServices/{name}/getHealth", self.get_health),
        ):
            app.router.add_route(method, base + path, handler)
        return app

    @property
    def _authorize(self) -> Any:
        tokens = self.tokens

        @web.middleware
        async def authorize(request: web.Request, handler: Any) -> web.StreamResponse:
            try:
                account = tokens.check_access_token(bearer(request.headers.get("Authorization")))
            except Refused:
                raise ApiError(
                    401, "Request had invalid authentication credentials.", "authError"
                ) from None
            if not account.compute:
                raise ApiError(403, f"Required permission is missing for {account.email}.")
            self._check_scope(request)
            request[_ACCOUNT] = account
            answer: web.StreamResponse = await handler(request)
            return answer

        return authorize

    @property
    def _unkind(self) -> Any:
        """Trouble that was asked for; and a request that comes again with its id is done once."""

        @web.middleware
        async def unkind(request: web.Request, handler: Any) -> web.StreamResponse:
            trouble = self.control.resources.faults.api_trouble()
            if trouble is not None and not trouble.late:
                raise ApiError(trouble.status, "The service is currently unavailable.")
            known = self.operations.of_request(_request_id(request))
            answer: web.StreamResponse = (
                await handler(request) if known is None else web.json_response(known)
            )
            if trouble is not None:
                raise ApiError(trouble.status, "The service is currently unavailable.")
            return answer

        return unkind

    def _check_scope(self, request: web.Request) -> None:
        known = {"project": (PROJECT,), "region": (REGION,), "zone": ZONES}
        for scope, names in known.items():
            if request.match_info.get(scope, names[0]) not in names:
                raise _not_found(f"{scope}s/{request.match_info[scope]}")

    # Templates

    async def insert_template(self, request: web.Request) -> web.Response:
        """instanceTemplates.insert"""
        body = await _body(request)
        name = _new_name(body, self.control.resources.templates)
        if not isinstance(body.get("properties"), dict):
            raise ApiError(400, "Invalid value for field 'resource.properties'", "required")
        form = {
            "kind": "compute#instanceTemplate",
            "id": str(self.control.new_id()),
            "creationTimestamp": timestamp(),
            "description": "",
            **body,
            "name": name,
            "selfLink": self.links.template(name),
        }
        self.control.resources.templates[name] = form
        return self._operation(request, "insert", form, scope="global")

    async def get_template(self, request: web.Request) -> web.Response:
        """instanceTemplates.get"""
        return web.json_response(
            _find(self.control.resources.templates, request, "instanceTemplates")
        )

    # Groups

    async def insert_group(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.insert"""
        body = await _body(request)
        name = _new_name(body, self.control.resources.groups)
        template = body.get("instanceTemplate")
        zones = (body.get("distributionPolicy") or {}).get("zones") or [
            {"zone": self.links.zone(zone)} for zone in ZONES
        ]
        form = {
            "kind": "compute#instanceGroupManager",
            "id": str(self.control.new_id()),
            "creationTimestamp": timestamp(),
            "baseInstanceName": name,
            **body,
            "name": name,
            "targetSize": _size(body.get("targetSize")),
            "region": f"{self.links.project}/regions/{REGION}",
            **self._versions(body.get("versions") or [{"instanceTemplate": template}]),
            "distributionPolicy": {"zones": zones, "targetShape": "EVEN"},
            "selfLink": self.links.manager(name),
        }
        self.control.resources.groups[name] = form
        return self._operation(request, "insert", form)

    async def list_groups(self, _: web.Request) -> web.Response:
        """regionInstanceGroupManagers.list"""
        items = [self._manager(form) for form in self.control.resources.groups.values()]
        return web.json_response(
            {"kind": "compute#regionInstanceGroupManagerList", "id": "list", "items": items}
        )

    async def get_group(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.get"""
        return web.json_response(self._manager(self._group(request)))

    async def list_managed(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.listManagedInstances"""
        name = self._group(request)["name"]
        policy = self.control.policy(name)
        items = [
            forms.managed_instance(
                self.links,
                item,
                self.control.liveness.get(item.name, Liveness()).state(policy) if policy else None,
                self.control.resources.faults.quota,
            )
            for item in self.control.resources.of_group(name)
        ]
        return web.json_response({"managedInstances": items})

    async def patch_group(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.patch of templates; with the fingerprint that was read."""
        form = self._group(request)
        body = await _body(request)
        if body.pop("fingerprint", None) != forms.fingerprint(form):
            raise ApiError(412, "Invalid fingerprint.")
        unknown = body.keys() - {"name", "versions", "instanceTemplate"}
        if unknown:
            raise ApiError(400, f"Not in this stand-in: patching {', '.join(sorted(unknown))}.")
        versions = body.get("versions") or [{"instanceTemplate": body.get("instanceTemplate")}]
        form.update(self._versions(versions))
        return self._operation(request, "patch", form)

    def _versions(self, given: object) -> dict[str, Any]:
        """`versions`, and the one for the rest as the group's template; ApiError if they mean nothing."""
        found, rest = [], []
        for version in given if isinstance(given, list) else []:
            name = str(version.get("instanceTemplate", "")).rpartition("/")[2]
            if name not in self.control.resources.templates:
                raise ApiError(
                    400, f"Invalid value for field 'resource.versions': '{name}'", "invalid"
                )
            size = version.get("targetSize") or {}
            if size:
                _size(size.get("fixed", size.get("percent")))
            else:
                rest.append(self.links.template(name))
            found.append({**version, "instanceTemplate": self.links.template(name)})
        if len(rest) != 1:
            raise ApiError(
                400,
                "Invalid value for field 'resource.versions': exactly one has no targetSize.",
                "invalid",
            )
        return {"versions": found, "instanceTemplate": rest[0]}

    async def resize(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.resize"""
        form = self._group(request)
        form["targetSize"] = _size(request.query.get("size"))
        return self._operation(request, "resize", form)

    async def recreate(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.recreateInstances"""
        form = self._group(request)
        for item in await self._named(request, form):
            self.control.renew(item, f"asked for by {request[_ACCOUNT].email}")
        return self._operation(request, "recreateInstances", form)

    async def delete(self, request: web.Request) -> web.Response:
        """regionInstanceGroupManagers.deleteInstances: the target size shrinks with them."""
        form = self._group(request)
        for item in await self._named(request, form):
            if item.action != "DELETING":
                form["targetSize"] -= 1
                self.control.delete(item, f"asked for by {request[_ACCOUNT].email}")
        return self._operation(request, "deleteInstances", form)

    # Autoscalers

    async def insert_autoscaler(self, request: web.Request) -> web.Response:
        """regionAutoscalers.insert"""
        body = await _body(request)
        name = _new_name(body, self.control.resources.autoscalers)
        if str(body.get("target", "")).rpartition("/")[2] not in self.control.resources.groups:
            raise ApiError(400, "Invalid value for field 'resource.target'", "invalid")
        form = {
            "kind": "compute#autoscaler",
            "id": str(self.control.new_id()),
            "creationTimestamp": timestamp(),
            **body,
            "name": name,
            "autoscalingPolicy": _policy({"mode": "ON"}, body.get("autoscalingPolicy")),
            "region": f"{self.links.project}/regions/{REGION}",
            "status": "ACTIVE",
            "selfLink": self.links.autoscaler(name),
        }
        self.control.resources.autoscalers[name] = form
        return self._operation(request, "insert", form)

    async def list_autoscalers(self, _: web.Request) -> web.Response:
        """regionAutoscalers.list"""
        items = [forms.autoscaler(form) for form in self.control.resources.autoscalers.values()]
        return web.json_response(
            {"kind": "compute#regionAutoscalerList", "id": "list", "items": items}
        )

    async def get_autoscaler(self, request: web.Request) -> web.Response:
        """regionAutoscalers.get"""
        found = _find(self.control.resources.autoscalers, request, "autoscalers")
        return web.json_response(forms.autoscaler(found))

    async def patch_autoscaler(self, request: web.Request) -> web.Response:
        """regionAutoscalers.patch: what is not given stays as it is."""
        body = await _body(request)
        name = request.query.get("autoscaler") or str(body.get("name", ""))
        form = self.control.resources.autoscalers.get(name)
        if form is None:
            raise _not_found(f"autoscalers/{name}")
        form["autoscalingPolicy"] = _policy(
            form["autoscalingPolicy"], body.get("autoscalingPolicy")
        )
        return self._operation(request, "patch", form)

    # VMs

    async def list_instances(self, request: web.Request) -> web.Response:
        """instances.list"""
        zone = request.match_info["zone"]
        items = [
            self._instance(item)
            for item in self.control.resources.instances.values()
            if item.zone == zone and item.init is not None
        ]
        return web.json_response(
            {"kind": "compute#instanceList", "id": f"zones/{zone}", "items": items}
        )

    async def get_instance(self, request: web.Request) -> web.Response:
        """instances.get"""
        return web.json_response(self._instance(self._running(request)))

    async def reset_instance(self, request: web.Request) -> web.Response:
        """instances.reset: a hard reboot."""
        item = self._running(request)
        name = request[_ACCOUNT].email
        if not self.control.reset(item, f"asked for by {name}"):
            raise ApiError(400, f"The resource '{item.name}' is not ready", "resourceNotReady")
        return web.json_response(
            self.operations.start(
                "reset",
                self.links.instance(item.zone, item.name),
                item.id,
                name,
                scope=f"zones/{item.zone}",
                request_id=_request_id(request),
            )
        )

    def _running(self, request: web.Request) -> Instance:
        item = self.control.resources.instances.get(request.match_info["name"])
        if item is None or item.zone != request.match_info["zone"] or item.init is None:
            raise _not_found(f"instances/{request.match_info['name']}")
        return item

    async def get_attributes(self, request: web.Request) -> web.Response:
        """instances.getGuestAttributes of a namespace (`queryPath` NAMESPACE/), or of one key."""
        name = request.match_info["name"]
        item = self.control.resources.instances.get(name)
        if item is None or item.zone != request.match_info["zone"]:
            raise _not_found(f"instances/{name}")
        path = request.query.get("queryPath", "") or request.query.get("variableKey", "")
        attributes = dict(item.guest_attributes)
        vm = self.control.vm(item) if item.phase == "run" else None
        if isinstance(vm, HostVm):  # its guest agent tells them
            kind, _, key = vm.host_key().partition(" ")
            attributes[f"hostkeys/{kind}"] = key
        found = [
            {"namespace": key.split("/")[0], "key": key.split("/")[1], "value": value}
            for key, value in sorted(attributes.items())
            if key == path or key.startswith(path if path.endswith("/") else path + "/")
        ]
        if not found:
            raise _not_found(f"instances/{name}/guestAttributes/{path}")
        link = self.links.instance(item.zone, name)
        return web.json_response(
            {
                "kind": "compute#guestAttributes",
                "queryPath": path,
                "queryValue": {"items": found},
                "selfLink": f"{link}/guestAttributes/{path}",
            }
        )

    # Operations, load balancers

    async def get_operation(self, request: web.Request) -> web.Response:
        """globalOperations.get, regionOperations.get, zoneOperations.get"""
        return web.json_response(self.operations.get(request.match_info["name"], _scope(request)))

    async def wait_operation(self, request: web.Request) -> web.Response:
        """globalOperations.wait, regionOperations.wait, zoneOperations.wait"""
        return web.json_response(
            await self.operations.wait(request.match_info["name"], _scope(request))
        )

    async def get_backend(self, request: web.Request) -> web.Response:
        """backendServices.get, regionBackendServices.get"""
        return web.json_response(self._backend(request))

    async def get_health(self, request: web.Request) -> web.Response:
        """backendServices.getHealth, regionBackendServices.getHealth"""
        backend = self._backend(request)
        group = str((await _body(request)).get("group", "")).rpartition("/")[2]
        if group not in self.control.resources.groups:
            raise _not_found(f"instanceGroups/{group}")
        members = [i for i in self.control.resources.of_group(group) if i.init is not None]
        states = await self.health.states(backend["name"])
        return web.json_response(
            {
                "kind": "compute#backendServiceGroupHealth",
                "healthStatus": [
                    {
                        "instance": self.links.instance(item.zone, item.name),
                        "ipAddress": item.address,
                        "port": backend["port"],
                        # No other state is published; a draining VM is not healthy.
                        "healthState": "HEALTHY"
                        if states.get(item.address) == "HEALTHY"
                        else "UNHEALTHY",
                    }
                    for item in members
                ],
            }
        )

    # Common

    def _operation(
        self,
        request: web.Request,
        kind: str,
        form: dict[str, Any],
        *,
        scope: str = f"regions/{REGION}",
    ) -> web.Response:
        self.control.save()
        return web.json_response(
            self.operations.start(
                kind,
                form["selfLink"],
                int(form["id"]),
                request[_ACCOUNT].email,
                scope=scope,
                request_id=_request_id(request),
            )
        )

    def _group(self, request: web.Request) -> dict[str, Any]:
        return _find(self.control.resources.groups, request, "instanceGroupManagers")

    def _manager(self, form: dict[str, Any]) -> dict[str, Any]:
        members = self.control.resources.of_group(form["name"])
        return forms.manager(self.links, form, members)

    def _instance(self, item: Instance) -> dict[str, Any]:
        properties = self.control.resources.templates[item.template]["properties"]
        return forms.instance(self.links, item, properties.get("metadata") or {})

    def _backend(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["name"]
        form = forms.backend_service(self.links, self.control.edge, name)
        regional = "region" in request.match_info
        if form is None or (name == INTERNAL_BACKEND) != regional:
            raise _not_found(f"backendServices/{name}")
        return form

    async def _named(self, request: web.Request, form: dict[str, Any]) -> Iterable[Instance]:
        """The group's members that a request names by URL; all or none."""
        urls = (await _body(request)).get("instances") or []
        members = {item.name: item for item in self.control.resources.of_group(form["name"])}
        names = [str(url).rpartition("/")[2] for url in urls]
        unknown = [name for name in names if name not in members]
        if unknown or not names:
            raise ApiError(400, f"Instances are not in the group: {', '.join(unknown)}", "invalid")
        return [members[name] for name in names]


def _find(known: dict[str, dict[str, Any]], request: web.Request, kind: str) -> dict[str, Any]:
    name = request.match_info["name"]
    if name not in known:
        raise _not_found(f"{kind}/{name}")
    return known[name]


def _request_id(request: web.Request) -> str:
    text = request.query.get("requestId", "")
    try:
        return str(uuid.UUID(text)) if text else ""
    except ValueError:
        raise ApiError(400, f"Invalid value for field 'requestId': '{text}'", "invalid") from None


def _scope(request: web.Request) -> str:
    """Where an operation is: the part of its address that says so."""
    for kind in ("region", "zone"):
        if kind in request.match_info:
            return f"{kind}s/{request.match_info[kind]}"
    return "global"


def _not_found(what: str) -> ApiError:
    return ApiError(404, f"The resource 'projects/{PROJECT}/{what}' was not found")


def _new_name(body: dict[str, Any], known: dict[str, dict[str, Any]]) -> str:
    name = body.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise ApiError(400, f"Invalid value for field 'resource.name': '{name}'", "invalid")
    if name in known:
        raise ApiError(409, f"The resource '{name}' already exists")
    return name


def _policy(found: dict[str, Any], given: object) -> dict[str, Any]:
    """An autoscaling policy with what is given in it; ApiError for one that means nothing."""
    policy = {**found, **(given if isinstance(given, dict) else {})}
    low, high = _size(policy.get("minNumReplicas", 0)), _size(policy.get("maxNumReplicas"))
    if low > high:
        raise ApiError(
            400, "minNumReplicas must not be greater than maxNumReplicas in autoscalingPolicy."
        )
    if policy.get("mode") not in _MODES:
        raise ApiError(400, f"Invalid value for field 'mode': '{policy.get('mode')}'", "invalid")
    try:
        autoscaler.policy({"autoscalingPolicy": policy}, 0.0)
        autoscaler.schedules_of({"autoscalingPolicy": policy})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ApiError(
            400, f"Invalid value for field 'autoscalingPolicy': {error}", "invalid"
        ) from None
    return policy


def _size(value: object) -> int:
    try:
        size = int(str(value))
    except ValueError:
        size = -1
    if size < 0:
        raise ApiError(400, f"Invalid value for field 'targetSize': '{value}'", "invalid")
    return size


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = json.loads(await request.read() or b"{}")
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ApiError(400, "Invalid JSON payload received.", "parseError")
    return body
