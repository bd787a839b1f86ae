"""Google at its HTTP edge: canned answers in the recorded shape, by method and path."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from skfleet_operator import cloud as cloud_module
from skfleet_operator.cloud import RestCloud
from skfleet_operator.doctor.access import BAKE_PERMISSIONS
from skfleet_operator.doctor.target import Target
from skfleet_operator.ssh.login import Login, write_login
from skfleet_testing import discovery

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
LINK = "https://www.googleapis.com/compute/v1/projects/example-project"
PROJECT = "compute/compute/v1/projects/example-project"
REGION = f"{PROJECT}/regions/europe-west1"
ORG = "orgpolicy/v2/projects/example-project/policies"
IAM = "iam/v1/projects/example-project"
PROVIDER = f"{IAM}/locations/global/workloadIdentityPools/skfleet-github/providers/github"
UPTIME = "monitoring/v3/projects/example-project/uptimeCheckConfigs"
POLICY = "resourcemanager/v3/projects/example-project:getIamPolicy"
DEPLOYER = "skfleet-deployer@example-project.iam.gserviceaccount.com"
PROFILE = f"oslogin/v1/users/{DEPLOYER}/loginProfile"
# The published description of each service that is asked.
APIS = {
    "compute": "compute.v1",
    "iam": "iam.v1",
    "monitoring": "monitoring.v3",
    "orgpolicy": "orgpolicy.v2",
    "oslogin": "oslogin.v1",
    "resourcemanager": "cloudresourcemanager.v3",
    "serviceusage": "serviceusage.v1",
    "storage": "storage.v1",
}


class Google(BaseAdapter):
    """Answers by `service/path`; what is not there is a 404. Tests change `answers` and `status`.

    Every request is held to the published description of its service.
    """

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = healthy()
        self.status: dict[str, int] = {}
        self.asked: list[str] = []
        self.down = False
        self.details: list[dict[str, Any]] = []

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        if self.down:
            raise requests.ConnectionError("connection refused")
        parts = urlsplit(str(request.url))
        service = parts.netloc.split(".")[0].replace("cloudresourcemanager", "resourcemanager")
        key = service + (parts.path if service == "storage" else unquote(parts.path))
        sent = json.loads(request.body) if request.body else None
        faults = discovery.request_faults(
            str(request.method), str(request.url), sent, APIS[service]
        )
        assert faults == [], f"{request.method} {request.url}"
        self.asked.append(f"{request.method} {key}")
        answer = self.answers.get(key)
        status = self.status.get(key, 200 if answer is not None else 404)
        if callable(answer):
            body = request.body or b"{}"
            answer = answer(parse_qs(parts.query), json.loads(body))
        if status >= 400:
            error = {"code": status, "message": "said Google", "details": self.details}
            answer = {"error": error}
        response = requests.Response()
        response.status_code = status
        response.url = str(request.url)
        response._content = json.dumps(answer).encode()
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Google:
    monkeypatch.setattr(cloud_module, "PATIENCE_S", 0.0)
    return Google()


@pytest.fixture
def session(google: Google) -> requests.Session:
    made = requests.Session()
    made.mount("https://", google)
    return made


@pytest.fixture
def cloud(session: requests.Session) -> RestCloud:
    return RestCloud(session)


@pytest.fixture
def target(logins: Path) -> Target:
    return Target("example-project", "europe-west1", "skfleet-europe-west1", NOW, logins)


@pytest.fixture
def logins(tmp_path: Path) -> Path:
    """What `skfleet ssh setup` left, an hour and a half before it expires."""
    login = Login(
        project="example-project", account=DEPLOYER, user="sa_104857", fingerprint="f1",
        expires_at=NOW + timedelta(minutes=90),
    )  # fmt: skip
    write_login(tmp_path / "ssh/example-project", b"a key", login)
    return tmp_path / "ssh"


def all_permissions(query: dict[str, list[str]], body: dict[str, Any]) -> dict[str, Any]:
    return {"permissions": [*query.get("permissions", []), *body.get("permissions", [])]}


def healthy() -> dict[str, Any]:
    """A project in which nothing is wrong."""
    apis = (
        "compute dns iam iamcredentials iap logging monitoring oslogin serviceusage storage bigquery"
    ).split()
    template = {
        "name": "t-2026",
        "properties": {
            "machineType": "e2-standard-2",
            "metadata": {
                "items": [
                    {"key": "enable-oslogin", "value": "TRUE"},
                    {
                        "key": "skfleet-fleet",
                        "value": "gs://example-project-skfleet/fleets/skfleet-europe-west1",
                    },
                ]
            },
            "disks": [
                {
                    "initializeParams": {
                        "diskSizeGb": "20",
                        "sourceImage": "projects/example-project/global/images/skfleet-1",
                    }
                }
            ],
            "serviceAccounts": [
                {"email": "skfleet-europe-west1@example-project.iam.gserviceaccount.com"}
            ],
            "networkInterfaces": [
                {"subnetwork": f"{LINK}/regions/europe-west1/subnetworks/skfleet"}
            ],
        },
    }
    return {
        "serviceusage/v1/projects/example-project/services": {
            "services": [{"name": f"projects/1/services/{a}.googleapis.com"} for a in apis]
        },
        "resourcemanager/v3/projects/example-project:testIamPermissions": all_permissions,
        "resourcemanager/v3/projects/example-project": {
            "name": "projects/123456789012",
            "parent": "organizations/42",
        },
        f"{REGION}/instanceGroupManagers/skfleet-europe-west1": {
            "name": "skfleet-europe-west1",
            "targetSize": 3,
            "targetStoppedSize": 2,
            "updatePolicy": {"maxSurge": {"fixed": 3, "calculated": 3}},
            "versions": [
                {"instanceTemplate": f"{LINK}/global/instanceTemplates/t-2026?uniqueId=7"}
            ],
            "distributionPolicy": {"zones": [{"zone": f"{LINK}/zones/europe-west1-b"}]},
        },
        f"{REGION}/autoscalers/skfleet-europe-west1": {
            "autoscalingPolicy": {"minNumReplicas": 3, "maxNumReplicas": 10}
        },
        f"{PROJECT}/global/instanceTemplates/t-2026": template,
        f"{PROJECT}/zones/europe-west1-b/machineTypes/e2-standard-2": {"guestCpus": 2},
        REGION: {
            "quotas": [
                {"metric": "CPUS", "limit": 72.0, "usage": 6.0},
                {"metric": "INSTANCES", "limit": 100.0, "usage": 3.0},
                {"metric": "SSD_TOTAL_GB", "limit": 500.0, "usage": 60.0},
            ]
        },
        f"{PROJECT}/global/targetHttpsProxies/skfleet-external": {
            "sslCertificates": [f"{LINK}/global/sslCertificates/skfleet-1a2b3c4d"]
        },
        f"{REGION}/targetHttpsProxies/skfleet-internal": {
            "sslCertificates": [f"{LINK}/regions/europe-west1/sslCertificates/skfleet-internal"]
        },
        f"{PROJECT}/global/sslCertificates/skfleet-1a2b3c4d": {
            "name": "skfleet-1a2b3c4d",
            "managed": {"status": "ACTIVE", "domainStatus": {"predict.example.com": "ACTIVE"}},
            "expireTime": "2026-04-01T00:00:00.000-07:00",
        },
        f"{REGION}/sslCertificates/skfleet-internal": {
            "name": "skfleet-internal",
            "expireTime": "2027-01-01T00:00:00.000-08:00",
        },
        f"{PROJECT}/global/backendServices/skfleet-external": {
            "id": "1234567890123456789",
            "iap": {"enabled": True},
        },
        f"{REGION}/backendServices/skfleet-internal": {"id": "77", "iap": {"enabled": False}},
        **healthy_access(),
        "storage/storage/v1/b/example-project-skfleet/iam/testPermissions": all_permissions,
        "storage/storage/v1/b/example-project-skfleet/o/fleets%2Fskfleet-europe-west1%2Fenvironment.json": {
            "schema_version": 1,
            "fleet": "skfleet-europe-west1",
            "iap": {
                "audiences": ["/projects/123456789012/global/backendServices/1234567890123456789"]
            },
            "internal": {"identity": "id-token", "audiences": [], "allowed_callers": []},
        },
        "storage/storage/v1/b/example-project-skfleet/o/fleets%2Fskfleet-europe-west1%2Fdesired.json": {
            "schema_version": 1,
            "fleet": "skfleet-europe-west1",
            "current": {"release": "r-1"},
        },
        "storage/storage/v1/b/example-project-skfleet/o/releases%2Fr-1.json.sig": {
            "name": "releases/r-1.json.sig"
        },
        f"{PROJECT}/global/images/skfleet-1": {
            "name": "skfleet-1",
            "labels": {"trusted-keys": "1"},
        },
        f"{REGION}/subnetworks/skfleet": {
            "name": "skfleet",
            "network": f"{LINK}/global/networks/skfleet",
            "privateIpGoogleAccess": True,
        },
        f"{REGION}/routers": {
            "items": [
                {
                    "name": "skfleet-europe-west1",
                    "network": f"{LINK}/global/networks/skfleet",
                    "nats": [{}],
                }
            ]
        },
    }


def healthy_access() -> dict[str, Any]:
    """Who gets in, with a delivery pipeline: its accounts, its provider, its uptime check."""
    workload = "principalSet://iam.googleapis.com/projects/123456789012/locations/global/workloadIdentityPools"
    builder = "skfleet-builder@example-project.iam.gserviceaccount.com"
    binding = {
        "role": "roles/iam.workloadIdentityUser",
        "members": [f"{workload}/skfleet-github/attribute.environment/bake"],
    }
    accounts = {
        f"{IAM}/serviceAccounts/skfleet-{role}@example-project.iam.gserviceaccount.com:getIamPolicy": {
            "bindings": [binding]
        }
        for role in ("planner", "builder", "publisher", "deployer")
    }
    domain = "@example-project.iam.gserviceaccount.com"
    vms = ("skfleet-europe-west1", "skfleet-loadgen")
    return {
        **accounts,
        **{
            f"iam/v1/projects/-/serviceAccounts/{vm}{domain}:testIamPermissions": (all_permissions)
            for vm in vms
        },
        f"{IAM}/serviceAccounts/skfleet-bake-vm@example-project.iam.gserviceaccount.com:getIamPolicy": {
            "bindings": [
                {"role": "roles/iam.serviceAccountUser", "members": [f"serviceAccount:{builder}"]}
            ]
        },
        f"{IAM}/roles/skfleet_builder": {"includedPermissions": list(BAKE_PERMISSIONS)},
        POLICY: {
            "bindings": [
                {"role": role, "members": [f"serviceAccount:{builder}"]}
                for role in (
                    "projects/example-project/roles/skfleet_builder",
                    "roles/compute.osAdminLogin",
                    "roles/iap.tunnelResourceAccessor",
                )
            ]
        },
        PROVIDER: {
            "state": "ACTIVE",
            "oidc": {"issuerUri": "https://token.actions.githubusercontent.com"},
            "attributeMapping": {
                "google.subject": "assertion.sub",
                "attribute.repository_id": "assertion.repository_id",
                "attribute.environment": "assertion.environment",
            },
            "attributeCondition": "assertion.repository_id == '1' && assertion.repository_owner_id == '2'",
        },
        UPTIME: {
            "uptimeCheckConfigs": [
                {
                    "displayName": "skfleet external",
                    "httpCheck": {"acceptedResponseStatusCodes": [{"statusValue": 401}]},
                },
                {"displayName": "another's", "httpCheck": {}},
            ]
        },
        PROFILE: {
            "name": DEPLOYER,
            "posixAccounts": [{"primary": True, "username": "sa_104857"}],
            "sshPublicKeys": {"f1": {"key": "ssh-ed25519 AAAA skfleet"}},
        },
    }
