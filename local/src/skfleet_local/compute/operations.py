"""Operations: every change answers with one, and is done a little later."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from skfleet_local.cloud.errors import ApiError
from skfleet_local.compute.project import Links

# How long a change stays PENDING or RUNNING; Google's take seconds.
SECONDS = 0.4
WAIT_S = 120.0  # the longest a `wait` call holds
_KEPT = 1000


def timestamp(seconds: float | None = None) -> str:
    """RFC 3339 as Google's APIs write it."""
    moment = datetime.fromtimestamp(time.time() if seconds is None else seconds, UTC)
    return moment.isoformat(timespec="milliseconds")


@dataclass(slots=True)
class Operation:
    """One change on its way."""

    id: int
    kind: str  # operationType: insert, resize, …
    target: str
    target_id: int
    user: str
    scope: str  # global, regions/REGION or zones/ZONE
    inserted: float
    name: str = ""

    def done(self, now: float) -> bool:
        """Whether the change is accepted; VMs may take longer."""
        return now >= self.inserted + SECONDS


@dataclass(slots=True)
class Operations:
    """The last operations of the project. They do not outlive the process."""

    links: Links
    _known: dict[str, Operation] = field(default_factory=dict)

    def start(
        self, kind: str, target: str, target_id: int, user: str, *, scope: str
    ) -> dict[str, Any]:
        """Begin one and return its published form."""
        now = time.time()
        number = time.time_ns()
        name = f"operation-{number // 1_000_000}-{number % 1_000_000:06d}"
        operation = Operation(number, kind, target, target_id, user, scope, now, name)
        self._known[name] = operation
        while len(self._known) > _KEPT:
            del self._known[next(iter(self._known))]
        return self._form(operation)

    def get(self, name: str, scope: str) -> dict[str, Any]:
        """One by name; ApiError 404."""
        return self._form(self._find(name, scope))

    async def wait(self, name: str, scope: str) -> dict[str, Any]:
        """Like `get`, but returns when it is done, or after two minutes."""
        operation = self._find(name, scope)
        rest = operation.inserted + SECONDS - time.time()
        await asyncio.sleep(min(max(rest, 0.0), WAIT_S))
        return self._form(operation)

    def _find(self, name: str, scope: str) -> Operation:
        operation = self._known.get(name)
        if operation is None or operation.scope != scope:
            raise ApiError(404, f"The resource 'operations/{name}' was not found")
        return operation

    def _form(self, operation: Operation) -> dict[str, Any]:
        now = time.time()
        done = operation.done(now)
        began = now >= operation.inserted + SECONDS / 2
        form: dict[str, Any] = {
            "kind": "compute#operation",
            "id": str(operation.id),
            "name": operation.name,
            "operationType": operation.kind,
            "targetLink": operation.target,
            "targetId": str(operation.target_id),
            "status": "DONE" if done else "RUNNING" if began else "PENDING",
            "user": operation.user,
            "progress": 100 if done else 50 if began else 0,
            "insertTime": timestamp(operation.inserted),
            "selfLink": f"{self.links.project}/{operation.scope}/operations/{operation.name}",
        }
        kind, _, place = operation.scope.partition("/")
        if place:
            form[kind.removesuffix("s")] = f"{self.links.project}/{operation.scope}"
        if began:
            form["startTime"] = timestamp(operation.inserted + SECONDS / 2)
        if done:
            form["endTime"] = timestamp(operation.inserted + SECONDS)
        return form
