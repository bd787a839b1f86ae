"""Which fleet is examined, and what Google says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from skfleet_operator.cloud import Cloud, last, path
from skfleet_operator.google_rest import NotThere
from skfleet_operator.ssh.login import DIRECTORY


@dataclass(frozen=True, slots=True)
class Target:
    """Which fleet is looked at. Terraform calls a fleet <name>-<region>, the edges <name>-…"""

    project: str
    region: str
    fleet: str
    now: datetime
    logins: Path = Path(DIRECTORY)  # what `skfleet ssh setup` wrote
    host_keys: str = ""  # SKFLEET_SSH_HOST_KEYS
    # For calls through IAP; empty: none is made.
    url: str = ""
    internal_url: str = ""
    iap_client: str = ""
    ca_file: str = ""

    @property
    def name(self) -> str:
        """The prefix that the fleets of all regions share."""
        return self.fleet.removesuffix(f"-{self.region}")


@dataclass(frozen=True, slots=True)
class Group:
    """The managed group as Google describes it, and the template its VMs come from."""

    size: int
    surge: int
    standby: int
    maximum: int
    machine_type: str
    zone: str
    disk_gb: int
    image: str
    subnetwork: str
    fleet_uri: str
    service_account: str

    @property
    def bucket(self) -> str:
        """Name of the bucket that the VMs' metadata names; empty when it names none."""
        found = re.match(r"^gs://([^/]+)/fleets/", self.fleet_uri)
        return found.group(1) if found else ""


def describe(cloud: Cloud, target: Target) -> Group:
    """The group, its autoscaler and its (newest) template, in the figures that the checks need."""
    region = f"projects/{path(target.project)}/regions/{path(target.region)}"
    group = cloud.get("compute", f"{region}/instanceGroupManagers/{path(target.fleet)}")
    scaler = cloud.get("compute", f"{region}/autoscalers/{path(target.fleet)}")
    template = cloud.get(
        "compute",
        f"projects/{path(target.project)}/global/instanceTemplates/{path(_template(group))}",
    )["properties"]
    disk = template["disks"][0]["initializeParams"]
    return Group(
        size=int(group.get("targetSize", 0)),
        surge=int(group.get("updatePolicy", {}).get("maxSurge", {}).get("calculated", 0)),
        standby=int(group.get("targetStoppedSize", 0)),
        maximum=int(scaler["autoscalingPolicy"]["maxNumReplicas"]),
        machine_type=last(template["machineType"]),
        zone=last(group["distributionPolicy"]["zones"][0]["zone"]),
        disk_gb=int(disk.get("diskSizeGb", 10)),
        image=disk.get("sourceImage", ""),
        subnetwork=template["networkInterfaces"][0].get("subnetwork", ""),
        fleet_uri=_metadata(template, "skfleet-fleet"),
        service_account=template["serviceAccounts"][0]["email"],
    )


def external_backend(cloud: Cloud, target: Target) -> dict[str, Any]:
    """The backend service of the external load balancer."""
    project = f"projects/{path(target.project)}"
    return cloud.get("compute", f"{project}/global/backendServices/{path(target.name)}-external")


def internal_backend(cloud: Cloud, target: Target) -> dict[str, Any]:
    """The region's backend service of the internal load balancer; empty while the region does not serve."""
    region = f"projects/{path(target.project)}/regions/{path(target.region)}"
    try:
        return cloud.get("compute", f"{region}/backendServices/{path(target.name)}-internal")
    except NotThere:
        return {}


def _template(group: dict[str, Any]) -> str:
    versions = group.get("versions") or [group]
    return last(versions[-1]["instanceTemplate"].partition("?")[0])


def _metadata(template: dict[str, Any], key: str) -> str:
    for item in template.get("metadata", {}).get("items", []):
        if item["key"] == key:
            return str(item["value"])
    return ""


def read_object(cloud: Cloud, bucket: str, name: str) -> dict[str, Any]:
    """A JSON object of the bucket."""
    return cloud.get("storage", f"b/{path(bucket)}/o/{path(name)}", alt="media")
