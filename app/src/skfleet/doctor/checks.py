"""The checks: each asks through `Cloud`, decides, and says how to mend what it found.

A check never raises for what Google refuses to show; `look` turns that into a warning, since a caller who
may not see a thing cannot say that it is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from skfleet.doctor.cloud import CallFailed, Cloud, NotAllowed, NotThere, last, pages, path
from skfleet.doctor.result import Result, fail, ok, warn

REQUIRED_APIS = (
    "compute", "dns", "iam", "iamcredentials", "iap", "logging", "monitoring", "oslogin",
    "serviceusage", "storage",
)  # fmt: skip

# What a rollout does in the project (terraform/operators.tf), a few that stand for the rest.
ROLLOUT_PERMISSIONS = (
    "compute.autoscalers.update",
    "compute.backendServices.get",
    "compute.instanceGroupManagers.update",
    "compute.instances.getGuestAttributes",
    "compute.instances.list",
    "compute.instances.osAdminLogin",
    "compute.regionBackendServices.get",
)
BUCKET_PERMISSIONS = ("storage.objects.get", "storage.objects.list")

# Machine families whose vCPUs count against a quota of their own; all others share CPUS.
OWN_QUOTA = ("a2", "c2", "c2d", "c3", "c4", "m1", "m2", "n2", "n2d", "t2a", "t2d")
EXPIRES_SOON = timedelta(days=30)

# Constraint => what the fleet needs of it.
FORBIDDEN_WHEN_ENFORCED = {
    "compute.disableGlobalLoadBalancing": "the external load balancer is a global one",
    "iam.disableServiceAccountCreation": "fleet and load generators have service accounts of their own",
}
# The names under which the constraint on load balancers knows ours, groups included.
LOAD_BALANCERS = {
    "external": (
        "GLOBAL_EXTERNAL_MANAGED_HTTP_HTTPS",
        "EXTERNAL_MANAGED_HTTP_HTTPS",
        "in:EXTERNAL",
        "in:ALL",
    ),
    "internal": ("INTERNAL_HTTP_HTTPS", "in:INTERNAL", "in:ALL"),
}


@dataclass(frozen=True, slots=True)
class Target:
    """Which fleet is looked at. Terraform calls a fleet <name>-<region>, the edges <name>-…"""

    project: str
    region: str
    fleet: str
    now: datetime

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

    @property
    def bucket(self) -> str:
        """Name of the bucket that the VMs' metadata names; empty when it names none."""
        found = re.match(r"^gs://([^/]+)/fleets/", self.fleet_uri)
        return found.group(1) if found else ""


Check = Callable[[Cloud, Target], Iterable[Result]]


def look(name: str, check: Check, cloud: Cloud, target: Target) -> list[Result]:
    """Run a check; what Google does not show becomes a warning, what is missing a failure."""
    try:
        return list(check(cloud, target))
    except NotAllowed as error:
        return [
            warn(
                name, f"not allowed to look: {error.message}", "Ask as somebody with roles/viewer."
            )
        ]
    except NotThere as error:
        return [fail(name, f"not there: {error.where}", "Apply Terraform (docs/deploy.md).")]
    except CallFailed as error:
        return [warn(name, error.message, "Try again.")]


def apis(cloud: Cloud, target: Target) -> Iterable[Result]:
    """Every API that the fleet uses is on."""
    listed = pages(
        cloud, "serviceusage", f"projects/{path(target.project)}/services", "services",
        filter="state:ENABLED", pageSize="200",
    )  # fmt: skip
    enabled = {last(service["name"]).removesuffix(".googleapis.com") for service in listed}
    missing = [name for name in REQUIRED_APIS if name not in enabled]
    if missing:
        names = " ".join(f"{name}.googleapis.com" for name in missing)
        yield fail(
            "apis", f"off: {names}", f"gcloud services enable {names} --project={target.project}"
        )
    else:
        yield ok("apis", f"all {len(REQUIRED_APIS)} are on")


def roles(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The caller may do what a rollout does."""
    answer = cloud.post(
        "resourcemanager", f"projects/{path(target.project)}:testIamPermissions",
        {"permissions": list(ROLLOUT_PERMISSIONS)},
    )  # fmt: skip
    missing = [p for p in ROLLOUT_PERMISSIONS if p not in answer.get("permissions", [])]
    if missing:
        yield fail(
            "roles", f"you lack {', '.join(missing)}", "Join members.deployers in the tfvars."
        )
    else:
        yield ok("roles", "you may roll out")


def bucket_access(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The caller may read the fleet's bucket, and what Terraform wrote there is true."""
    group = describe(cloud, target)
    if not group.bucket:
        yield fail(
            "bucket", f"the template's metadata skfleet-fleet is {group.fleet_uri!r}",
            "Make a new entry of fleet.images and replace the VMs: the template is not Terraform's.",
        )  # fmt: skip
        return
    asked = "&".join(f"permissions={p}" for p in BUCKET_PERMISSIONS)
    answer = cloud.get("storage", f"b/{path(group.bucket)}/iam/testPermissions?{asked}")
    missing = [p for p in BUCKET_PERMISSIONS if p not in answer.get("permissions", [])]
    if missing:
        yield fail(
            "bucket", f"you lack {', '.join(missing)} on {group.bucket}", "Join members.deployers."
        )
    else:
        yield ok("bucket", f"{group.bucket} can be read")


def environment(cloud: Cloud, target: Target) -> Iterable[Result]:
    """environment.json names the audience that IAP really signs for; a desired release exists."""
    group = describe(cloud, target)
    backend = cloud.get(
        "compute",
        f"projects/{path(target.project)}/global/backendServices/{path(target.name)}-external",
    )
    project = cloud.get("resourcemanager", f"projects/{path(target.project)}")
    audience = f"/projects/{last(project['name'])}/global/backendServices/{backend['id']}"
    try:
        document = _object(cloud, group.bucket, f"fleets/{target.fleet}/environment.json")
        known = document.get("iap", {}).get("audiences", [])
        if audience in known:
            yield ok("environment", "the VMs know IAP's audience")
        else:
            yield fail(
                "environment", f"the VMs expect {known}, IAP signs for {audience}",
                "Apply Terraform: it writes environment.json.",
            )  # fmt: skip
    except NotThere:
        yield fail(
            "environment", "there is no environment.json: every call is refused", "Apply Terraform."
        )
    try:
        desired = _object(cloud, group.bucket, f"fleets/{target.fleet}/desired.json")
        yield ok("release", f"desired: {desired['current']['release']}")
    except NotThere:
        yield warn(
            "release", "no release is desired: VMs are live, not ready", "skfleet release desire ID"
        )


def quota(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The region's quota holds the fleet at its largest: maximum, surge and standby at once."""
    group = describe(cloud, target)
    region = cloud.get("compute", f"projects/{path(target.project)}/regions/{path(target.region)}")
    machine = cloud.get(
        "compute",
        f"projects/{path(target.project)}/zones/{path(group.zone)}/machineTypes/{path(group.machine_type)}",
    )
    largest = group.maximum + group.surge + group.standby
    more = max(0, largest - group.size)
    cpus = int(machine.get("guestCpus", 0))
    needed = {
        quota_metric(group.machine_type): more * cpus,
        "INSTANCES": more,
        "SSD_TOTAL_GB": more * group.disk_gb,
    }
    limits = {entry["metric"]: entry for entry in region.get("quotas", [])}
    for metric, wanted in needed.items():
        entry = limits.get(metric)
        if entry is None:
            yield warn(
                f"quota {metric}", "the region states none", "Look in the console under Quotas."
            )
            continue
        free = float(entry["limit"]) - float(entry["usage"])
        seen = f"{free:g} free of {entry['limit']:g}, {wanted:g} needed for {largest} VMs at full surge"
        if free < wanted:
            yield fail(
                f"quota {metric}", seen, f"Ask for {wanted - free:g} more in {target.region}."
            )
        else:
            yield ok(f"quota {metric}", seen)


def certificates(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The certificates that the load balancers hold are active and not about to expire."""
    project = f"projects/{path(target.project)}"
    for which, place in (
        ("external", f"{project}/global"),
        ("internal", f"{project}/regions/{path(target.region)}"),
    ):
        name = f"{which} certificate"
        try:
            proxy = cloud.get("compute", f"{place}/targetHttpsProxies/{path(target.name)}-{which}")
        except NotThere:
            yield fail(
                name,
                f"there is no {which} load balancer",
                "Apply Terraform; is the region serving?",
            )
            continue
        for link in proxy.get("sslCertificates", []):
            described = cloud.get("compute", f"{place}/sslCertificates/{path(last(link))}")
            yield judge_certificate(name, described, target.now)
        for managed in proxy.get("certificateManagerCertificates", []):
            yield warn(
                name, f"{last(managed)} is Certificate Manager's, not looked at", "Look there."
            )


def judge_certificate(which: str, certificate: dict[str, Any], now: datetime) -> Result:
    """A certificate as Compute Engine describes it."""
    name = f"{which} {certificate['name']}"
    managed = certificate.get("managed")
    if managed and managed.get("status") != "ACTIVE":
        domains = ", ".join(f"{d}: {s}" for d, s in managed.get("domainStatus", {}).items())
        seen = f"{managed.get('status')} ({domains})"
        if managed.get("status") == "PROVISIONING":
            return warn(name, seen, "Point DNS at the address; then it takes up to an hour.")
        return fail(name, seen, "Point DNS at the address and at nothing else; Google tries again.")
    expires = certificate.get("expireTime", "")
    if not expires:
        return warn(name, "no date of expiry yet", "Ask again later.")
    left = datetime.fromisoformat(expires) - now
    if left <= timedelta(0):
        return fail(name, f"expired {expires}", "docs/deploy.md, internal certificate: to renew.")
    if left < EXPIRES_SOON and not managed:
        return warn(
            name, f"expires in {left.days} days", "docs/deploy.md, internal certificate: to renew."
        )
    return ok(name, f"expires in {left.days} days")


def oauth(cloud: Cloud, target: Target) -> Iterable[Result]:
    """IAP is on, and has a client that the callers can use."""
    project = cloud.get("resourcemanager", f"projects/{path(target.project)}")
    backend = cloud.get(
        "compute",
        f"projects/{path(target.project)}/global/backendServices/{path(target.name)}-external",
    )
    iap = backend.get("iap", {})
    if not iap.get("enabled"):
        yield fail("iap", "IAP is off", "Apply Terraform: somebody turned it off by hand.")
    elif iap.get("oauth2ClientId"):
        yield ok("iap", "on, with an OAuth client of your own")
    elif project.get("parent", "").startswith(("organizations/", "folders/")):
        yield ok("iap", "on, with Google's managed client: members of the organisation pass")
    else:
        yield fail(
            "iap", "the project belongs to no organisation, and Google's managed client needs one",
            "Give iap_oauth_client: an OAuth client of your own (terraform/modules/edge_external).",
        )  # fmt: skip


def policies(cloud: Cloud, target: Target) -> Iterable[Result]:
    """No policy of the organisation forbids what the fleet is made of."""
    found = False
    for constraint, why in FORBIDDEN_WHEN_ENFORCED.items():
        if any(rule.get("enforce") for rule in _rules(cloud, target, constraint)):
            found = True
            yield fail(
                "organisation policy", f"{constraint} is enforced: {why}", _except(constraint)
            )
    for rule in _rules(cloud, target, "compute.restrictLoadBalancerCreationForTypes"):
        for which, names in LOAD_BALANCERS.items():
            if not permits(rule, *names):
                found = True
                yield fail(
                    "organisation policy", f"the {which} load balancer's type may not be created",
                    _except("compute.restrictLoadBalancerCreationForTypes"),
                )  # fmt: skip
    image = re.search(r"projects/([^/]+)/global/images/", describe(cloud, target).image)
    if image:
        for rule in _rules(cloud, target, "compute.trustedImageProjects"):
            if not permits(rule, f"projects/{image.group(1)}"):
                found = True
                yield fail(
                    "organisation policy", f"images of {image.group(1)} are not trusted",
                    _except("compute.trustedImageProjects"),
                )  # fmt: skip
    for rule in _rules(cloud, target, "iam.allowedPolicyMemberDomains"):
        if not rule.get("allowAll"):
            found = True
            yield warn(
                "organisation policy", "members from other organisations cannot be granted access",
                "Keep members.accessors to your own, or ask for an exception.",
            )  # fmt: skip
    for rule in _rules(cloud, target, "gcp.restrictNonCmekServices"):
        denied = rule.get("values", {}).get("deniedValues", [])
        if rule.get("denyAll") or {"storage.googleapis.com", "compute.googleapis.com"} & set(
            denied
        ):
            found = True
            yield warn(
                "organisation policy", "storage or disks must use a customer's key",
                "Set artifacts.kms_key and fleet.images[*].disk.kms_key.",
            )  # fmt: skip
    if not found:
        yield ok("organisation policy", "nothing that the fleet is made of is forbidden")


def way_out(cloud: Cloud, target: Target) -> Iterable[Result]:
    """VMs have no public address: the keys of IAP and Google must be reachable all the same."""
    group = describe(cloud, target)
    project = f"projects/{path(target.project)}"
    subnet = cloud.get(
        "compute",
        f"{project}/regions/{path(target.region)}/subnetworks/{path(last(group.subnetwork))}",
    )
    if not subnet.get("privateIpGoogleAccess"):
        yield fail(
            "private Google access", f"off for {subnet['name']}: VMs cannot reach the bucket",
            "Apply Terraform.",
        )  # fmt: skip
    else:
        yield ok("private Google access", f"on for {subnet['name']}")
    routers = pages(cloud, "compute", f"{project}/regions/{path(target.region)}/routers", "items")
    nat = [
        router
        for router in routers
        if router.get("nats") and router["network"] == subnet["network"]
    ]
    if nat:
        yield ok("nat", f"through {nat[0]['name']}")
    else:
        yield warn(
            "nat", "none in the region",
            "On a VM: curl -sf https://www.gstatic.com/iap/verify/public_key-jwk. If that fails no call "
            "through IAP can be checked: set nat.enabled.",
        )  # fmt: skip


def signatures(cloud: Cloud, target: Target) -> Iterable[Result]:
    """VMs require signatures, and the desired release has one."""
    group = describe(cloud, target)
    found = re.search(r"projects/([^/]+)/global/images/([^/]+)$", group.image)
    if found is None:
        yield warn("signatures", f"image '{group.image}' is not one image", "Pin an image by name.")
        return
    image = cloud.get("compute", f"projects/{path(found[1])}/global/images/{path(found[2])}")
    keys = image.get("labels", {}).get("trusted-keys", "0")
    if keys == "0":
        yield warn(
            "signatures",
            f"not required: image {found[2]} trusts no key",
            "Put public keys into packer/trusted-keys and bake again (docs/security.md).",
        )
    else:
        yield ok("signatures", f"required: image {found[2]} trusts {keys} key(s)")
    try:
        desired = _object(cloud, group.bucket, f"fleets/{target.fleet}/desired.json")["current"]
    except NotThere:
        return
    name = f"releases/{desired['release']}.json.sig"
    try:
        cloud.get("storage", f"b/{path(group.bucket)}/o/{path(name)}")
    except NotThere:
        report = warn if keys == "0" else fail
        yield report(
            "signatures",
            f"desired release {desired['release']} is not signed",
            f"skfleet release sign {desired['release']}",
        )
    else:
        yield ok("signatures", f"desired release {desired['release']} is signed")


CHECKS: dict[str, Check] = {
    "apis": apis,
    "roles": roles,
    "bucket": bucket_access,
    "quota": quota,
    "certificate": certificates,
    "iap": oauth,
    "environment": environment,
    "nat": way_out,
    "organisation policy": policies,
    "signatures": signatures,
}


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
    )


def quota_metric(machine_type: str) -> str:
    """The quota that this machine type's vCPUs count against."""
    family = machine_type.split("-", 1)[0]
    return f"{family.upper()}_CPUS" if family in OWN_QUOTA else "CPUS"


def permits(rule: dict[str, Any], *names: str) -> bool:
    """Whether a rule of a list constraint lets through what goes by any of these names."""
    if rule.get("denyAll"):
        return False
    values = rule.get("values", {})
    denied = {value.removeprefix("is:") for value in values.get("deniedValues", [])}
    allowed = {value.removeprefix("is:") for value in values.get("allowedValues", [])}
    if denied & set(names):
        return False
    # `under:` a folder or organisation: who is in there cannot be told from here.
    subtree = any(value.startswith("under:") for value in allowed)
    return not allowed or subtree or bool(allowed & set(names))


def _template(group: dict[str, Any]) -> str:
    versions = group.get("versions") or [group]
    return last(versions[-1]["instanceTemplate"].partition("?")[0])


def _metadata(template: dict[str, Any], key: str) -> str:
    for item in template.get("metadata", {}).get("items", []):
        if item["key"] == key:
            return str(item["value"])
    return ""


def _object(cloud: Cloud, bucket: str, name: str) -> dict[str, Any]:
    return cloud.get("storage", f"b/{path(bucket)}/o/{path(name)}", alt="media")


def _rules(cloud: Cloud, target: Target, constraint: str) -> list[dict[str, Any]]:
    """Rules of the policy in effect; none where nobody set one."""
    try:
        policy = cloud.get(
            "orgpolicy", f"projects/{path(target.project)}/policies/{constraint}:getEffectivePolicy"
        )
    except NotThere:
        return []
    rules: list[dict[str, Any]] = policy.get("spec", {}).get("rules", [])
    return rules


def _except(constraint: str) -> str:
    return f"Ask the organisation's administrators for an exception to constraints/{constraint}."
