"""What can be asked to go wrong in Compute Engine: quotas, stockouts, slow operations, an API in trouble.

Asked for by `skfleet-local break …`, kept with the resources until it is ended. What chance there is in
it is seeded by the fault, so that the same fault refuses the same VMs again.
"""

from __future__ import annotations

import random
from typing import Any, Literal

import msgspec

from skfleet_local.accounts import PROJECT
from skfleet_local.compute.project import REGION, ZONES

Code = Literal["QUOTA_EXCEEDED", "ZONE_RESOURCE_POOL_EXHAUSTED", "INTERNAL_ERROR"]


class Stockout(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A zone that has no machines. `share`: of the attempts that find none."""

    zone: str
    share: float = 1.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.zone not in ZONES:
            raise ValueError(f"no zone '{self.zone}'; known: {', '.join(ZONES)}")
        if not 0 < self.share <= 1:
            raise ValueError(f"{self.share} is no share of the attempts")


class Slow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Operations that take `seconds` of the cloud's time, and end in `error` so many `times`."""

    seconds: float | None = None
    error: Code | None = None
    times: int = 1


class Trouble(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An API that answers `status` so many `times`. `late`: after it has done what was asked."""

    status: Literal[429, 500, 502, 503]
    times: int = 1
    late: bool = False


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All of them. `quota`: VMs that the project may have in the region."""

    quota: int | None = None
    stockouts: list[Stockout] = []
    operations: Slow | None = None
    api: Trouble | None = None

    def refuses(self, vm: str, zone: str, attempt: int, used: int) -> str:
        """Why this attempt to make a VM fails, as Google's code; empty where it does not."""
        if self.quota is not None and used >= self.quota:
            return "QUOTA_EXCEEDED"
        for stockout in self.stockouts:
            # Of the VM and the attempt alone: nobody's timing changes it.
            chance = random.Random(f"{stockout.seed}/{vm}/{attempt}").random()  # noqa: S311
            if stockout.zone == zone and chance < stockout.share:
                return "ZONE_RESOURCE_POOL_EXHAUSTED"
        return ""

    def operation_error(self) -> str:
        """The code of the error that the next operation ends with; each call is one operation."""
        slow = self.operations
        if slow is None or slow.error is None or slow.times <= 0:
            return ""
        slow.times -= 1
        return slow.error

    def api_trouble(self) -> Trouble | None:
        """What the next call meets; each call is one."""
        if self.api is None or self.api.times <= 0:
            return None
        self.api.times -= 1
        return self.api


def error(code: str, zone: str, limit: int | None) -> dict[str, Any]:
    """One entry of `errors.errors` in an operation or a managed instance's last attempt."""
    if code == "QUOTA_EXCEEDED":
        number = float(limit or 0)
        return {
            "code": code,
            "message": f"Quota 'INSTANCES' exceeded.  Limit: {number} in region {REGION}.",
            "errorDetails": [
                {
                    "quotaInfo": {
                        "metricName": "compute.googleapis.com/instances",
                        "limitName": "INSTANCES-per-project-region",
                        "limit": number,
                        "dimensions": {"region": REGION},
                    }
                }
            ],
        }
    if code == "ZONE_RESOURCE_POOL_EXHAUSTED":
        return {
            "code": code,
            "message": f"The zone 'projects/{PROJECT}/zones/{zone}' does not have enough resources "
            "available to fulfill the request.  Try a different zone, or try again later.",
        }
    return {"code": code, "message": "Internal error. Please try again or contact Google Support."}
