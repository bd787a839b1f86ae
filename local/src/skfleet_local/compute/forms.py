"""Published forms of the Compute API's answers: field names and types of its discovery document."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from typing import Any

from skfleet.documents.edge import Edge
from skfleet_local.compute import faults
from skfleet_local.compute.model import Instance
from skfleet_local.compute.operations import timestamp
from skfleet_local.compute.project import (
    EXTERNAL_BACKEND,
    INTERNAL_BACKEND,
    LIVENESS_CHECK,
    READINESS_CHECK,
    REGION,
    Links,
    backend_id,
)
from skfleet_operator.instance_group import decisions

_STATUS = {"build": "PROVISIONING", "run": "RUNNING", "drain": "RUNNING", "stop": "STOPPING"}


def fingerprint(value: object) -> str:
    """Changes whenever the value does; base64, as Google's."""
    return base64.urlsafe_b64encode(zlib.crc32(repr(value).encode()).to_bytes(8, "big")).decode()


def managed_instance(
    links: Links, instance: Instance, health: str | None, quota: int | None
) -> dict[str, Any]:
    """A `ManagedInstance`.

    `health`: autohealing's state, None where the group has no policy. `quota`: for the words of an error.
    """
    form: dict[str, Any] = {
        "instance": links.instance(instance.zone, instance.name),
        "name": instance.name,
        "currentAction": instance.action,
        "lastAttempt": {},
    }
    if instance.error:
        form["lastAttempt"] = {
            "errors": {"errors": [faults.error(instance.error, instance.zone, quota)]}
        }
    if instance.action != "DELETING":
        form["version"] = {"instanceTemplate": links.template(instance.template)}
    if instance.init is not None:
        form["id"] = str(instance.id)
        form["instanceStatus"] = _STATUS[instance.phase]
    if health is not None and instance.phase in ("run", "drain"):
        form["instanceHealth"] = [
            {
                "healthCheck": links.health_check(LIVENESS_CHECK),
                "detailedHealthState": "DRAINING" if instance.phase == "drain" else health,
            }
        ]
    return form


def instance(links: Links, item: Instance, metadata: dict[str, Any]) -> dict[str, Any]:
    """An `Instance`."""
    return {
        "kind": "compute#instance",
        "id": str(item.id),
        "name": item.name,
        "creationTimestamp": timestamp(item.created),
        "status": _STATUS[item.phase],
        "zone": links.zone(item.zone),
        "metadata": {"kind": "compute#metadata", **metadata},
        "networkInterfaces": [
            {"kind": "compute#networkInterface", "name": "nic0", "networkIP": item.address}
        ],
        "selfLink": links.instance(item.zone, item.name),
    }


def manager(links: Links, form: dict[str, Any], members: Iterable[Instance]) -> dict[str, Any]:
    """An `InstanceGroupManager`: what was inserted, and how it is now."""
    items = list(members)
    actions = [item.action for item in items]
    counted = ("none", "creating", "verifying", "recreating", "deleting")
    idle = ("abandoning", "refreshing", "restarting", "resuming", "starting", "stopping")
    current = {name: actions.count(name.upper()) for name in counted}  # type: ignore[arg-type]
    staying = len([action for action in actions if action != "DELETING"])
    stable = set(actions) <= {"NONE"} and staying == form["targetSize"]
    wanted = versions(form)
    reached = decisions.versions_reached(
        wanted, [item.template for item in items if item.action != "DELETING"]
    )
    body = {
        **form,
        "currentActions": {
            **current,
            **dict.fromkeys((*idle, "suspending", "creatingWithoutRetries"), 0),
        },
        "status": {"isStable": stable, "versionTarget": {"isReached": reached}},
        "versions": [
            version
            if size is None
            else {**version, "targetSize": {**version["targetSize"], "calculated": size}}
            for version, size in zip(form["versions"], (v.size for v in wanted), strict=True)
        ],
        "instanceGroup": links.group(form["name"]),
    }
    return {**body, "fingerprint": fingerprint(form)}


def versions(form: dict[str, Any]) -> list[decisions.Version]:
    """The group's templates by name, their sizes in VMs."""
    found = []
    for version in form["versions"]:
        size = version.get("targetSize") or {}
        count = size.get("fixed")
        if "percent" in size:
            count = round(int(size["percent"]) * int(form["targetSize"]) / 100)
        name = str(version["instanceTemplate"]).rpartition("/")[2]
        found.append(decisions.Version(name, None if count is None else int(count)))
    return found


def autoscaler(form: dict[str, Any]) -> dict[str, Any]:
    """An `Autoscaler`; what the stand-in notes for itself begins with `_`."""
    return {key: value for key, value in form.items() if not key.startswith("_")}


def backend_service(links: Links, edge: Edge, name: str) -> dict[str, Any] | None:
    """One of the two `BackendService`s that Terraform makes; None for any other name."""
    if name not in (EXTERNAL_BACKEND, INTERNAL_BACKEND):
        return None
    regional = name == INTERNAL_BACKEND
    listener = edge.listeners.internal if regional else edge.listeners.iap
    form: dict[str, Any] = {
        "kind": "compute#backendService",
        "id": str(backend_id(name)),
        "name": name,
        "selfLink": links.backend(name, regional),
        "protocol": "HTTP",
        "portName": listener.name,
        "port": listener.port,
        "timeoutSec": round(edge.timeouts.request_s),
        "connectionDraining": {"drainingTimeoutSec": round(edge.timeouts.drain_s)},
        "loadBalancingScheme": "INTERNAL_MANAGED" if regional else "EXTERNAL_MANAGED",
        "healthChecks": [links.health_check(READINESS_CHECK)],
        "iap": {"enabled": not regional},
    }
    if regional:
        form["region"] = f"{links.project}/regions/{REGION}"
    return form
