"""Backend health as the control plane sees it: the load balancers' view, some time later."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from skfleet_local.compute.project import EXTERNAL_BACKEND, INTERNAL_BACKEND
from skfleet_local.envoy import EXTERNAL, INTERNAL
from skfleet_local.envoy_admin import AdminUnavailable, ask

# `getHealth` lags the front ends; whoever acts on it must leave a grace. In the cloud's seconds, scaled.
LAG_S = 5.0

_CLUSTERS = {EXTERNAL_BACKEND: EXTERNAL, INTERNAL_BACKEND: INTERNAL}


@dataclass(slots=True)
class BackendHealth:
    """Envoy's own health view, refreshed every `LAG_S` of the cloud's time."""

    envoy_admin: Path
    time_scale: float
    _states: dict[str, dict[str, str]] = field(default_factory=dict)
    _read: float = float("-inf")
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def states(self, backend: str) -> dict[str, str]:
        """VM address → `healthState`; empty while the load balancer cannot be asked."""
        async with self._lock:
            if time.monotonic() > self._read + LAG_S / self.time_scale:
                self._states = await self._ask()
                self._read = time.monotonic()
        return self._states.get(_CLUSTERS[backend], {})

    async def _ask(self) -> dict[str, dict[str, str]]:
        try:
            return clusters(json.loads(await ask(self.envoy_admin, "/clusters?format=json")))
        except (AdminUnavailable, ValueError):
            return {}


def clusters(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Envoy's `/clusters` → cluster → VM address → Google's `healthState`."""
    result: dict[str, dict[str, str]] = {}
    for cluster in document.get("cluster_statuses", []):
        if cluster["name"] not in _CLUSTERS.values():
            continue  # IAP's cluster, which is not a VM
        states = result.setdefault(cluster["name"], {})
        for host in cluster.get("host_statuses", []):
            address = host["address"]["socket_address"]["address"]
            states[address] = _state(host.get("health_status", {}))
    return result


def _state(status: dict[str, Any]) -> str:
    if status.get("eds_health_status") == "DRAINING":
        return "DRAINING"
    if status.get("failed_active_health_check"):
        return "TIMEOUT" if status.get("active_hc_timeout") else "UNHEALTHY"
    return "HEALTHY"
