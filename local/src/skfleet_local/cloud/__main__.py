"""`python -m skfleet_local.cloud`: the process that is Google Cloud.

Started by `up` with the run directory as its argument. It may die and be started again: resources are
on disk, VMs live on without it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

from aiohttp import web

from skfleet.declared import read_edge
from skfleet.documents.edge import EDGE
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.addresses import (
    ADMIN_PORT,
    COMPUTE_PORT,
    IDENTITY_PORT,
    METADATA_PORT,
    STORAGE_PORT,
)
from skfleet_local.cloud import admin, iap, identity, metadata
from skfleet_local.cloud.callers import own_user_only
from skfleet_local.cloud.storage import Storage
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.compute.api import ComputeApi
from skfleet_local.compute.group import ControlLoop
from skfleet_local.compute.health import BackendHealth
from skfleet_local.compute.model import Instance, Resources
from skfleet_local.compute.operations import Operations
from skfleet_local.compute.project import Links, iap_audience
from skfleet_local.edge import scale_edge
from skfleet_local.hosts import network
from skfleet_local.hosts.cloud import facts_at
from skfleet_local.objects import ObjectStore
from skfleet_local.run import Run, make_socket_directory

GOOGLE_METADATA_PORT = 80

_log = logging.getLogger("skfleet_local.cloud")


class Sites:
    """Listeners by name; VMs' come and go."""

    def __init__(self) -> None:
        self._runners: dict[str, web.AppRunner] = {}

    async def open(self, name: str, app: web.Application, address: str, port: int) -> None:
        """Listen for the fleet's own user, unless this one is open already."""
        if name in self._runners:
            return
        app.middlewares.insert(0, own_user_only())
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        self._runners[name] = runner

    async def open_unix(self, name: str, app: web.Application, path: Path) -> None:
        """Listen on a unix socket, which its directory's mode protects."""
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        make_socket_directory(path)
        await web.UnixSite(runner, path).start()
        self._runners[name] = runner

    async def close(self, name: str) -> None:
        """Stop listening."""
        if runner := self._runners.pop(name, None):
            await runner.cleanup()

    async def close_all(self) -> None:
        """At the end."""
        await asyncio.gather(*(self.close(name) for name in list(self._runners)))


async def serve(run: Run) -> None:
    """All services, until SIGTERM."""
    state = run.require_state()
    addresses = state.addresses
    edge = scale_edge(read_edge(Path(state.repository) / EDGE), state.time_scale)
    tokens = Tokens.load(run)
    sites = Sites()
    objects = ObjectStore(run.objects)
    storage = Storage(tokens, objects, addresses.storage_url)
    health = BackendHealth(run.envoy_admin_socket, state.time_scale)

    async def open_metadata(instance: Instance) -> None:
        if state.layers:  # real hosts ask Google's own address, below
            return
        app = metadata.application(
            tokens,
            lambda: control.facts(instance.name),
            lambda path, value: control.write_guest_attribute(instance.name, path, value),
        )
        await sites.open(f"metadata {instance.name}", app, instance.address, METADATA_PORT)

    async def close_metadata(name: str) -> None:
        await sites.close(f"metadata {name}")

    control = ControlLoop(
        run=run,
        addresses=addresses,
        edge=edge,
        time_scale=state.time_scale,
        open_metadata=open_metadata,
        close_metadata=close_metadata,
        resources=Resources.load(run.compute_file),
        layers=tuple(Path(layer) for layer in state.layers),
    )
    links = Links(addresses.compute_url)
    operations = Operations(links, state.time_scale, control.resources.faults)
    compute = ComputeApi(tokens, links, control, health, operations)
    for name, app, port in (
        ("storage", storage.application(), STORAGE_PORT),
        ("identity", identity.application(tokens, addresses.token_url), IDENTITY_PORT),
        ("compute", compute.application(), COMPUTE_PORT),
        ("admin", admin.application(str(run.root), control, health, storage), ADMIN_PORT),
    ):
        await sites.open(name, app, addresses.cloud, port)
    await sites.open_unix("iap", iap.application(tokens, iap_audience()), run.iap_socket)
    if state.layers:
        # Whoever is there beside the group's VMs generates load.
        app = metadata.shared_application(
            tokens,
            lambda address: control.facts_at(address) or facts_at(address, ACCOUNTS["loadgen"], {}),
        )
        await sites.open("metadata", app, network.METADATA, GOOGLE_METADATA_PORT)
    _log.info("listening on %s.0/24", addresses.subnet)

    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    looping = asyncio.create_task(control.loop())
    stopping = asyncio.create_task(stopped.wait())
    try:
        done, _ = await asyncio.wait({looping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if looping in done:
            looping.result()  # raises what ended it
    finally:
        looping.cancel()
        await asyncio.gather(looping, return_exceptions=True)
        await sites.close_all()
        objects.close()


def main() -> None:
    """The process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(serve(Run(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
