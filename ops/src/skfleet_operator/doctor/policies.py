"""Which policies of an organisation the design leans on, and whether one forbids it.

A constraint that is not named here changes nothing: VMs have no external address
(compute.vmExternalIpAccess), take OS Login alone (compute.requireOsLogin) and are shielded
(compute.requireShieldedVm); service accounts have no keys (iam.disableServiceAccountKeyCreation).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable
from typing import Any

from skfleet_operator.cloud import Cloud, last, path
from skfleet_operator.doctor.result import Result, fail, ok, warn
from skfleet_operator.doctor.target import Target, describe, internal_backend
from skfleet_operator.google_rest import NotAllowed, NotThere

REQUIRED_APIS = (
    "compute", "dns", "iam", "iamcredentials", "iap", "logging", "monitoring", "oslogin",
    "serviceusage", "storage",
)  # fmt: skip
GITHUB = "https://token.actions.githubusercontent.com"
BAKED_FROM = "debian-cloud"
# Of what lists must allow, that which only some do here: bake, deliver from GitHub.
OPTIONAL = (f"projects/{BAKED_FROM}", GITHUB)

# Constraint => what the fleet needs of it. Managed constraints stand beside the older ones of their names.
FORBIDDEN_WHEN_ENFORCED = {
    "compute.disableGlobalCloudArmorPolicy": "the external load balancer's security policy is a global one",
    "compute.disableGlobalLoadBalancing": "the external load balancer is a global one",
    "compute.managed.disableGuestAttributesAccess": "no VM may be made with enable-guest-attributes",
    "iam.disableServiceAccountCreation": "VMs have service accounts of their own",
    "iam.managed.disableServiceAccountCreation": "VMs have service accounts of their own",
    "iap.requireGlobalIapWebDisabled": "IAP guards the external load balancer",
}
GUEST_ATTRIBUTES = "compute.disableGuestAttributesAccess"
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


def policies(cloud: Cloud, target: Target) -> Iterable[Result]:
    """No policy of the organisation forbids what the fleet is made of."""
    try:
        found = [
            *_enforced(cloud, target),
            *_host_keys(cloud, target),
            *_locations(cloud, target),
            *_lists(cloud, target),
            *_members(cloud, target),
            *_encryption(cloud, target),
        ]
    except NotAllowed as error:
        if type(error) is not NotAllowed:  # an API that is off is said as such
            raise
        yield warn(
            "organisation policy", f"not allowed to look: {error.message}",
            "Ask as somebody with roles/orgpolicy.policyViewer.",
        )  # fmt: skip
        return
    yield from found or [
        ok("organisation policy", "nothing that the fleet is made of is forbidden")
    ]


def _enforced(cloud: Cloud, target: Target) -> Iterable[Result]:
    forbidden = dict(FORBIDDEN_WHEN_ENFORCED)
    if internal_backend(cloud, target).get("iap", {}).get("enabled"):
        forbidden["iap.requireRegionalIapWebDisabled"] = "IAP guards the internal load balancer"
    for constraint, why in forbidden.items():
        if _is_enforced(cloud, target, constraint):
            yield fail(
                "organisation policy", f"{constraint} is enforced: {why}", _except(constraint)
            )


def _host_keys(cloud: Cloud, target: Target) -> Iterable[Result]:
    if not _is_enforced(cloud, target, GUEST_ATTRIBUTES):
        return
    seen = f"{GUEST_ATTRIBUTES} is enforced: VMs cannot publish host keys"
    if target.host_keys == "first-use":
        yield warn(
            "organisation policy", f"{seen}, and ssh trusts those that it meets first",
            f"{_except(GUEST_ATTRIBUTES)} Then unset SKFLEET_SSH_HOST_KEYS.",
        )  # fmt: skip
    else:
        yield fail(
            "organisation policy", f"{seen}, so ssh refuses every VM",
            f"export SKFLEET_SSH_HOST_KEYS=first-use (docs/deploy.md), or: {_except(GUEST_ATTRIBUTES)}",
        )  # fmt: skip


def _lists(cloud: Cloud, target: Target) -> Iterable[Result]:
    """Constraints that list what is allowed."""
    for constraint, name, seen in _wanted(cloud, target):
        names = LOAD_BALANCERS.get(name, (name,))
        if any(not permits(rule, *names) for rule in _rules(cloud, target, constraint)):
            verdict = warn if name in OPTIONAL else fail
            yield verdict("organisation policy", seen, _except(constraint))
    flow_logs = _rules(cloud, target, "compute.requireVpcFlowLogs")
    if any(rule.get("values", {}).get("allowedValues") for rule in flow_logs):
        yield warn(
            "organisation policy", "subnets must log their flows", "Set flow_logs in the tfvars."
        )


def _wanted(cloud: Cloud, target: Target) -> Iterable[tuple[str, str, str]]:
    """Constraint, what it must allow, and what is so where it does not."""
    for which in LOAD_BALANCERS:
        seen = f"the {which} load balancer's type may not be created"
        yield "compute.restrictLoadBalancerCreationForTypes", which, seen
    for api in REQUIRED_APIS:
        service = f"{api}.googleapis.com"
        yield "gcp.restrictServiceUsage", service, f"{service} may not be used"
    confidential = "VMs must be confidential ones"
    yield "compute.restrictNonConfidentialComputing", "compute.googleapis.com", confidential
    yield "iam.workloadIdentityPoolProviders", GITHUB, "workflows of GitHub are not trusted"
    images = {BAKED_FROM}
    with contextlib.suppress(NotThere):  # before the first apply there is no group
        group = describe(cloud, target)
        if image := re.search(r"projects/([^/]+)/global/images/", group.image):
            images.add(image.group(1))
        subnetwork = last(group.subnetwork)
        resource = f"projects/{target.project}/regions/{target.region}/subnetworks/{subnetwork}"
        yield "compute.restrictCloudNATUsage", resource, f"{subnetwork} may not use Cloud NAT"
    for project in sorted(images):
        seen = f"images of {project} are not trusted"
        yield "compute.trustedImageProjects", f"projects/{project}", seen


def _locations(cloud: Cloud, target: Target) -> Iterable[Result]:
    """Only locations that are named are judged: what a group holds is Google's list, not ours."""
    constraint = "gcp.resourceLocations"
    group = f"in:{target.region}-locations"
    for rule in _rules(cloud, target, constraint):
        values = rule.get("values", {})
        allowed, denied = values.get("allowedValues", []), values.get("deniedValues", [])
        groups = [
            value for value in (*allowed, *denied) if value.startswith("in:") and value != group
        ]
        if permits(rule, target.region, group):
            if not any(value.startswith("in:") for value in denied):
                continue
        elif not groups:
            yield fail(
                "organisation policy",
                f"resources may not be in {target.region}",
                _except(constraint),
            )
            continue
        yield warn(
            "organisation policy", f"resources may only be in {', '.join(allowed) or 'some places'}, not in "
            f"{', '.join(denied) or 'others'}",
            f"Look whether {target.region} and the bucket's location are among them.",
        )  # fmt: skip


def _members(cloud: Cloud, target: Target) -> Iterable[Result]:
    domains = _rules(cloud, target, "iam.allowedPolicyMemberDomains")
    managed = _is_enforced(cloud, target, "iam.managed.allowedPolicyMembers")
    if managed or any(not rule.get("allowAll") for rule in domains):
        yield warn(
            "organisation policy", "members from other organisations cannot be granted access",
            "Keep members.accessors to your own, or ask for an exception.",
        )  # fmt: skip


def _encryption(cloud: Cloud, target: Target) -> Iterable[Result]:
    ours = {"storage.googleapis.com", "compute.googleapis.com"}
    for rule in _rules(cloud, target, "gcp.restrictNonCmekServices"):
        if rule.get("denyAll") or ours & set(rule.get("values", {}).get("deniedValues", [])):
            yield warn(
                "organisation policy", "storage or disks must use a customer's key",
                "Set artifacts.kms_key and fleet.images[*].disk.kms_key.",
            )  # fmt: skip


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


def _is_enforced(cloud: Cloud, target: Target, constraint: str) -> bool:
    return any(rule.get("enforce") for rule in _rules(cloud, target, constraint))


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
