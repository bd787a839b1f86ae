"""What the VMs of a group really serve: each asked at its health listener, from here.

The listener has no identity, and its firewall lets load balancers and the fleet's own network in: from
elsewhere nobody answers, which is said and not guessed (`playbooks/status.yml` asks over ssh).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import requests

from skfleet.settings import Settings
from skfleet_operator.compute.client import Compute
from skfleet_operator.compute.model import Managed

TIMEOUT_S = 3.0
AT_ONCE = 16


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """One VM. `models`: name → digest; `why_not` says why they are not known, or why it is not ready."""

    vm: str
    zone: str
    release: str = ""
    models: dict[str, str] = {}
    ready: bool = False
    why_not: str = ""


def ask(compute: Compute, group: str, port: int | None = None) -> list[Serving]:
    """Every VM of the group, by name; raises SkfleetError where the Compute API does not answer.

    `port`: of the health listener; by default edge.yml's.
    """
    health = port or Settings().port_health
    vms = [vm for vm in compute.managed(group) if vm.current_action != "DELETING"]
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        found = list(pool.map(lambda vm: _ask(compute, vm, health), vms))
    return sorted(found, key=lambda one: one.vm)


def _ask(compute: Compute, vm: Managed, port: int) -> Serving:
    none = Serving(vm=vm.short, zone=vm.zone)
    if not vm.id or not vm.instance_status:
        return msgspec.structs.replace(none, why_not="it is being made")
    address = compute.instance(vm.zone, vm.short).address
    if not address:
        return msgspec.structs.replace(none, why_not="it has no address")
    base = f"http://{address}:{port}"
    try:
        version = _get(f"{base}/version")[1]
        status, _ = _get(f"{base}/readyz")
        models = {str(m["name"]): str(m["digest"]) for m in version["models"]}
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        why = f"{address}:{port} does not answer from here ({type(error).__name__})"
        return msgspec.structs.replace(none, why_not=why)
    return msgspec.structs.replace(
        none,
        release=str(version.get("release") or ""),
        models=models,
        ready=status == 200,
        why_not="" if status == 200 else "it is not ready",
    )


def _get(url: str) -> tuple[int, Any]:
    with requests.Session() as session:
        session.trust_env = False  # a VM's address is no proxy's
        answer = session.get(url, timeout=TIMEOUT_S)
        return answer.status_code, answer.json()
