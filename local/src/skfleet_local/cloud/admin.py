"""What the command line asks and tells the cloud; Google has no such thing."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from skfleet_local.cloud.storage import Fault, Storage
from skfleet_local.compute.faults import Faults
from skfleet_local.compute.group import ControlLoop
from skfleet_local.compute.health import BackendHealth
from skfleet_local.compute.project import EXTERNAL_BACKEND, INTERNAL_BACKEND
from skfleet_operator.instance_group.decisions import Liveness


def application(
    run: str, control: ControlLoop, health: BackendHealth, storage: Storage
) -> web.Application:
    """The site."""

    async def alive(_: web.Request) -> web.Response:
        return web.json_response({"run": run})

    async def fleet(_: web.Request) -> web.Response:
        external = await health.states(EXTERNAL_BACKEND)
        internal = await health.states(INTERNAL_BACKEND)
        vms: list[dict[str, Any]] = []
        for item in sorted(control.resources.instances.values(), key=lambda i: i.address):
            seen = control.liveness.get(item.name, Liveness())
            vms.append(
                {
                    "name": item.name,
                    "id": str(item.id),
                    "zone": item.zone,
                    "address": item.address,
                    "phase": item.phase,
                    "action": item.action,
                    "reason": item.reason,
                    "recreated": item.recreated,
                    "booted_at": item.booted,
                    "liveness": seen.state(control.edge.health_checks.liveness),
                    "external": external.get(item.address),
                    "internal": internal.get(item.address),
                }
            )
        sizes = {name: form["targetSize"] for name, form in control.resources.groups.items()}
        return web.json_response({"target_sizes": sizes, "vms": vms})

    async def break_storage(request: web.Request) -> web.Response:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.MsgspecError as error:
            return web.json_response({"error": str(error)}, status=400)
        storage.break_(fault)
        return web.json_response(msgspec.to_builtins(fault))

    async def compute_faults(_: web.Request) -> web.Response:
        return web.json_response(msgspec.to_builtins(control.resources.faults))

    async def break_compute(request: web.Request) -> web.Response:
        try:
            wanted = msgspec.json.decode(await request.read(), type=Faults)
        except msgspec.MsgspecError as error:
            return web.json_response({"error": str(error)}, status=400)
        # In place: others hold the same object.
        for field in wanted.__struct_fields__:
            setattr(control.resources.faults, field, getattr(wanted, field))
        control.save()
        return await compute_faults(request)

    app = web.Application()
    app.router.add_get("/compute/faults", compute_faults)
    app.router.add_put("/compute/faults", break_compute)
    app.router.add_get("/alive", alive)
    app.router.add_get("/fleet", fleet)
    app.router.add_post("/storage/fault", break_storage)
    return app
