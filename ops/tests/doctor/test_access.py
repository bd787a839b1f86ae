"""Who gets in: what the doctor says of ssh, of workflows, of callers through IAP."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from skfleet_operator.cloud import RestCloud
from skfleet_operator.doctor import access
from skfleet_operator.doctor.checks import ROLLOUT_PERMISSIONS, look
from skfleet_operator.doctor.policies import REQUIRED_APIS
from skfleet_operator.doctor.result import Result
from skfleet_operator.doctor.target import Target

from .conftest import DEPLOYER, IAM, POLICY, PROFILE, PROVIDER, REGION, UPTIME, Google

PERMISSIONS = "resourcemanager/v3/projects/example-project:testIamPermissions"
AUDIENCE = "/projects/123456789012/global/backendServices/1234567890123456789"


def one(results: Any) -> Result:
    (result,) = results
    assert isinstance(result, Result)
    return result


def test_a_login_that_holds_is_named(cloud: RestCloud, target: Target) -> None:
    result = one(access.login(cloud, target))
    assert (result.verdict, result.seen) == ("ok", f"{DEPLOYER} is sa_104857 on VMs")


def test_no_login_says_how_to_set_one_up(cloud: RestCloud, target: Target) -> None:
    result = one(access.login(cloud, replace(target, project="example-other")))
    assert (result.verdict, result.mend) == ("fail", "skfleet ssh setup")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({"sshPublicKeys": {}}, "fail"),
        ({"sshPublicKeys": {"f1": {"key": "k", "expirationTimeUsec": "1"}}}, "fail"),
        ({"posixAccounts": [{"primary": True, "username": "sa_2"}]}, "fail"),
        ({"posixAccounts": []}, "fail"),
    ],
)
def test_a_login_that_oslogin_does_not_know_is_a_failure(
    cloud: RestCloud, target: Target, google: Google, change: dict[str, Any], verdict: str
) -> None:
    google.answers[PROFILE] |= change
    result = one(access.login(cloud, target))
    assert (result.verdict, result.mend) == (verdict, "skfleet ssh setup")


def test_a_login_that_ends_soon_is_a_warning(cloud: RestCloud, target: Target) -> None:
    soon = replace(target, now=target.now + timedelta(minutes=45))
    assert one(access.login(cloud, soon)).verdict == "warn"
    late = replace(target, now=target.now + timedelta(minutes=91))
    assert one(access.login(cloud, late)).verdict == "fail"


def test_an_api_of_os_login_that_is_off_is_said(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.status[PROFILE] = 403
    google.details = [
        {"reason": "SERVICE_DISABLED", "metadata": {"service": "oslogin.googleapis.com"}}
    ]
    result = one(access.login(cloud, target))
    assert result.verdict == "warn"
    assert "gcloud services enable oslogin.googleapis.com" in result.mend


def test_a_tunnel_to_port_22_alone_is_read_from_the_policy(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.answers[PERMISSIONS] = {}
    assert one(access.tunnel(cloud, target)).verdict == "warn"
    google.answers[POLICY]["bindings"][2]["members"].append(f"serviceAccount:{DEPLOYER}")
    assert one(access.tunnel(cloud, target)).verdict == "ok"
    google.status[POLICY] = 403
    assert "may not read" in one(access.tunnel(cloud, target)).seen


def test_acting_as_the_vms_account_is_needed_for_ssh(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    fleet = "iam/v1/projects/-/serviceAccounts/skfleet-europe-west1@example-project.iam.gserviceaccount.com"
    google.answers[f"{fleet}:testIamPermissions"] = {}
    first, second = access.act_as(cloud, target)
    assert (first.verdict, second.verdict) == ("fail", "ok")
    assert "iam.serviceAccounts.actAs" in first.seen


@pytest.mark.parametrize(
    "lacks",
    [
        "compute.images.deprecate",
        "roles/compute.osAdminLogin",
        "roles/iap.tunnelResourceAccessor",
        "projects/example-project/roles/skfleet_builder",
        "roles/iam.serviceAccountUser on skfleet-bake-vm",
    ],
)
def test_a_builder_that_lacks_something_cannot_bake(
    cloud: RestCloud, target: Target, google: Google, lacks: str
) -> None:
    assert one(access.bake(cloud, target)).verdict == "ok"
    role = google.answers[f"{IAM}/roles/skfleet_builder"]
    role["includedPermissions"] = [p for p in role["includedPermissions"] if p != lacks]
    policy = google.answers[POLICY]
    policy["bindings"] = [b for b in policy["bindings"] if b["role"] != lacks]
    if "bake-vm" in lacks:
        vm = f"{IAM}/serviceAccounts/skfleet-bake-vm@example-project.iam.gserviceaccount.com"
        google.answers[f"{vm}:getIamPolicy"] = {}
    again = RestCloud(cloud._session)
    result = one(access.bake(again, target))
    assert result.verdict == "fail"
    assert lacks in result.seen


def test_without_a_pipeline_it_is_the_caller_who_bakes(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    builder = f"{IAM}/serviceAccounts/skfleet-builder@example-project.iam.gserviceaccount.com"
    del google.answers[f"{builder}:getIamPolicy"]
    assert one(access.bake(cloud, target)).seen == "you may bake images"
    google.answers[PERMISSIONS] = {"permissions": ["compute.images.create"]}
    result = one(access.bake(cloud, target))
    assert result.verdict == "warn"
    assert "compute.images.deprecate" in result.seen


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"attributeCondition": "assertion.sub.startsWith('repo:o/n:environment:')"},
            "assertion.sub",
        ),
        ({"attributeCondition": "assertion.repository == 'o/n'"}, "repository_id"),
        ({"attributeMapping": {"google.subject": "assertion.sub"}}, "assertion.environment"),
        ({"oidc": {"issuerUri": "https://example.com"}}, "issuer"),
        ({"disabled": True}, "disabled"),
        ({"state": "DELETED"}, "disabled"),
    ],
)
def test_a_provider_bound_to_what_github_formats_refuses_workflows(
    cloud: RestCloud, target: Target, google: Google, change: dict[str, Any], why: str
) -> None:
    google.answers[PROVIDER] |= change
    result = one(access.delivery(cloud, target))
    assert result.verdict == "fail"
    assert why in result.seen


def test_an_account_bound_to_a_formatted_subject_refuses_workflows(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    account = f"{IAM}/serviceAccounts/skfleet-deployer@example-project.iam.gserviceaccount.com"
    member = "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p"
    binding = {
        "role": "roles/iam.workloadIdentityUser",
        "members": [f"{member}/subject/repo:o/n:environment:canary"],
    }
    google.answers[f"{account}:getIamPolicy"] = {"bindings": [binding]}
    result = one(access.delivery(cloud, target))
    assert "skfleet-deployer trusts a formatted subject" in result.seen
    google.answers[f"{account}:getIamPolicy"] = {}
    assert "no workflow may act as" in one(access.delivery(cloud, target)).seen


def test_no_pipeline_is_no_fault(cloud: RestCloud, target: Target, google: Google) -> None:
    del google.answers[PROVIDER]
    assert one(access.delivery(cloud, target)).verdict == "ok"


@pytest.mark.parametrize(
    ("codes", "verdict"),
    [
        ([{"statusValue": 302}, {"statusValue": 401}], "fail"),
        ([{"statusClass": "STATUS_CLASS_3XX"}], "fail"),
        ([{"statusValue": 401}], "ok"),
        ([{"statusClass": "STATUS_CLASS_2XX"}], "ok"),
    ],
)
def test_uptime_checks_never_see_a_redirect(
    cloud: RestCloud, target: Target, google: Google, codes: list[dict[str, Any]], verdict: str
) -> None:
    ours = google.answers[UPTIME]["uptimeCheckConfigs"][0]
    ours["httpCheck"]["acceptedResponseStatusCodes"] = codes
    assert one(access.uptime(cloud, target)).verdict == verdict


# IAP's audience, as a call tells


class Edge:
    """A load balancer whose answer a test sets."""

    status = 200
    body: dict[str, Any] = {"release": "r-1"}
    headers: dict[str, str] = {}
    asked: list[tuple[str, str]] = []


@pytest.fixture
def edge(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Edge, str]]:
    made = Edge()
    made.asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked.append((self.path, self.headers["Authorization"]))
            data = json.dumps(made.body).encode()
            self.send_response(made.status)
            for name, value in {**made.headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(access, "signed_jwt", lambda url: f"signed for {url}")
    monkeypatch.setattr(access, "id_token", lambda client: f"for {client}")
    yield made, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_call_that_is_answered_verifies_the_audience(
    cloud: RestCloud, target: Target, edge: tuple[Edge, str]
) -> None:
    made, url = edge
    assert one(access.audience(cloud, replace(target, url=url))).verdict == "ok"
    assert made.asked == [("/version", f"Bearer signed for {url}")]
    one(access.audience(cloud, replace(target, url=url, iap_client="client")))
    assert made.asked[1][1] == "Bearer for client"


def test_the_audience_that_iap_really_signs_for_is_named(
    cloud: RestCloud, target: Target, edge: tuple[Edge, str]
) -> None:
    made, url = edge
    made.status = 401
    made.body = {"code": "unauthenticated", "where": "aud=/projects/1/global/backendServices/9"}
    result = one(access.audience(cloud, replace(target, url=url)))
    assert result.verdict == "fail"
    assert "IAP signs for /projects/1/global/backendServices/9" in result.seen
    assert AUDIENCE in result.seen


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (302, {"Location": "https://accounts.google.com/"}),
        (401, {"X-Goog-IAP-Generated-Response": "true"}),
        (503, {}),
    ],
)  # fmt: skip
def test_a_call_that_does_not_reach_a_vm_judges_nothing(
    cloud: RestCloud, target: Target, edge: tuple[Edge, str], status: int, headers: dict[str, str]
) -> None:
    made, url = edge
    made.status, made.headers, made.body = status, headers, {}
    assert one(access.audience(cloud, replace(target, url=url))).verdict == "warn"


def test_iap_inside_is_asked_too(
    cloud: RestCloud, target: Target, google: Google, edge: tuple[Edge, str]
) -> None:
    _, url = edge
    google.answers[f"{REGION}/backendServices/skfleet-internal"]["iap"]["enabled"] = True
    both = replace(target, url=url, internal_url=url)
    assert [r.verdict for r in access.audience(cloud, both)] == ["ok", "ok"]
    outside = access.audience(cloud, replace(target, url=url))
    assert [r.verdict for r in outside] == ["ok", "warn"]


def test_every_check_that_google_refuses_is_a_warning(
    cloud: RestCloud, target: Target, google: Google
) -> None:
    google.status |= dict.fromkeys(google.answers, 403)
    for check in (access.act_as, access.bake, access.delivery, access.uptime, access.tunnel):
        assert {r.verdict for r in look("x", check, cloud, target)} <= {"warn"}, check


def test_terraform_enables_and_grants_what_is_asked_for() -> None:
    """What the doctor demands, applying must bring: APIs, and the deployers' permissions."""
    terraform = Path(__file__).resolve().parents[3] / "terraform"
    enabled = set(re.findall(r'"([a-z]+)[.]googleapis[.]com"', (terraform / "apis.tf").read_text()))
    assert set(REQUIRED_APIS) <= enabled
    granted = set(re.findall(r'"(compute[.][A-Za-z.]+)"', (terraform / "operators.tf").read_text()))
    assert set(ROLLOUT_PERMISSIONS) - {"compute.instances.osAdminLogin"} <= granted
    assert "roles/compute.osAdminLogin" in (terraform / "operators.tf").read_text()
