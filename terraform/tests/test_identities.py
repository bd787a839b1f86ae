"""Who may log in, over the planned whole: each link of the chain for each identity.

ssh by OS Login asks for three things: a way to the VM (IAP's tunnel), roles/compute.osAdminLogin, and the
right to act as the VM's service account.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from typing import Any

import celpy
import pytest

from skfleet_operator.compute.client import Compute

from .tree import TERRAFORM, Tree, insist, messages

Plan = list[dict[str, Any]]

TUNNEL = "roles/iap.tunnelResourceAccessor"
LOGIN = "roles/compute.osAdminLogin"
ACT_AS = "roles/iam.serviceAccountUser"

# Everything that may log in: people, the deploying workflow, a runner inside the network, the baker.
EVERYTHING = """
variables {
  ssh_runners = ["runner@example.iam.gserviceaccount.com"]
  internal    = { iap = { enabled = true, members = { all = "group:all@example.com" } } }
  loadgen     = { region = "europe-west1", count = 2, image = "projects/example/global/images/loadgen" }
}

run "everything" {
  command = plan
}
"""

MOCKS = """
mock_provider "google" {
  override_during = plan

  mock_data "google_project" {
    defaults = { number = "123456789012" }
  }
  mock_resource "google_compute_address" {
    defaults = { address = "203.0.113.7" }
  }
  mock_resource "google_iam_workload_identity_pool" {
    defaults = { name = "projects/1/locations/global/workloadIdentityPools/skfleet-github" }
  }
  mock_resource "google_project_iam_custom_role" {
    defaults = { id = "projects/example/roles/custom" }
  }
  mock_resource "google_service_account" {
    defaults = { email = "a@b", member = "serviceAccount:a@b", name = "projects/p/serviceAccounts/a@b" }
  }
}
"""


def override(address: str, number: int) -> str:
    """An e-mail address of its own for a service account: mocks give all of them the same."""
    email = f"account-{number}@example.iam.gserviceaccount.com"
    return f"""
override_resource {{
  target          = {address}
  override_during = plan
  values = {{
    email  = "{email}"
    member = "serviceAccount:{email}"
    name   = "projects/example/serviceAccounts/{email}"
  }}
}}
"""


def planned(tree: Tree, name: str, text: str) -> Plan:
    """What `prod`, with everything on, would make."""
    directory = tree.root / "tests" / name
    directory.mkdir()
    (directory / "everything.tftest.hcl").write_text(MOCKS + text + EVERYTHING, encoding="utf-8")
    done = tree.run(
        ".", "test", "-json", "-verbose",
        f"-test-directory=tests/{name}", "-var-file=environments/prod.tfvars",
    )  # fmt: skip
    insist(done)
    plans = [line["test_plan"] for line in messages(done) if line["type"] == "test_plan"]
    return [change for change in plans[0]["resource_changes"] if change["mode"] == "managed"]


def of_type(plan: Plan, *kinds: str) -> Iterable[dict[str, Any]]:
    return (change["change"]["after"] for change in plan if change["type"] in kinds)


@pytest.fixture(scope="module")
def plan(tree: Tree) -> Plan:
    first = planned(tree, "accounts", "")
    accounts = [change["address"] for change in first if change["type"] == "google_service_account"]
    return planned(tree, "whole", "".join(map(override, accounts, range(len(accounts)))))


def vms(plan: Plan) -> dict[str, set[str]]:
    """Service accounts of the VMs: those of the fleets and load generators, and the one for baking."""
    serving = {
        account["email"]
        for vm in of_type(plan, "google_compute_instance_template", "google_compute_instance")
        for account in vm["service_account"]
    }
    ssh = {
        account
        for rule in of_type(plan, "google_compute_firewall")
        if any("22" in (allow["ports"] or []) for allow in rule["allow"])
        for account in rule["target_service_accounts"]
    }
    return {"serving": serving, "baking": ssh - serving}


def missing_grants(plan: Plan) -> list[str]:
    """What is missing of anybody's way to a shell; an identity is one that has any part of it."""
    holders: dict[str, set[str]] = {TUNNEL: set(), LOGIN: set()}
    for grant in of_type(plan, "google_project_iam_member"):
        if grant.get("role") in holders:
            holders[grant["role"]].add(grant["member"])
    acts: dict[str, set[str]] = {}
    for grant in of_type(plan, "google_service_account_iam_member"):
        if grant["role"] == ACT_AS:
            acts.setdefault(grant["member"], set()).add(
                grant["service_account_id"].rpartition("/")[2]
            )
    runners = {
        f"serviceAccount:{account}"
        for rule in of_type(plan, "google_compute_firewall")
        for account in rule["source_service_accounts"] or []
        if any("22" in (allow["ports"] or []) for allow in rule["allow"])
    }
    targets = vms(plan)
    found = []
    for member in sorted(holders[TUNNEL] | holders[LOGIN] | acts.keys() | runners):
        found += [f"{member} lacks {role}" for role, who in holders.items() if member not in who]
        held = acts.get(member, set())
        # Nobody logs in to a part of the fleet: it is all of one kind, or none of it.
        wanted = [group for group in targets.values() if group & held] or [targets["serving"]]
        found += [
            f"{member} may not act as {vm}" for group in wanted for vm in sorted(group - held)
        ]
    return found


def test_everybody_who_logs_in_holds_the_whole_chain(plan: Plan) -> None:
    assert missing_grants(plan) == []


def test_all_kinds_of_identities_are_among_them(plan: Plan) -> None:
    logins = [
        change["address"]
        for change in plan
        if change["type"] == "google_project_iam_member" and change["change"]["after"].get("role") == LOGIN
    ]  # fmt: skip
    for kind in ('["sre"]', "workflow-deploy", "ssh-runner", "builder_login"):
        assert any(kind in address for address in logins), f"{kind} is not in {logins}"
    assert len(vms(plan)["serving"]) == 2, "one account for the fleet, one for the load generators"
    assert len(vms(plan)["baking"]) == 1


def test_a_missing_grant_is_reported_whichever_it_is(plan: Plan) -> None:
    grants = [
        change
        for change in plan
        if change["type"] in ("google_project_iam_member", "google_service_account_iam_member")
        and change["change"]["after"].get("role") in (TUNNEL, LOGIN, ACT_AS)
    ]
    assert len(grants) >= 15  # four identities, each with a tunnel, a login and its VMs' accounts
    for grant in grants:
        assert missing_grants([change for change in plan if change is not grant]), grant["address"]


def test_each_workflow_s_account_is_taken_from_its_own_environment_alone(plan: Plan) -> None:
    taken: dict[str, set[str]] = {}
    for change in plan:
        grant = change["change"]["after"]
        if grant.get("role") == "roles/iam.workloadIdentityUser":
            pool, _, environment = grant["member"].rpartition("/attribute.environment/")
            assert pool.startswith("principalSet://iam.googleapis.com/")
            taken.setdefault(grant["service_account_id"], set()).add(environment)
    assert sorted(map(sorted, taken.values())) == [
        ["bake"], ["canary", "production"], ["plan"], ["publish"]
    ]  # fmt: skip


# A job's token as GitHub documents its claims, in a repository made before 15 July 2026.
CLAIMS = {
    "sub": "repo:example/skfleet:environment:bake",
    "repository": "example/skfleet",
    "repository_id": "1000000",
    "repository_owner": "example",
    "repository_owner_id": "2000000",
    "environment": "bake",
    "ref": "refs/heads/main",
}


def exchange(plan: Plan, claims: dict[str, str]) -> str | None:
    """Whom Google's token service makes of a token: the name of a role's account; None: refused."""
    (provider,) = of_type(plan, "google_iam_workload_identity_pool_provider")
    environment = celpy.Environment()

    def evaluate(expression: str) -> Any:
        program = environment.program(environment.compile(expression))
        return program.evaluate({"assertion": celpy.json_to_cel(claims)})

    try:
        mapped = {name: str(evaluate(text)) for name, text in provider["attribute_mapping"].items()}
        if not evaluate(provider["attribute_condition"]):
            return None
    except celpy.CELEvalError:  # a claim is not there
        return None
    assert len(mapped["google.subject"].encode()) <= 127
    for change in plan:
        grant = change["change"]["after"]
        if grant.get("role") == "roles/iam.workloadIdentityUser":
            start, is_subject, subject = grant["member"].partition("/subject/")
            name, value = ("google.subject", subject) if is_subject else start.rsplit("/", 2)[1:]
            if mapped.get(name) == value:
                return str(change["index"]).partition("-")[0]
    return None


@pytest.mark.parametrize(
    ("changes", "account"),
    [
        ({}, "builder"),
        ({"sub": "repo:example@2000000/skfleet@1000000:environment:bake"}, "builder"),
        ({"sub": "repo:new/name:environment:bake", "repository": "new/name"}, "builder"),
        ({"repository_owner": "renamed", "repository": "renamed/skfleet"}, "builder"),
        ({"sub": "x" * 200}, "builder"),
        ({"environment": "plan"}, "planner"),
        ({"environment": "publish"}, "publisher"),
        ({"environment": "canary"}, "deployer"),
        ({"environment": "production"}, "deployer"),
        ({"environment": "staging"}, None),
        ({"environment": ""}, None),
        ({"environment": None}, None),
        ({"repository_id": "1000001"}, None),  # a namesake after the repository was deleted
        ({"repository_owner_id": "2000001"}, None),  # transferred to another owner
        ({"repository_id": None}, None),
    ],
)
def test_a_job_becomes_the_account_of_its_environment(
    plan: Plan, changes: dict[str, str | None], account: str | None
) -> None:
    claims = {k: v for k, v in {**CLAIMS, **changes}.items() if v is not None}
    assert exchange(plan, claims) == account


# Google's documentation of each method states the permission. `wait` needs what `get` of an operation does.
PERMISSIONS = {
    "regionInstanceGroupManagers.get": "compute.instanceGroupManagers.get",
    "regionInstanceGroupManagers.listManagedInstances": "compute.instanceGroupManagers.list",
    "regionInstanceGroupManagers.recreateInstances": "compute.instanceGroupManagers.update",
    "regionInstanceGroupManagers.deleteInstances": "compute.instanceGroupManagers.update",
    "regionInstanceGroupManagers.resize": "compute.instanceGroupManagers.update",
    "regionInstanceGroupManagers.patch": "compute.instanceGroupManagers.update",
    "instanceTemplates.get": "compute.instanceTemplates.get",
    "regionAutoscalers.list": "compute.autoscalers.list",
    "regionAutoscalers.patch": "compute.autoscalers.update",
    "instances.get": "compute.instances.get",
    "instances.getGuestAttributes": "compute.instances.getGuestAttributes",
    "backendServices.getHealth": "compute.backendServices.get",
}

# What the checks of `skfleet doctor` read of Compute Engine, by the collection in the path.
COLLECTIONS = {
    "autoscalers", "backendServices", "instanceGroupManagers", "instanceTemplates", "machineTypes", "regions",
    "routers", "sslCertificates", "subnetworks", "targetHttpsProxies",
}  # fmt: skip
REGIONAL = {"backendServices", "sslCertificates", "targetHttpsProxies"}

# packer-plugin-googlecompute 1.2.7, lib/common/driver_gce.go: what its steps call for our template.
BAKE = {
    "compute.disks.create", "compute.disks.delete", "compute.disks.get", "compute.disks.useReadOnly",
    "compute.globalOperations.get", "compute.images.create", "compute.images.deprecate", "compute.images.get",
    "compute.images.setLabels", "compute.instances.create", "compute.instances.delete",
    "compute.instances.get", "compute.instances.setLabels", "compute.instances.setMetadata",
    "compute.instances.setServiceAccount", "compute.machineTypes.get", "compute.projects.get",
    "compute.subnetworks.use", "compute.zoneOperations.get", "compute.zones.get",
}  # fmt: skip


def permissions(plan: Plan, role: str) -> set[str]:
    """What a custom role holds."""
    (found,) = [
        change["change"]["after"]["permissions"]
        for change in plan
        if change["type"] == "google_project_iam_custom_role" and change["name"] == role
    ]
    return set(found)


def test_the_deployer_s_role_covers_every_call_of_the_rollouts(plan: Plan) -> None:
    called = set()
    for method in filter(inspect.isfunction, vars(Compute).values()):
        called |= set(
            re.findall(
                r"\b([a-zA-Z]+\.(?:get|list|patch|resize|recreate|delete)\w*)", method.__doc__ or ""
            )
        )
    assert called <= PERMISSIONS.keys(), f"state the permission of {called - PERMISSIONS.keys()}"
    needed = {PERMISSIONS[call] for call in called} | {
        "compute.regionBackendServices.get",
        "compute.regionOperations.get",
        "compute.instanceTemplates.useReadOnly",  # a version that names a template
        "compute.instanceGroupManagers.use",  # an autoscaler that names a group
    }
    assert needed <= permissions(plan, "deployer")


def test_the_deployer_s_role_covers_what_the_doctor_reads(plan: Plan) -> None:
    doctor = TERRAFORM.parent / "ops/src/skfleet_operator/doctor"
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(doctor.glob("*.py")))
    read = set(re.findall(r"/([a-zA-Z]+)/\{path\(", source)) | set(
        re.findall(r"/([a-z]+s)\", \"items\"", source)
    )
    asked = {name for name in read if name in COLLECTIONS}
    assert asked >= COLLECTIONS - {"regions"}, f"the doctor does not ask of {COLLECTIONS - asked}"
    needed = {f"compute.{name}.get" for name in COLLECTIONS}
    needed |= {f"compute.region{name[0].upper()}{name[1:]}.get" for name in REGIONAL}
    needed |= {"compute.routers.list", "resourcemanager.projects.get", "serviceusage.services.list"}
    assert needed <= permissions(plan, "deployer")


def test_the_builder_s_role_covers_every_call_of_packer(plan: Plan) -> None:
    assert permissions(plan, "builder") >= BAKE
