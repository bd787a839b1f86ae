"""What the fleet looks like: asked of each VM and of the cloud, nothing remembered."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from skfleet.declared import read_edge
from skfleet.documents.edge import EDGE
from skfleet_local import client, processes
from skfleet_local.addresses import Addresses
from skfleet_local.run import Run, State

_TIMEOUT_S = 2.0
_NO_ANSWER = "no answer"


def fleet(run: Run) -> dict[str, Any]:
    """The whole status, as `status --json` prints it. Raises NoRun."""
    state = run.require_state()
    addresses = state.addresses
    cloud = _cloud(state)
    running = processes.by_vm(run.root)
    vms = [
        {**vm, "pss_mib": processes.pss_mib(running.get(vm["name"], []))}
        for vm in _asked(state, cloud["vms"])
    ]
    return {
        "run": str(run.root),
        "subnet": f"{addresses.subnet}.0/24",
        "url": addresses.external_url,
        "internal_url": addresses.internal_url,
        "target_size": sum(cloud["target_sizes"].values()),
        "processes": _processes(state),
        "vms": vms,
        "load_balancers": _load_balancers(addresses, vms),
    }


def vms(run: Run) -> list[dict[str, Any]]:
    """The VMs of the status without their memory, which costs most of a look. Raises NoRun."""
    state = run.require_state()
    return _asked(state, _cloud(state)["vms"])


def _cloud(state: State) -> dict[str, Any]:
    return _json(f"{state.addresses.admin_url}/fleet") or {"target_sizes": {}, "vms": []}


def _asked(state: State, listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    port = read_edge(Path(state.repository) / EDGE).listeners.health.port
    with ThreadPoolExecutor(max_workers=16) as pool:
        return list(pool.map(lambda vm: _vm(port, vm), listed))


def _processes(state: State) -> dict[str, dict[str, Any]]:
    return {
        name: {
            "pid": process.pid,
            "alive": process.alive(),
            "pss_mib": processes.pss_mib([process]),
        }
        for name, process in state.processes.items()
    }


def _vm(port: int, vm: dict[str, Any]) -> dict[str, Any]:
    base = f"http://{vm['address']}:{port}"
    livez, _ = _probe(f"{base}/livez")
    readyz, ready = _probe(f"{base}/readyz")
    _, version = _probe(f"{base}/version")
    return {
        **vm,
        "livez": livez,
        "readyz": readyz,
        "release": version.get("release") or None,
        "signatures": ready.get("signatures"),
        "why_not_ready": _reason(ready) if readyz != "200" else "",
    }


def _reason(body: dict[str, Any]) -> str:
    """What fails in a `/readyz` body, in its own words."""
    checks = body.get("checks")
    if not isinstance(checks, dict):
        return str(body.get("reason", ""))
    failing = [check for check in checks.values() if not check.get("ok")]
    return "; ".join(str(check.get("reason", "")).rstrip(".") for check in failing)


def _load_balancers(addresses: Addresses, vms: list[dict[str, Any]]) -> dict[str, Any]:
    counts: dict[str, Any] = {}
    for name, url in (("external", addresses.external_url), ("internal", addresses.internal_url)):
        states = [vm[name] for vm in vms if vm[name]]
        counts[name] = {"url": url, **{state: states.count(state) for state in sorted(set(states))}}
    return counts


def _probe(url: str) -> tuple[str, dict[str, Any]]:
    try:
        answer = client.session().get(url, timeout=_TIMEOUT_S)
    except requests.RequestException:
        return _NO_ANSWER, {}
    try:
        body = answer.json()
    except ValueError:
        body = None
    return str(answer.status_code), body if isinstance(body, dict) else {}


def _json(url: str) -> dict[str, Any] | None:
    code, body = _probe(url)
    return body if code == "200" else None
