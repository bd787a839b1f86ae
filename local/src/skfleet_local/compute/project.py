"""Names of the local project's resources, as Terraform would have made them, and their addresses."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from skfleet_local.accounts import PROJECT, PROJECT_NUMBER

REGION = "us-central1"
ZONES = (f"{REGION}-a", f"{REGION}-b", f"{REGION}-c")

GROUP = "skfleet"
TEMPLATE = "skfleet-1"
AUTOSCALER = "skfleet"
LIVENESS_CHECK = "skfleet-livez"
READINESS_CHECK = "skfleet-readyz"
EXTERNAL_BACKEND = "skfleet-external"
INTERNAL_BACKEND = "skfleet-internal"

FLEET = "local"
BUCKET = "skfleet-local"


def backend_id(name: str) -> int:
    """The number Google would have generated."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")


def iap_audience() -> str:
    """`aud` of IAP's assertions for the external backend service."""
    return f"/projects/{PROJECT_NUMBER}/global/backendServices/{backend_id(EXTERNAL_BACKEND)}"


@dataclass(frozen=True, slots=True)
class Links:
    """`selfLink`s under one base address."""

    base: str  # …/compute/v1

    @property
    def project(self) -> str:
        """The project."""
        return f"{self.base}/projects/{PROJECT}"

    @property
    def region(self) -> str:
        """The one region there is."""
        return f"{self.project}/regions/{REGION}"

    def zone(self, zone: str) -> str:
        """A zone."""
        return f"{self.project}/zones/{zone}"

    def instance(self, zone: str, name: str) -> str:
        """A VM."""
        return f"{self.zone(zone)}/instances/{name}"

    def template(self, name: str) -> str:
        """An instance template."""
        return f"{self.project}/global/instanceTemplates/{name}"

    def manager(self, name: str) -> str:
        """A regional managed instance group."""
        return f"{self.region}/instanceGroupManagers/{name}"

    def autoscaler(self, name: str) -> str:
        """A regional autoscaler."""
        return f"{self.region}/autoscalers/{name}"

    def group(self, name: str) -> str:
        """The unmanaged half of it, which backend services name."""
        return f"{self.region}/instanceGroups/{name}"

    def health_check(self, name: str) -> str:
        """A global health check."""
        return f"{self.project}/global/healthChecks/{name}"

    def backend(self, name: str, region: bool) -> str:
        """A backend service."""
        scope = self.region if region else f"{self.project}/global"
        return f"{scope}/backendServices/{name}"
