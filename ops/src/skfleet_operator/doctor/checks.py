"""The checks: each asks through `Cloud`, decides, and says how to mend what it found.

A check never raises for what Google refuses to show; `look` turns that into a warning, since a caller who
may not see a thing cannot say that it is broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from skfleet_operator.cloud import Cloud, last, pages, path
from skfleet_operator.doctor import access
from skfleet_operator.doctor.policies import REQUIRED_APIS, policies
from skfleet_operator.doctor.result import Result, fail, ok, warn
from skfleet_operator.doctor.target import (
    Target,
    describe,
    external_backend,
    internal_backend,
    read_object,
)
from skfleet_operator.google_rest import ApiOff, CallFailed, NotAllowed, NotThere

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


Check = Callable[[Cloud, Target], Iterable[Result]]


def look(name: str, check: Check, cloud: Cloud, target: Target) -> list[Result]:
    """Run a check; what Google does not show becomes a warning, what is missing a failure."""
    try:
        return list(check(cloud, target))
    except ApiOff as error:
        on = f"gcloud services enable {error.service} --project={target.project}"
        return [warn(name, f"not allowed to look: {error.message}", on)]
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
    project = cloud.get("resourcemanager", f"projects/{path(target.project)}")
    number = last(project["name"])
    external = f"/projects/{number}/global/backendServices/{external_backend(cloud, target)['id']}"
    internal = internal_backend(cloud, target)
    try:
        document = read_object(cloud, group.bucket, f"fleets/{target.fleet}/environment.json")
        known = document.get("iap", {}).get("audiences", [])
        if external in known:
            yield ok("environment", "the VMs know IAP's audience")
        else:
            yield fail(
                "environment", f"the VMs expect {known}, IAP signs for {external}",
                "Apply Terraform: it writes environment.json.",
            )  # fmt: skip
        if internal.get("iap", {}).get("enabled"):
            yield judge_internal_audience(known, number, target.region, internal["id"])
    except NotThere:
        yield fail(
            "environment", "there is no environment.json: every call is refused", "Apply Terraform."
        )
    try:
        desired = read_object(cloud, group.bucket, f"fleets/{target.fleet}/desired.json")
        yield ok("release", f"desired: {desired['current']['release']}")
    except NotThere:
        yield warn(
            "release", "no release is desired: VMs are live, not ready", "skfleet release desire ID"
        )


def judge_internal_audience(known: list[str], number: str, region: str, backend: str) -> Result:
    """IAP on the internal load balancer: its audience is documented in two forms, so both must be known."""
    forms = [
        f"/projects/{number}/{place}/backendServices/{backend}"
        for place in (f"region/{region}", region)
    ]
    missing = [form for form in forms if form not in known]
    if not missing:
        return ok("internal environment", "the VMs know both forms of IAP's audience")
    if len(missing) == len(forms):
        return fail(
            "internal environment",
            "IAP is on at the internal load balancer, and the VMs do not expect it: every call is refused",
            "Apply Terraform; with internal.iap off it must be off at Google too.",
        )
    return warn(
        "internal environment", f"the VMs do not expect {missing[0]}",
        "Apply Terraform; `skfleet doctor --internal-url` tells which form IAP signs for.",
    )  # fmt: skip


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
    backend = external_backend(cloud, target)
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
        desired = read_object(cloud, group.bucket, f"fleets/{target.fleet}/desired.json")["current"]
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
    "ssh login": access.login,
    "tunnel": access.tunnel,
    "act as": access.act_as,
    "bucket": bucket_access,
    "quota": quota,
    "certificate": certificates,
    "iap": oauth,
    "environment": environment,
    "audience": access.audience,
    "nat": way_out,
    "uptime": access.uptime,
    "bake": access.bake,
    "delivery": access.delivery,
    "organisation policy": policies,
    "signatures": signatures,
}


def quota_metric(machine_type: str) -> str:
    """The quota that this machine type's vCPUs count against."""
    family = machine_type.split("-", 1)[0]
    return f"{family.upper()}_CPUS" if family in OWN_QUOTA else "CPUS"
