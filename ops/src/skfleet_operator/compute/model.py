"""Of the API's resources what we use, under their published names."""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec

# An answer becomes a host's name and address, and arguments of ssh and of the program that ssh tunnels
# through: only names, numbers and addresses come in. `localhost` is the controller.
_NAME = r"(?!localhost\Z)[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
InstanceName = Annotated[str, msgspec.Meta(pattern=rf"^{_NAME}\Z")]
Zone = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*\Z")]
Address = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f.:]*\Z")]  # IPv4 or IPv6, empty without one


class _Resource(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Other fields of the published form are accepted and left alone."""


class FixedOrPercent(_Resource, frozen=True):
    """A number of VMs, or a share of the target size."""

    fixed: int | None = None
    percent: int | None = None


class Version(_Resource, frozen=True):
    """A template of a group and how many VMs it is for; without a size, for the rest."""

    instance_template: str
    name: str = ""
    target_size: FixedOrPercent | None = None


class GroupStatus(_Resource, frozen=True):
    """Whether the group is at rest."""

    is_stable: bool = False
    autoscaler: str | None = None


class NamedPort(_Resource, frozen=True):
    """Where the load balancers send the requests of one listener, on every VM."""

    name: str
    port: int


class Group(_Resource, frozen=True):
    """A regional managed instance group."""

    name: str
    base_instance_name: str
    target_size: int
    fingerprint: str
    instance_group: str
    self_link: str
    status: GroupStatus = GroupStatus()
    instance_template: str = ""
    versions: list[Version] = []
    named_ports: list[NamedPort] = []


class InstanceHealth(_Resource, frozen=True):
    """Autohealing's view of a VM."""

    detailed_health_state: str = "UNKNOWN"


class Managed(_Resource, frozen=True):
    """A VM as its group sees it."""

    # The self link.
    instance: Annotated[
        str, msgspec.Meta(pattern=rf"^[^\s]+/zones/[a-z0-9][a-z0-9-]*/instances/{_NAME}\Z")
    ]
    current_action: str = "NONE"
    name: Annotated[str, msgspec.Meta(pattern=rf"^(?:{_NAME})?\Z")] = ""
    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9]*\Z")] = ""
    instance_status: str = ""
    instance_health: list[InstanceHealth] = []
    version: Version | None = None
    last_attempt: dict[str, Any] = {}

    @property
    def zone(self) -> str:
        """Its zone's name."""
        return self.instance.split("/zones/")[1].split("/")[0]

    @property
    def short(self) -> str:
        """Its name; older answers have it in the link alone."""
        return self.name or self.instance.rpartition("/")[2]

    @property
    def health(self) -> str:
        """HEALTHY where every check says so."""
        states = {item.detailed_health_state for item in self.instance_health}
        if not states:
            return "UNKNOWN"
        return "HEALTHY" if states == {"HEALTHY"} else sorted(states - {"HEALTHY"})[0]

    @property
    def errors(self) -> list[dict[str, Any]]:
        """Why the group's last attempt to make it failed."""
        return list((self.last_attempt.get("errors") or {}).get("errors") or [])


class NetworkInterface(_Resource, frozen=True):
    """A VM's interface."""

    network_i_p: Address = msgspec.field(default="", name="networkIP")


class Instance(_Resource, frozen=True):
    """A VM."""

    name: str
    id: str
    zone: str
    status: str
    network_interfaces: list[NetworkInterface] = []
    labels: dict[str, str] = {}

    @property
    def address(self) -> str:
        """Its address in the VPC; empty while it has none."""
        return self.network_interfaces[0].network_i_p if self.network_interfaces else ""


class Generator(msgspec.Struct, frozen=True, kw_only=True):
    """A load generator, as Terraform names it. `part`: leader or worker."""

    zone: Zone
    address: Address
    part: str


class AutoscalingPolicy(_Resource, frozen=True):
    """How an autoscaler scales. Other fields (signals, schedules) are Terraform's."""

    mode: str = "ON"
    min_num_replicas: int = 0
    max_num_replicas: int = 0


class Autoscaler(_Resource, frozen=True):
    """A regional autoscaler."""

    name: str
    target: str
    self_link: str
    autoscaling_policy: AutoscalingPolicy
    recommended_size: int | None = None


class HealthStatus(_Resource, frozen=True):
    """A load balancer's view of one VM."""

    instance: str
    health_state: str = "UNHEALTHY"
    ip_address: str = ""


class Operation(_Resource, frozen=True):
    """A change on its way."""

    name: str
    self_link: str
    status: str
    error: dict[str, Any] = {}


def short_template(link: str) -> str:
    """A template's link as `projects/…`: `https://…/v1/projects/…` and `…?uniqueId=…` name the same one."""
    return re.sub(r"^.*?(?=projects/)", "", link).partition("?")[0]
