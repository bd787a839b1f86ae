"""Each check: what it says of a healthy project, and of each thing that can be wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from skfleet_operator.cloud import RestCloud
from skfleet_operator.doctor.checks import (
    apis,
    bucket_access,
    certificates,
    environment,
    look,
    oauth,
    quota,
    quota_metric,
    roles,
    signatures,
    way_out,
)
from skfleet_operator.doctor.command import examine
from skfleet_operator.doctor.policies import permits, policies
from skfleet_operator.doctor.result import Result
from skfleet_operator.doctor.target import Target, describe

from .conftest import LINK, ORG, PROJECT, REGION, Google

BUCKET = "storage/storage/v1/b/example-project-skfleet"
TYPES = "compute.restrictLoadBalancerCreationForTypes"
IMAGES = "compute.trustedImageProjects"
SUBNETWORK = "projects/example-project/regions/europe-west1/subnetworks/skfleet"
FOLDER = f"{BUCKET}/o/fleets%2Fskfleet-europe-west1%2F"


def verdicts(results: list[Result]) -> dict[str, str]:
    return {result.name: result.verdict for result in results}


def test_a_healthy_project_has_nothing_to_mend(cloud: RestCloud, target: Target) -> None:
    results = examine(cloud, target)
    # Without an address no call is made through IAP.
    assert [result.name for result in results if result.verdict != "ok"] == ["external audience"]
    assert len([result.mend for result in results if result.mend]) == 1


def test_the_group_is_asked_for_once(cloud: RestCloud, target: Target, google: Google) -> None:
    examine(cloud, target)
    assert google.asked.count(f"GET {REGION}/instanceGroupManagers/skfleet-europe-west1") == 1


def test_apis_that_are_off_are_named_with_the_command(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    listed = google.answers["serviceusage/v1/projects/example-project/services"]
    listed["services"] = [s for s in listed["services"] if "/iap." not in s["name"]]
    (result,) = apis(cloud, target)
    assert result.verdict == "fail"
    assert result.mend == "gcloud services enable iap.googleapis.com --project=example-project"


def test_apis_are_read_to_the_last_page(cloud: RestCloud, target: Target, google: Google) -> None:
    whole = google.answers["serviceusage/v1/projects/example-project/services"]["services"]

    def paged(query: dict[str, list[str]], _: Any) -> dict[str, Any]:
        if "pageToken" in query:
            return {"services": whole[1:]}
        return {"services": whole[:1], "nextPageToken": "more"}

    google.answers["serviceusage/v1/projects/example-project/services"] = paged
    (result,) = apis(cloud, target)
    assert result.verdict == "ok"


def test_roles_that_lack_say_which_permissions(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers["resourcemanager/v3/projects/example-project:testIamPermissions"] = {}
    (result,) = roles(cloud, target)
    assert result.verdict == "fail"
    assert "compute.instanceGroupManagers.update" in result.seen


def test_bucket_that_cannot_be_listed(cloud: RestCloud, target: Target, google: Google) -> None:
    google.answers[f"{BUCKET}/iam/testPermissions"] = {"permissions": ["storage.objects.get"]}
    (result,) = bucket_access(cloud, target)
    assert result.verdict == "fail"
    assert "storage.objects.list" in result.seen


def test_template_that_names_no_fleet(cloud: RestCloud, target: Target, google: Google) -> None:
    template = google.answers[f"{PROJECT}/global/instanceTemplates/t-2026"]
    template["properties"]["metadata"] = {}
    (result,) = bucket_access(cloud, target)
    assert result.verdict == "fail"


def test_quota_is_counted_at_full_surge(cloud: RestCloud, target: Target, google: Google) -> None:
    # 10 at most + 3 surge + 2 standby − 3 there are = 12 more VMs of 2 vCPUs.
    google.answers[REGION]["quotas"][0] = {"metric": "CPUS", "limit": 29.0, "usage": 6.0}
    results = list(quota(cloud, target))
    assert verdicts(results) == {
        "quota CPUS": "fail",
        "quota INSTANCES": "ok",
        "quota SSD_TOTAL_GB": "ok",
    }
    assert results[0].seen == "23 free of 29, 24 needed for 15 VMs at full surge"
    assert results[0].mend == "Ask for 1 more in europe-west1."


def test_quota_that_just_suffices(cloud: RestCloud, target: Target, google: Google) -> None:
    google.answers[REGION]["quotas"][0] = {"metric": "CPUS", "limit": 30.0, "usage": 6.0}
    assert verdicts(list(quota(cloud, target)))["quota CPUS"] == "ok"


def test_quota_that_the_region_does_not_state(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[REGION]["quotas"] = []
    assert set(verdicts(list(quota(cloud, target))).values()) == {"warn"}


@pytest.mark.parametrize(
    ("machine_type", "metric"),
    [
        ("e2-standard-2", "CPUS"),
        ("n1-standard-1", "CPUS"),
        ("n2-standard-4", "N2_CPUS"),
        ("c3-highcpu-4", "C3_CPUS"),
    ],
)
def test_quota_metric_of_a_family(machine_type: str, metric: str) -> None:
    assert quota_metric(machine_type) == metric


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"managed": {"status": "PROVISIONING", "domainStatus": {"p": "PROVISIONING"}}}, "warn"),
        ({"managed": {"status": "PROVISIONING_FAILED_PERMANENTLY", "domainStatus": {"p": "FAILED"}}}, "fail"),
        ({"managed": {"status": "ACTIVE"}, "expireTime": "2026-01-20T00:00:00.000-08:00"}, "ok"),
        ({"managed": None, "expireTime": "2026-01-20T00:00:00.000-08:00"}, "warn"),
        ({"managed": None, "expireTime": "2026-01-10T00:00:00.000-08:00"}, "fail"),
        ({"managed": None, "expireTime": ""}, "warn"),
    ],
)  # fmt: skip
def test_certificates_by_state_and_age(
    cloud: RestCloud, target: Target, google: Google, change: dict[str, Any], verdict: str
) -> None:
    google.answers[f"{PROJECT}/global/sslCertificates/skfleet-1a2b3c4d"].update(change)
    found = verdicts(list(certificates(cloud, target)))
    assert found["external certificate skfleet-1a2b3c4d"] == verdict
    assert found["internal certificate skfleet-internal"] == "ok"


def test_a_region_out_of_service_has_no_internal_load_balancer(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    del google.answers[f"{REGION}/targetHttpsProxies/skfleet-internal"]
    assert verdicts(list(certificates(cloud, target)))["internal certificate"] == "fail"


def test_certificate_manager_is_not_looked_into(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[f"{REGION}/targetHttpsProxies/skfleet-internal"] = {
        "certificateManagerCertificates": ["projects/p/locations/europe-west1/certificates/inside"]
    }
    assert verdicts(list(certificates(cloud, target)))["internal certificate"] == "warn"


@pytest.mark.parametrize(
    ("iap", "parent", "verdict"),
    [
        ({"enabled": True}, "organizations/42", "ok"),
        ({"enabled": True}, "folders/7", "ok"),
        ({"enabled": True}, "", "fail"),
        ({"enabled": True, "oauth2ClientId": "id"}, "", "ok"),
        ({"enabled": False}, "organizations/42", "fail"),
        ({}, "organizations/42", "fail"),
    ],
)
def test_iap_needs_an_organisation_or_a_client(
    cloud: RestCloud, target: Target, google: Google, iap: dict[str, Any], parent: str, verdict: str
) -> None:
    google.answers[f"{PROJECT}/global/backendServices/skfleet-external"]["iap"] = iap
    google.answers["resourcemanager/v3/projects/example-project"]["parent"] = parent
    (result,) = oauth(cloud, target)
    assert result.verdict == verdict


def test_environment_of_another_backend_service(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[f"{PROJECT}/global/backendServices/skfleet-external"]["id"] = "999"
    assert verdicts(list(environment(cloud, target)))["environment"] == "fail"


def test_documents_that_are_not_there_yet(cloud: RestCloud, target: Target, google: Google) -> None:
    del google.answers[f"{FOLDER}environment.json"]
    del google.answers[f"{FOLDER}desired.json"]
    found = verdicts(list(environment(cloud, target)))
    assert found == {"environment": "fail", "release": "warn"}


def test_no_way_out_is_a_warning_no_private_access_a_failure(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[f"{REGION}/routers"] = {}
    google.answers[f"{REGION}/subnetworks/skfleet"]["privateIpGoogleAccess"] = False
    found = verdicts(list(way_out(cloud, target)))
    assert found == {"private Google access": "fail", "nat": "warn"}


def test_nat_of_another_network_does_not_count(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[f"{REGION}/routers"]["items"][0]["network"] = f"{LINK}/global/networks/other"
    assert verdicts(list(way_out(cloud, target)))["nat"] == "warn"


@pytest.mark.parametrize(
    ("constraint", "rule", "verdict"),
    [
        ("compute.disableGlobalLoadBalancing", {"enforce": True}, "fail"),
        ("compute.disableGlobalLoadBalancing", {"enforce": False}, "ok"),
        ("iam.disableServiceAccountCreation", {"enforce": True}, "fail"),
        (TYPES, {"denyAll": True}, "fail"),
        (TYPES, {"values": {"deniedValues": ["in:EXTERNAL"]}}, "fail"),
        (TYPES, {"values": {"allowedValues": ["in:ALL"]}}, "ok"),
        (IMAGES, {"values": {"allowedValues": ["projects/debian-cloud"]}}, "fail"),
        (IMAGES, {"values": {"allowedValues": ["is:projects/example-project"]}}, "warn"),
        (IMAGES, {"values": {"allowedValues": ["projects/debian-cloud", "projects/example-project"]}}, "ok"),
        (IMAGES, {"values": {"allowedValues": ["under:organizations/42"]}}, "ok"),
        ("iam.allowedPolicyMemberDomains", {"values": {"allowedValues": ["C01"]}}, "warn"),
        ("gcp.restrictNonCmekServices", {"values": {"deniedValues": ["storage.googleapis.com"]}}, "warn"),
        ("compute.disableGuestAttributesAccess", {"enforce": True}, "fail"),
        ("compute.managed.disableGuestAttributesAccess", {"enforce": True}, "fail"),
        ("compute.disableGlobalCloudArmorPolicy", {"enforce": True}, "fail"),
        ("iam.managed.disableServiceAccountCreation", {"enforce": True}, "fail"),
        ("iap.requireGlobalIapWebDisabled", {"enforce": True}, "fail"),
        ("iap.requireRegionalIapWebDisabled", {"enforce": True}, "ok"),  # IAP is off inside
        ("compute.restrictCloudNATUsage", {"denyAll": True}, "fail"),
        ("compute.restrictCloudNATUsage", {"values": {"allowedValues": [SUBNETWORK]}}, "ok"),
        ("compute.restrictNonConfidentialComputing",
         {"values": {"deniedValues": ["compute.googleapis.com"]}}, "fail"),
        ("gcp.restrictServiceUsage", {"values": {"deniedValues": ["oslogin.googleapis.com"]}}, "fail"),
        ("gcp.restrictServiceUsage", {"values": {"deniedValues": ["sql.googleapis.com"]}}, "ok"),
        ("gcp.resourceLocations", {"values": {"allowedValues": ["in:europe-west1-locations"]}}, "ok"),
        ("gcp.resourceLocations", {"values": {"allowedValues": ["us-east1"]}}, "fail"),
        ("gcp.resourceLocations", {"values": {"allowedValues": ["in:eu-locations"]}}, "warn"),
        ("gcp.resourceLocations", {"values": {"deniedValues": ["in:asia-locations"]}}, "warn"),
        ("iam.workloadIdentityPoolProviders", {"values": {"allowedValues": ["https://example.com"]}}, "warn"),
        ("iam.managed.allowedPolicyMembers", {"enforce": True}, "warn"),
        ("compute.requireVpcFlowLogs", {"values": {"allowedValues": ["ESSENTIAL"]}}, "warn"),
        # What the design does not lean on.
        ("compute.requireOsLogin", {"enforce": True}, "ok"),
        ("compute.vmExternalIpAccess", {"denyAll": True}, "ok"),
        ("compute.requireShieldedVm", {"enforce": True}, "ok"),
        ("iam.disableServiceAccountKeyCreation", {"enforce": True}, "ok"),
    ],
)  # fmt: skip
def test_policies_that_forbid_what_the_fleet_is_made_of(
    cloud: RestCloud,
    target: Target,
    google: Google,
    constraint: str,
    rule: dict[str, Any],
    verdict: str,
) -> None:
    google.answers[f"{ORG}/{constraint}:getEffectivePolicy"] = {"spec": {"rules": [rule]}}
    assert {result.verdict for result in policies(cloud, target)} == {verdict}


def test_trusting_host_keys_on_first_use_is_the_way_around_guest_attributes(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    constraint = "compute.disableGuestAttributesAccess"
    google.answers[f"{ORG}/{constraint}:getEffectivePolicy"] = {
        "spec": {"rules": [{"enforce": True}]}
    }
    (result,) = policies(cloud, target)
    assert "export SKFLEET_SSH_HOST_KEYS=first-use" in result.mend
    (result,) = policies(cloud, replace(target, host_keys="first-use"))
    assert result.verdict == "warn"


def test_policies_are_judged_before_there_is_a_fleet(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    del google.answers[f"{REGION}/instanceGroupManagers/skfleet-europe-west1"]
    (result,) = policies(cloud, target)
    assert result.verdict == "ok"


def test_an_api_that_is_off_is_named_with_the_command(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.status[f"{ORG}/compute.disableGlobalCloudArmorPolicy:getEffectivePolicy"] = 403
    (result,) = look("organisation policy", policies, cloud, target)
    assert result.mend == "Ask as somebody with roles/orgpolicy.policyViewer."
    metadata = {"service": "orgpolicy.googleapis.com"}
    google.details = [{"reason": "SERVICE_DISABLED", "metadata": metadata}]
    (result,) = look("organisation policy", policies, cloud, target)
    assert (
        result.mend == "gcloud services enable orgpolicy.googleapis.com --project=example-project"
    )


@pytest.mark.parametrize(
    ("places", "verdict"),
    [
        (["region/europe-west1", "europe-west1"], "ok"),
        (["region/europe-west1"], "warn"),
        (["europe-west1"], "warn"),
        ([], "fail"),
    ],
)  # fmt: skip
def test_iap_inside_needs_both_forms_of_its_audience(
    cloud: RestCloud, target: Target, google: Google, places: list[str], verdict: str
) -> None:
    google.answers[f"{REGION}/backendServices/skfleet-internal"]["iap"]["enabled"] = True
    google.answers[f"{FOLDER}environment.json"]["iap"]["audiences"] += [
        f"/projects/123456789012/{place}/backendServices/77" for place in places
    ]
    found = verdicts(list(environment(cloud, target)))
    assert found == {"environment": "ok", "internal environment": verdict, "release": "ok"}


def test_a_value_denied_by_any_of_its_names_is_denied() -> None:
    rule = {"values": {"allowedValues": ["A"], "deniedValues": ["is:B"]}}
    assert permits(rule, "A")
    assert not permits(rule, "A", "B")
    assert not permits(rule, "C")
    assert permits({"allowAll": True}, "C")


def test_what_may_not_be_seen_is_no_failure(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.status["serviceusage/v1/projects/example-project/services"] = 403
    (result,) = look("apis", apis, cloud, target)
    assert (result.verdict, result.name) == ("warn", "apis")
    assert "said Google" in result.seen


def test_a_fleet_that_is_not_there_is_a_failure(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    del google.answers[f"{REGION}/instanceGroupManagers/skfleet-europe-west1"]
    (result,) = look("quota", quota, cloud, target)
    assert result.verdict == "fail"
    assert "instanceGroupManagers" in result.seen


def test_google_out_of_reach_is_a_warning(cloud: RestCloud, target: Target, google: Google) -> None:
    google.down = True
    assert {result.verdict for result in examine(cloud, target)} == {"warn"}


def test_a_canary_version_is_the_template_looked_at(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    group = google.answers[f"{REGION}/instanceGroupManagers/skfleet-europe-west1"]
    group["versions"].append({"instanceTemplate": f"{LINK}/global/instanceTemplates/next"})
    template = google.answers[f"{PROJECT}/global/instanceTemplates/t-2026"]
    google.answers[f"{PROJECT}/global/instanceTemplates/next"] = {
        "properties": {**template["properties"], "machineType": "n2-standard-4"}
    }
    assert describe(cloud, target).machine_type == "n2-standard-4"


def test_image_without_trusted_keys_is_a_warning(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    del google.answers[f"{PROJECT}/global/images/skfleet-1"]["labels"]
    first, second = signatures(cloud, target)
    assert (first.verdict, second.verdict) == ("warn", "ok")
    assert "trusts no key" in first.seen


@pytest.mark.parametrize(("keys", "verdict"), [("1", "fail"), ("0", "warn")])
def test_unsigned_desired_release_fails_where_signatures_are_required(
    cloud: RestCloud, target: Target, google: Google, keys: str, verdict: str
) -> None:
    google.answers[f"{PROJECT}/global/images/skfleet-1"]["labels"]["trusted-keys"] = keys
    del google.answers[f"{BUCKET}/o/releases%2Fr-1.json.sig"]
    *_, last = signatures(cloud, target)
    assert (last.verdict, last.mend) == (verdict, "skfleet release sign r-1")
