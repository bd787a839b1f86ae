"""`python -m skfleet_local.hosts.cloud`: what a VM needs of Google Cloud, in the hosts' network.

    up      the bucket, the metadata server and the identity providers' keys, until they answer
    run -- COMMAND…    run an operator's command there: `run -- skfleet release list`
    host    print host.env of the hosts: where this cloud is

Nothing else is there: no route leads out, no names are served. The metadata server has Google's own
address and knows a host by the address it calls from. Every call is a line of requests.jsonl.
`python -m skfleet_local.hosts down` ends it and removes what it holds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import msgspec
import requests
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from skfleet.errors import SkfleetError
from skfleet.polling import wait_until
from skfleet_local import client, keys, processes, terraform
from skfleet_local.accounts import (
    ACCOUNTS,
    FLEET,
    IAP_CLIENT_ID,
    INTERNAL_AUDIENCE,
    PROJECT,
    Account,
)
from skfleet_local.addresses import IDENTITY_PORT, STORAGE_PORT
from skfleet_local.cloud import identity, metadata
from skfleet_local.cloud.callers import own_user_only
from skfleet_local.cloud.metadata import Facts
from skfleet_local.cloud.storage import Storage
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.compute import project
from skfleet_local.hosts import network
from skfleet_local.hosts.host import Record
from skfleet_local.hosts.network import ADDRESSES, METADATA, directory
from skfleet_local.objects import ObjectStore
from skfleet_local.run import Run, claim

READY_S = 15.0
METADATA_PORT = 80  # Google's
_KEYS_URL = f"http://{ADDRESSES.cloud}:{IDENTITY_PORT}"


def run_directory() -> Run:
    """Where its keys, objects and logs are; goes with the hosts."""
    return Run(directory() / "cloud")


def requests_log() -> Path:
    """One JSON line a call."""
    return run_directory().root / "log" / "requests.jsonl"


def host_environment() -> dict[str, str]:
    """host.env: the metadata server needs none, it is where Google's is."""
    return {
        "SKFLEET_STORAGE_ENDPOINT": ADDRESSES.storage_url,
        "SKFLEET_IAP_KEYS_URL": f"{_KEYS_URL}/iap/verify/public_key-jwk",
        "SKFLEET_GOOGLE_KEYS_URL": f"{_KEYS_URL}/oauth2/v3/certs",
    }


def operator_environment() -> dict[str, str]:
    """What `skfleet` needs, inside the network."""
    return {
        "SKFLEET_BUCKET": f"gs://{project.BUCKET}",
        "SKFLEET_FLEET": project.FLEET,
        "SKFLEET_STORAGE_ENDPOINT": ADDRESSES.storage_url,
        "SKFLEET_IAP_AUDIENCE": IAP_CLIENT_ID,
        "SKFLEET_INTERNAL_AUDIENCE": INTERNAL_AUDIENCE,
        "GOOGLE_APPLICATION_CREDENTIALS": str(keys.key_file(run_directory(), ACCOUNTS["operator"])),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
    }


def up() -> None:
    """Start what does not run, inside the network; make the bucket and who may call."""
    run = run_directory()
    claim(directory())
    for folder in (run.root / "log", run.objects):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys.make(run, ADDRESSES.token_url)
    if not _answers():
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(run.root),
            "LANG": "C.UTF-8",
            processes.MARK: str(directory()),
        }
        serving = [sys.executable, "-m", __spec__.name, "serve"]
        environment["SKFLEET_HOSTS"] = str(directory())
        processes.spawn(serving, environment, run.log("cloud"))
        try:
            wait_until(_answers, READY_S, "the hosts' cloud")
        except TimeoutError as late:
            raise SkfleetError(str(late), where=str(run.log("cloud"))) from None
    token = client.access_token(run, ACCOUNTS["terraform"])
    terraform.apply_artifacts(ADDRESSES, token)


def _answers() -> bool:
    urls = (f"http://{METADATA}/", f"{_KEYS_URL}/oauth2/v3/certs")
    try:
        return all(client.session().get(url, timeout=2).ok for url in urls)
    except requests.RequestException:
        return False


async def serve() -> None:
    """The listeners, until SIGTERM."""
    run = run_directory()
    tokens = Tokens.load(run)
    storage = Storage(tokens, ObjectStore(run.objects), ADDRESSES.storage_url)
    runners = []
    for name, app, address, port in (
        ("storage", storage.application(), ADDRESSES.cloud, STORAGE_PORT),
        (
            "identity",
            identity.application(tokens, ADDRESSES.token_url),
            ADDRESSES.cloud,
            IDENTITY_PORT,
        ),
        ("metadata", metadata.shared_application(tokens, _facts), METADATA, METADATA_PORT),
    ):
        app.middlewares.insert(0, own_user_only())
        app.middlewares.insert(0, _written_down(name))
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, address, port).start()
        runners.append(runner)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    for runner in runners:
        await runner.cleanup()


def _written_down(service: str) -> Middleware:
    log = requests_log()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        answer = await handler(request)
        line = {
            "at": round(time.time(), 3),
            "caller": request.remote,
            "service": service,
            "method": request.method,
            "path": request.rel_url.raw_path,
            "status": answer.status,
            "bytes": answer.body_length,
        }
        with log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return answer

    return middleware


def facts_at(address: str, account: Account, attributes: Mapping[str, str]) -> Facts | None:
    """What the host of an address may know, who it is included; None where there is none."""
    for path in directory().glob("*/host.json"):
        record = msgspec.json.decode(path.read_bytes(), type=Record)
        if record.address == address:
            created = datetime.fromtimestamp(path.stat().st_mtime, UTC)
            return Facts(
                name=record.name,
                id=zlib.crc32(f"{record.name}{created}".encode()),
                zone=project.ZONES[0],
                address=address,
                created_at=created.isoformat(),
                attributes=attributes,
                account=account,
            )
    return None


def _facts(address: str) -> Facts | None:
    """About the host that asks: it is a VM of the fleet."""
    return facts_at(address, FLEET, {"skfleet-fleet": terraform.FLEET_URI})


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="skfleet_local.hosts.cloud",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=["up", "run", "host", "serve"])
    parser.add_argument("argv", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        if options.command == "host":
            for name, value in host_environment().items():
                print(f"{name}={value}")  # noqa: T201 - the answer
        elif options.command == "run":
            argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
            os.environ.update(operator_environment())
            _become(network.run_in(argv))
        else:
            network.up()
            if not network.inside():
                _become(network.run_in([sys.executable, "-m", __spec__.name, options.command]))
            if options.command == "serve":
                asyncio.run(serve())
            else:
                up()
    except SkfleetError as error:
        print(f"hosts.cloud: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


def _become(command: list[str]) -> NoReturn:
    os.execvp(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
