"""Operations: every change answers with one, and is done a little later."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from skfleet_local.cloud.errors import ApiError
from skfleet_local.compute import faults
from skfleet_local.compute.faults import Faults
from skfleet_local.compute.project import ZONES, Links

# How long a change stays PENDING or RUNNING in the cloud; scaled like everything else.
SECONDS = 2.0
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
    ends: float
    error: str = ""
    name: str = ""

    def done(self, now: float) -> bool:
        """Whether the change is accepted; VMs may take longer."""
        return now >= self.ends


@dataclass(slots=True)
class Operations:
    """The last operations of the project. They do not outlive the process."""

    links: Links
    time_scale: float
    faults: Faults
    _known: dict[str, Operation] = field(default_factory=dict)
    _requests: dict[str, str] = field(default_factory=dict)

    def start(
        self,
        kind: str,
        target: str,
        target_id: int,
        user: str,
        *,
        scope: str,
        request_id: str = "",
    ) -> dict[str, Any]:
        """Begin one and return its published form."""
        now = time.time()
        number = time.time_ns()
        slow = self.faults.operations
        seconds = SECONDS if slow is None or slow.seconds is None else slow.seconds
        operation = Operation(
            id=number,
            kind=kind,
            target=target,
            target_id=target_id,
            user=user,
            scope=scope,
            inserted=now,
            ends=now + seconds / self.time_scale,
            error=self.faults.operation_error(),
            name=f"operation-{number // 1_000_000}-{number % 1_000_000:06d}",
        )
        self._known[operation.name] = operation
        if request_id:
            self._requests[request_id] = operation.name
        for table in (self._known, self._requests):
            while len(table) > _KEPT:
                del table[next(iter(table))]
        return self._form(operation)

    def get(self, name: str, scope: str) -> dict[str, Any]:
        """One by name; ApiError 404."""
        return self._form(self._find(name, scope))

    async def wait(self, name: str, scope: str) -> dict[str, Any]:
        """Like `get`, but returns when it is done, or after two minutes."""
        operation = self._find(name, scope)
        await asyncio.sleep(min(max(operation.ends - time.time(), 0.0), WAIT_S))
        return self._form(operation)

    def of_request(self, request_id: str) -> dict[str, Any] | None:
        """The operation that a request with this id began before; None for a new one."""
        operation = self._known.get(self._requests.get(request_id, ""))
        return None if operation is None else self._form(operation)

    def _find(self, name: str, scope: str) -> Operation:
        operation = self._known.get(name)
        if operation is None or operation.scope != scope:
            raise ApiError(404, f"The resource 'operations/{name}' was not found")
        return operation

    def _form(self, operation: Operation) -> dict[str, Any]:
        now = time.time()
        done = operation.done(now)
        half = (operation.inserted + operation.ends) / 2
        began = now >= half
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
            form["startTime"] = timestamp(half)
        if done:
            form["endTime"] = timestamp(operation.ends)
            if operation.error:
                quota = self.faults.quota
                form["error"] = {"errors": [faults.error(operation.error, ZONES[0], quota)]}
        return form
