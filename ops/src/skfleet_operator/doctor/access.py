"""Checks of who gets in: an operator by ssh, a workflow by its token, a caller through IAP.

What is granted under a condition that names the connection (IAP's tunnel to port 22) cannot be tested as a
permission: it is read from the project's policy, by who may, and is a warning otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import requests

from skfleet.errors import SkfleetError
from skfleet_operator.client.tokens import id_token, signed_jwt
from skfleet_operator.cloud import Cloud, pages, path
from skfleet_operator.doctor.policies import GITHUB
from skfleet_operator.doctor.result import Result, fail, ok, warn
from skfleet_operator.doctor.target import Target, describe, internal_backend, read_object
from skfleet_operator.google_rest import NotAllowed, NotThere
from skfleet_operator.ssh.login import require_login
from skfleet_operator.ssh.oslogin import OsLogin, OsLoginFailed

TUNNEL_PERMISSION = "iap.tunnelInstances.accessViaIAP"
TUNNEL_ROLES = ("roles/iap.tunnelResourceAccessor", "roles/owner")
LOGIN_ROLE = "roles/compute.osAdminLogin"
USER_ROLE = "roles/iam.serviceAccountUser"
WORKLOAD_ROLE = "roles/iam.workloadIdentityUser"
EXPIRES_SOON = timedelta(hours=1)

# What Packer's googlecompute plugin calls without a way around (1.2.5 and newer); a bake whose image it may
# not mark has failed.
BAKE_PERMISSIONS = (
    "compute.disks.create",
    "compute.images.create",
    "compute.images.deprecate",
    "compute.images.get",
    "compute.instances.create",
    "compute.instances.delete",
    "compute.instances.setMetadata",
    "compute.instances.setServiceAccount",
    "compute.projects.get",
    "compute.subnetworks.use",
)


def login(cloud: Cloud, target: Target) -> Iterable[Result]:
    """OS Login knows the key that playbooks use, and its user."""
    try:
        found = require_login(target.logins / target.project, target.now)
    except SkfleetError as error:
        yield fail("ssh login", error.message, "skfleet ssh setup")
        return
    try:
        profile = OsLogin(cloud, found.account, target.project).profile()
    except OsLoginFailed as error:
        yield warn("ssh login", error.message, error.hint)
        return
    registered = next((k for k in profile.keys if k.fingerprint == found.fingerprint), None)
    ends = registered.expires_at if registered else None
    if registered is None or (ends is not None and ends <= target.now):
        yield fail(
            "ssh login", f"OS Login has no valid key of {found.account}", "skfleet ssh setup"
        )
    elif profile.user != found.user:
        yield fail(
            "ssh login", f"VMs know {found.account} as {profile.user!r}, playbooks say {found.user!r}",
            "skfleet ssh setup",
        )  # fmt: skip
    elif min(ends or found.expires_at, found.expires_at) - target.now < EXPIRES_SOON:
        yield warn(
            "ssh login", f"the key of {found.user} expires within the hour", "skfleet ssh setup"
        )
    else:
        yield ok("ssh login", f"{found.account} is {found.user} on VMs")


def tunnel(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The caller may open IAP's tunnel to ssh."""
    resource = f"projects/{path(target.project)}"
    body = {"permissions": [TUNNEL_PERMISSION]}
    answer = cloud.post("resourcemanager", f"{resource}:testIamPermissions", body)
    if TUNNEL_PERMISSION in answer.get("permissions", []):
        yield ok("tunnel", "you may open IAP's tunnel to every port")
        return
    try:
        policy = _policy(cloud, target)
    except NotAllowed:
        policy = {}
    account = _account(target)
    if account and _holds(policy, account, TUNNEL_ROLES):
        yield ok("tunnel", f"{account} may open IAP's tunnel to ssh")
    else:
        yield warn(
            "tunnel",
            "a grant for port 22 alone cannot be tested, and you may not read the project's policy"
            if not policy
            else f"the project's policy names no {TUNNEL_ROLES[0]} for {account or 'you'}; a group may",
            "Try it: ansible -i inventories/gcp fleet -m ping. If it is refused: join members.deployers.",
        )


def act_as(cloud: Cloud, target: Target) -> Iterable[Result]:
    """The caller may act as the VMs' accounts, which ssh by OS Login asks for."""
    accounts = {"fleet": describe(cloud, target).service_account}
    accounts["load generators"] = f"{target.name}-loadgen@{target.project}.iam.gserviceaccount.com"
    for which, account in accounts.items():
        name = f"act as {which}"
        try:
            answer = cloud.post(
                "iam", f"projects/-/serviceAccounts/{path(account)}:testIamPermissions",
                {"permissions": ["iam.serviceAccounts.actAs"]},
            )  # fmt: skip
        except NotThere:
            yield warn(name, f"there is no account {account}", "Apply Terraform.")
            continue
        if answer.get("permissions"):
            yield ok(name, f"you may act as {account}")
        else:
            yield fail(
                name, f"you lack iam.serviceAccounts.actAs on {account}: ssh is refused",
                "Join members.deployers in the tfvars.",
            )  # fmt: skip


def bake(cloud: Cloud, target: Target) -> Iterable[Result]:
    """Whoever bakes may do what Packer does: the pipeline's account, or the caller without a pipeline."""
    builder = f"{target.name}-builder@{target.project}.iam.gserviceaccount.com"
    try:
        members = _members(cloud, target, f"{target.name}-bake-vm", USER_ROLE)
        _members(cloud, target, f"{target.name}-builder", WORKLOAD_ROLE)
    except NotThere:
        body = {"permissions": list(BAKE_PERMISSIONS)}
        resource = f"projects/{path(target.project)}:testIamPermissions"
        held = cloud.post("resourcemanager", resource, body).get("permissions", [])
        missing = [permission for permission in BAKE_PERMISSIONS if permission not in held]
        if missing:
            yield warn(
                "bake",
                f"you lack {', '.join(missing)}",
                "Bake as somebody who may, or set delivery.",
            )
        else:
            yield ok("bake", "you may bake images")
        return
    role = f"projects/{target.project}/roles/{target.name.replace('-', '_')}_builder"
    policy = _policy(cloud, target)
    held = cloud.get("iam", role).get("includedPermissions", [])
    lacks = [permission for permission in BAKE_PERMISSIONS if permission not in held]
    if not _holds(policy, builder, (role,)):
        lacks.append(role)
    if not _holds(policy, builder, (LOGIN_ROLE,)):
        lacks.append(LOGIN_ROLE)
    if not _holds(policy, builder, TUNNEL_ROLES):
        lacks.append(TUNNEL_ROLES[0])
    if f"serviceAccount:{builder}" not in members:
        lacks.append(f"{USER_ROLE} on {target.name}-bake-vm")
    if lacks:
        yield fail("bake", f"{builder} lacks {', '.join(lacks)}", "Apply Terraform.")
    else:
        yield ok("bake", f"{builder} may bake images")


def delivery(cloud: Cloud, target: Target) -> Iterable[Result]:
    """GitHub's workflows are known by claims that stay: ids and environment, not the formatted subject."""
    pool = f"projects/{path(target.project)}/locations/global/workloadIdentityPools/{target.name}-github"
    try:
        provider = cloud.get("iam", f"{pool}/providers/github")
    except NotThere:
        yield ok("delivery", "no workload identity provider: nothing is delivered from GitHub")
        return
    mapping = provider.get("attributeMapping", {})
    condition = provider.get("attributeCondition", "")
    mapped = " ".join(value for key, value in mapping.items() if key.startswith("attribute."))
    faults = []
    if provider.get("disabled") or provider.get("state", "ACTIVE") != "ACTIVE":
        faults.append("it is disabled or deleted")
    if provider.get("oidc", {}).get("issuerUri") != GITHUB:
        faults.append(f"its issuer is not {GITHUB}")
    if "assertion.sub" in condition:
        faults.append("its condition reads assertion.sub, whose form GitHub changed")
    if "assertion.repository_id" not in condition:
        faults.append("its condition does not bind assertion.repository_id")
    if "assertion.environment" not in mapped:
        faults.append("no attribute maps assertion.environment")
    for account in ("planner", "builder", "publisher", "deployer"):
        members = _members(cloud, target, f"{target.name}-{account}", WORKLOAD_ROLE)
        if any("/subject/" in member for member in members):
            faults.append(f"{target.name}-{account} trusts a formatted subject")
        elif not any(member.startswith("principalSet://") for member in members):
            faults.append(f"no workflow may act as {target.name}-{account}")
    if faults:
        yield fail("delivery", f"workflows are refused: {'; '.join(faults)}", "Apply Terraform.")
    else:
        yield ok("delivery", "workflows are known by repository id and environment")


def uptime(cloud: Cloud, target: Target) -> Iterable[Result]:
    """Uptime checks expect a final answer: Google's checkers follow redirects."""
    listed = pages(
        cloud, "monitoring", f"projects/{path(target.project)}/uptimeCheckConfigs",
        "uptimeCheckConfigs", pageSize="100",
    )  # fmt: skip
    ours = [check for check in listed if check.get("displayName", "").startswith(f"{target.name} ")]
    if not ours:
        yield warn("uptime", "no uptime check", "Set observability.uptime to be told of an outage.")
    for check in ours:
        name = f"uptime {check['displayName']}"
        codes = check.get("httpCheck", {}).get("acceptedResponseStatusCodes", [])
        if any(_redirects(code) for code in codes):
            yield fail(
                name, "it expects a redirect, which the checkers follow: it fails for ever",
                "Apply Terraform.",
            )  # fmt: skip
        else:
            yield ok(name, "it expects a final answer")


def audience(cloud: Cloud, target: Target) -> Iterable[Result]:
    """IAP signs for an audience that the VMs expect, as a call through each load balancer tells."""
    edges = [("external", target.url, "--url")]
    if internal_backend(cloud, target).get("iap", {}).get("enabled"):
        edges.append(("internal", target.internal_url, "--internal-url, on a VM of the network"))
    for which, url, option in edges:
        name = f"{which} audience"
        if not url:
            yield warn(name, "not asked: no address is given", f"skfleet doctor {option} https://…")
            continue
        yield judge_call(name, _call(target, url), _known(cloud, target))


def judge_call(name: str, answer: requests.Response | str, known: list[str]) -> Result:
    """What the answer to a call through IAP says of the audience."""
    if isinstance(answer, str):
        return warn(name, answer, "Ask as a service account among members.accessors.")
    body = _json(answer)
    if answer.headers.get("X-Goog-IAP-Generated-Response") or answer.is_redirect:
        return warn(
            name, f"IAP itself answered {answer.status_code}: the caller did not pass",
            "Ask as a service account among members.accessors.",
        )  # fmt: skip
    signed = str(body.get("where", "")).removeprefix("aud=")
    if answer.status_code == 401 and signed:
        return fail(
            name, f"IAP signs for {signed}; the VMs expect {', '.join(known) or 'nothing'}",
            "Apply Terraform, which writes environment.json. If it stays, report this line.",
        )  # fmt: skip
    if answer.status_code == 200:
        return ok(name, "the VMs accept what IAP signs")
    return warn(
        name, f"the service answered {answer.status_code} {body.get('error', '')}".strip(),
        "Ask again when VMs are healthy.",
    )  # fmt: skip


def _call(target: Target, url: str) -> requests.Response | str:
    """GET /version as the default credentials; a sentence where no answer came."""
    try:
        token = id_token(target.iap_client) if target.iap_client else signed_jwt(url)
        session = requests.Session()
        session.trust_env = False  # no netrc: it would replace the Authorization header
        return session.get(
            f"{url.rstrip('/')}/version", headers={"Authorization": f"Bearer {token}"},
            allow_redirects=False, timeout=10, verify=target.ca_file or True,
        )  # fmt: skip
    except SkfleetError as error:
        return error.message
    except requests.RequestException as error:
        return f"no answer: {error}"


def _known(cloud: Cloud, target: Target) -> list[str]:
    bucket = describe(cloud, target).bucket
    try:
        document = read_object(cloud, bucket, f"fleets/{target.fleet}/environment.json")
    except (NotThere, NotAllowed):
        return []
    return [str(audience) for audience in document.get("iap", {}).get("audiences", [])]


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _redirects(code: dict[str, Any]) -> bool:
    classes = ("STATUS_CLASS_3XX", "STATUS_CLASS_ANY")
    return code.get("statusClass") in classes or 300 <= int(code.get("statusValue", 0)) < 400


def _account(target: Target) -> str:
    """Who playbooks log in as; empty before a setup."""
    try:
        return require_login(target.logins / target.project, target.now).account
    except SkfleetError:
        return ""


def _policy(cloud: Cloud, target: Target) -> dict[str, Any]:
    """The project's policy, conditions included."""
    return cloud.post(
        "resourcemanager", f"projects/{path(target.project)}:getIamPolicy",
        {"options": {"requestedPolicyVersion": 3}},
    )  # fmt: skip


def _holds(policy: dict[str, Any], account: str, roles: tuple[str, ...]) -> bool:
    """Whether one of the roles is bound to the account by its own name."""
    members = {f"serviceAccount:{account}", f"user:{account}"}
    return any(
        binding.get("role") in roles and members & set(binding.get("members", []))
        for binding in policy.get("bindings", [])
    )


def _members(cloud: Cloud, target: Target, account: str, role: str) -> set[str]:
    """Who holds a role on a service account of the project."""
    email = f"{account}@{target.project}.iam.gserviceaccount.com"
    resource = f"projects/{path(target.project)}/serviceAccounts/{path(email)}"
    version = {"options.requestedPolicyVersion": "3"}
    policy = cloud.post("iam", f"{resource}:getIamPolicy", None, **version)
    return {
        member
        for binding in policy.get("bindings", [])
        if binding.get("role") == role
        for member in binding.get("members", [])
    }
