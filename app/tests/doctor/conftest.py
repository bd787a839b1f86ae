"""Google at its HTTP edge: canned answers in the recorded shape, by method and path."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from requests.adapters import BaseAdapter

from skfleet.doctor.checks import Target
from skfleet.doctor.cloud import RestCloud

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
LINK = "https://www.googleapis.com/compute/v1/projects/example-project"
PROJECT = "compute/compute/v1/projects/example-project"
REGION = f"{PROJECT}/regions/europe-west1"
ORG = "orgpolicy/v2/projects/example-project/policies"


class Google(BaseAdapter):
    """Answers by `service/path`; what is not there is a 404. Tests change `answers` and `status`."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: dict[str, Any] = healthy()
        self.status: dict[str, int] = {}
        self.asked: list[str] = []
        self.down = False

    def send(self, request: requests.PreparedRequest, **_: Any) -> requests.Response:  # type: ignore[override]
        if self.down:
            raise requests.ConnectionError("connection refused")
        parts = urlsplit(str(request.url))
        key = (
            parts.netloc.split(".")[0].replace("cloudresourcemanager", "resourcemanager")
            + parts.path
        )
        self.asked.append(f"{request.method} {key}")
        answer = self.answers.get(key)
        status = self.status.get(key, 200 if answer is not None else 404)
        if callable(answer):
            body = request.body or b"{}"
            answer = answer(parse_qs(parts.query), json.loads(body))
        if status >= 400:
            answer = {"error": {"code": status, "message": "said Google"}}
        response = requests.Response()
        response.status_code = status
        response.url = str(request.url)
        response._content = json.dumps(answer).encode()
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def google() -> Google:
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
def target() -> Target:
    return Target("example-project", "europe-west1", "skfleet-europe-west1", NOW)


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
