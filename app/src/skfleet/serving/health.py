"""Readiness: a registry of checks, each of this host alone, and the body of `/readyz`.

Liveness is that the process answers at all. Nothing here looks further than the host's own files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skfleet import state as converge_state

LIVE_BODY = b'{"status":"live"}\n'
LOOK_INTERVAL_S = 0.2  # a drain shows at once by a person's measure, and probes cost no file reads

Check = Callable[[], str | None]
"""A check gives None, or the reason this host should get no traffic."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """One answer of `/readyz`."""

    status: int
    body: bytes


class Health:
    """The checks of a process, and their answer, at most LOOK_INTERVAL_S old."""

    def __init__(
        self, describe: Callable[[], dict[str, Any]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._describe = describe
        self._clock = clock
        self._checks: dict[str, Check] = {}
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._last = Readiness(503, b"")

    def register(self, name: str, check: Check) -> None:
        """Add a check; names are unique and appear in the body in this order."""
        if name in self._checks:
            raise ValueError(f"check '{name}' is registered twice")
        self._checks[name] = check

    def readiness(self) -> Readiness:
        """The current answer."""
        if self._clock() - self._looked_at < LOOK_INTERVAL_S:
            return self._last
        with self._lock:
            if self._clock() - self._looked_at >= LOOK_INTERVAL_S:
                self._last = self._look()
                self._looked_at = self._clock()
            return self._last

    def _look(self) -> Readiness:
        results: dict[str, dict[str, Any]] = {}
        for name, check in self._checks.items():
            try:
                reason = check()
            except Exception as error:  # noqa: BLE001 - a broken check is a reason, not a crash
                reason = f"the check failed ({type(error).__name__})"
            results[name] = {"ok": True} if reason is None else {"ok": False, "reason": reason}
        ready = all(result["ok"] for result in results.values())
        status = "ready" if ready else "not ready"
        body = {"status": status, **self._describe(), "checks": results}
        return Readiness(200 if ready else 503, msgspec.json.encode(body) + b"\n")


class Drain(msgspec.Struct):
    """`drain.json`: whoever drains this host, and until when (Unix seconds)."""

    owner: str
    expires_at: float


# At import: threads that meet a type first at the same time crash msgspec.
_drain_decoder = msgspec.json.Decoder(Drain)


def converged(run_dir: Path, release: str) -> str | None:
    """Whether this host converged to the release that this process belongs to."""
    state = converge_state.read(run_dir)
    if release and release in (state.release, state.next):
        return None
    if state.release is None:
        return state.reason or "this host has not converged since boot"
    return f"this host converged to '{state.release}', this process is '{release}'"


def not_draining(run_dir: Path, now: Callable[[], float] = time.time) -> str | None:
    """Whether nobody drains this host. A mark that cannot be read counts as one: somebody set it."""
    try:
        drain = _drain_decoder.decode((run_dir / "drain.json").read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError):
        return "drain.json cannot be read"
    return None if drain.expires_at <= now() else f"draining for {drain.owner}"
