"""What Terraform does in the cloud: bucket, load balancers' environment, template and group.

By the real storage client and the Compute API, as the terraform account. Nothing here reaches into the
stand-ins: whatever this can make, Terraform can.
"""

from __future__ import annotations

from typing import Any

from google.api_core import exceptions as api
from google.api_core.retry import Retry, if_exception_type
from google.cloud import storage

from skfleet import documents
from skfleet.documents.edge import Edge
from skfleet.documents.environment import Environment, IapPolicy, InternalPolicy
from skfleet_local.accounts import (
    ACCOUNTS,
    CALLERS,
    FLEET,
    INTERNAL_AUDIENCE,
    PROJECT,
    PROJECT_NUMBER,
)
from skfleet_local.addresses import Addresses
from skfleet_local.client import BearerToken, Compute
from skfleet_local.compute.project import (
    AUTOSCALER,
    BUCKET,
    EXTERNAL_BACKEND,
    GROUP,
    LIVENESS_CHECK,
    TEMPLATE,
    ZONES,
    Links,
    iap_audience,
)
from skfleet_local.compute.project import (
    FLEET as FLEET_NAME,
)

FLEET_URI = f"gs://{BUCKET}/fleets/{FLEET_NAME}"


def apply(addresses: Addresses, edge: Edge, vms: int, token: str) -> None:
    """Make what is missing; what is there stays, apart from the environment document."""
    compute = Compute(addresses, token)
    links = compute.links
    _bucket(addresses, token)
    backend = compute.call("GET", links.backend(EXTERNAL_BACKEND, region=False))
    audience = f"/projects/{PROJECT_NUMBER}/global/backendServices/{backend['id']}"
    _environment(addresses, token, audience)
    if compute.find(links.template(TEMPLATE)) is None:
        compute.change(f"{links.project}/global/instanceTemplates", template())
    if compute.find(links.manager(GROUP)) is None:
        body = manager(links, edge, vms)
        compute.change(f"{links.region}/instanceGroupManagers", body)
    if compute.find(links.autoscaler(AUTOSCALER)) is None:
        compute.change(f"{links.region}/autoscalers", autoscaler(links, vms))


def apply_artifacts(addresses: Addresses, token: str) -> None:
    """The bucket with the fleet's environment alone, for VMs that no group makes."""
    _bucket(addresses, token)
    _environment(addresses, token, iap_audience())


def template(name: str = TEMPLATE, image: str = "family/skfleet") -> dict[str, Any]:
    """An instance template: one metadata key of ours, Google's own, and the VMs' account."""
    return {
        "name": name,
        "properties": {
            "machineType": "e2-standard-2",
            "metadata": {
                "items": [
                    {"key": "skfleet-fleet", "value": FLEET_URI},
                    {"key": "enable-guest-attributes", "value": "TRUE"},
                ]
            },
            "serviceAccounts": [
                {
                    "email": FLEET.email,
                    "scopes": ["https://www.googleapis.com/auth/cloud-platform"],
                }
            ],
            "disks": [
                {
                    "boot": True,
                    "autoDelete": True,
                    "initializeParams": {
                        "sourceImage": f"projects/{PROJECT}/global/images/{image}"
                    },
                }
            ],
            "networkInterfaces": [{"network": f"projects/{PROJECT}/global/networks/default"}],
            "tags": {"items": ["skfleet"]},
        },
    }


def manager(links: Links, edge: Edge, vms: int) -> dict[str, Any]:
    """The regional managed instance group."""
    listeners = edge.listeners
    return {
        "name": GROUP,
        "baseInstanceName": GROUP,
        "instanceTemplate": links.template(TEMPLATE),
        "targetSize": vms,
        "distributionPolicy": {"zones": [{"zone": links.zone(zone)} for zone in ZONES]},
        "namedPorts": [
            {"name": item.name, "port": item.port}
            for item in (listeners.iap, listeners.internal, listeners.health)
        ],
        "autoHealingPolicies": [
            {
                "healthCheck": links.health_check(LIVENESS_CHECK),
                "initialDelaySec": round(edge.health_checks.liveness.initial_delay_s),
            }
        ],
        "updatePolicy": {
            "type": "OPPORTUNISTIC",
            "minimalAction": "REPLACE",
            "maxSurge": {"fixed": len(ZONES)},
            "maxUnavailable": {"fixed": 0},
        },
    }


def autoscaler(links: Links, vms: int) -> dict[str, Any]:
    """The regional autoscaler: never fewer than the fleet was made with, twice as many at most."""
    return {
        "name": AUTOSCALER,
        "target": links.manager(GROUP),
        "autoscalingPolicy": {
            "mode": "ON",
            "minNumReplicas": vms,
            "maxNumReplicas": max(2 * vms, vms + 2),
            "coolDownPeriodSec": 60,
            "cpuUtilization": {"utilizationTarget": 0.6},
        },
    }


def environment(iap_audience: str) -> Environment:
    """environment.json: who may call."""
    return Environment(
        fleet=FLEET_NAME,
        iap=IapPolicy(audiences=[iap_audience]),
        internal=InternalPolicy(
            audiences=[INTERNAL_AUDIENCE],
            allowed_callers=[ACCOUNTS[name].email for name in CALLERS],
        ),
    )


def _storage(addresses: Addresses, token: str) -> Any:
    return storage.Client(
        project=PROJECT,
        credentials=BearerToken(token),
        client_options={"api_endpoint": addresses.storage_url},
    )


def _bucket(addresses: Addresses, token: str) -> None:
    client = _storage(addresses, token)
    # The server behind the proxy may still be starting.
    starting = Retry(
        if_exception_type(api.ServiceUnavailable), initial=0.1, maximum=0.1, timeout=10
    )
    try:
        client.get_bucket(BUCKET, timeout=5, retry=starting)
    except api.NotFound:
        client.create_bucket(BUCKET, location="US-CENTRAL1", timeout=5)


def _environment(addresses: Addresses, token: str, audience: str) -> None:
    blob = _storage(addresses, token).bucket(BUCKET).blob(f"fleets/{FLEET_NAME}/environment.json")
    data = documents.write(environment(audience))
    try:
        if blob.download_as_bytes(timeout=5) == data:
            return
    except api.NotFound:
        pass
    blob.upload_from_string(data, content_type="application/json", timeout=5)
