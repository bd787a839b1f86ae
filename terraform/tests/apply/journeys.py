"""The journeys, as data: an environment to start from, and steps that change it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REMOVED = object()


@dataclass(frozen=True)
class Step:
    """One apply: what changes before it, what holds after it. It ends with an empty plan unless targeted."""

    name: str
    set: dict[str, Any] = field(default_factory=dict)  # dotted path of a variable => value
    edge: dict[str, Any] = field(default_factory=dict)  # the same in edge.yml
    slo: dict[str, Any] = field(default_factory=dict)  # the same in slo.yml
    requests: tuple[tuple[str, str, Any], ...] = ()  # what operators do by the API before the apply
    targets: tuple[str, ...] = ()
    replace: tuple[str, ...] = ()
    without: tuple[str, ...] = ()  # types of resources that the plan must not touch
    plans: str | None = None  # the plan's exact summary
    refused: str | None = None  # the refusal that is documented, as a pattern
    shows: dict[str, dict[str, Any]] = field(default_factory=dict)  # API path => member => value
    like: str | None = None  # the step whose resources, and what they are set to, are restored


@dataclass(frozen=True)
class Journey:
    """An environment and what happens to it; a destroy follows the last step."""

    name: str
    environment: str  # environments/<environment>.tfvars
    project: str  # the project_id in that file
    steps: tuple[Step, ...]
    fresh: bool = False  # no API is on but those that docs/deploy.md turns on by hand


REGION = "compute/v1/projects/{project}/regions/europe-west1"
GROUP = f"{REGION}/instanceGroupManagers/skfleet-europe-west1"
AUTOSCALER = f"{REGION}/autoscalers/skfleet-europe-west1"
ROUTER = f"{REGION}/routers/skfleet-europe-west1"
INTERNAL_BACKEND = f"{REGION}/backendServices/skfleet-internal"
EXTERNAL_BACKEND = "compute/v1/projects/{project}/global/backendServices/skfleet-external"
EXTERNAL_PROXY = "compute/v1/projects/{project}/global/targetHttpsProxies/skfleet-external"
INTERNAL_PROXY = f"{REGION}/targetHttpsProxies/skfleet-internal"

# What a step that precedes the first image must not touch.
NEEDS_AN_IMAGE = (
    "google_compute_instance_template",
    "google_compute_region_instance_group_manager",
    "google_compute_region_autoscaler",
    "google_compute_instance",
)
NOTHING = "0 to add, 0 to change, 0 to destroy"
EVERYTHING = Step("everything")

UNITED_STATES = {
    "zones": ["us-central1-a", "us-central1-b", "us-central1-c"],
    "range": "10.20.0.0/24",
    "proxy_range": "10.20.8.0/23",
    "internal_certificates": [
        "projects/example-skfleet-dev/regions/us-central1/sslCertificates/skfleet-internal"
    ],
}
IMAGE = "projects/example-skfleet-dev/global/images/skfleet-"
INTERNAL_CERTIFICATE = (
    "projects/example-skfleet-dev/regions/europe-west1/sslCertificates/skfleet-internal"
)


def enable(*services: str) -> tuple[tuple[str, str, Any], ...]:
    return tuple(
        ("POST", f"serviceusage/v1/projects/{{project}}/services/{s}.googleapis.com:enable", {})
        for s in services
    )


def health(
    interval_s: int, timeout_s: int, healthy: int, unhealthy: int, check: str
) -> dict[str, Any]:
    return {
        f"health_checks.{check}.interval_s": interval_s,
        f"health_checks.{check}.timeout_s": timeout_s,
        f"health_checks.{check}.healthy_threshold": healthy,
        f"health_checks.{check}.unhealthy_threshold": unhealthy,
    }


def alert(long_window: str, short_window: str, factor: float) -> dict[str, Any]:
    return {
        "long_window": long_window,
        "short_window": short_window,
        "factor": factor,
        "budget_percent": 1,
    }


DEV, PROD, WORLD = "example-skfleet-dev", "example-skfleet-prod", "example-skfleet-world"

JOURNEYS = (
    Journey("dev", "dev", DEV, (EVERYTHING, Step("nothing new", plans=NOTHING))),
    Journey("prod", "prod", PROD, (EVERYTHING,)),
    Journey("two-regions", "two-regions", WORLD, (EVERYTHING,)),
    Journey(
        "first-day",
        "dev",
        DEV,
        (
            Step(
                "network",
                requests=enable("serviceusage", "cloudresourcemanager", "compute"),
                targets=("module.network",),
                without=NEEDS_AN_IMAGE,
            ),
            Step("bucket", targets=("module.artifacts",), without=NEEDS_AN_IMAGE),
            EVERYTHING,
        ),
        fresh=True,
    ),
    Journey(
        "images",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "add an image",
                set={"fleet.images.second": {"source": f"{IMAGE}second"}},
                plans="1 to add, 0 to change, 0 to destroy",
            ),
            Step(
                "remove the image in use",
                set={"fleet.initial_image": "second", "fleet.images.2026-01-15": REMOVED},
                refused="is already being used by",
            ),
            Step(
                "promote the image",
                set={"fleet.initial_image": "second"},
                requests=(
                    (
                        "PATCH",
                        GROUP,
                        {
                            "versions": [
                                {
                                    "name": "second",
                                    "instanceTemplate": "{template:skfleet-europe-west1/second}",
                                }
                            ]
                        },
                    ),
                    ("POST", f"{GROUP}/applyUpdatesToInstances", {"allInstances": True}),
                ),
                plans=NOTHING,
            ),
            Step(
                "remove the old image",
                set={"fleet.images.2026-01-15": REMOVED},
                plans="0 to add, 0 to change, 1 to destroy",
            ),
        ),
    ),
    Journey(
        "nat",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "reserve two addresses",
                set={"regions.europe-west1.nat.addresses": 2},
                shows={ROUTER: {"nats.0.natIpAllocateOption": "MANUAL_ONLY", "nats.0.natIps.#": 2}},
            ),
            Step(
                "release one",
                set={"regions.europe-west1.nat.addresses": 1},
                shows={ROUTER: {"nats.0.natIps.#": 1}},
            ),
            Step(
                "leave the addresses to Google",
                set={"regions.europe-west1.nat.addresses": 0},
                like="everything",
                shows={ROUTER: {"nats.0.natIpAllocateOption": "AUTO_ONLY", "nats.0.natIps.#": 0}},
            ),
            Step("switch NAT off", set={"regions.europe-west1.nat.enabled": False}),
            Step(
                "switch NAT on", set={"regions.europe-west1.nat.enabled": True}, like="everything"
            ),
        ),
    ),
    Journey(
        "size",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "three standby VMs",
                set={"fleet.standby.stopped": 3},
                shows={GROUP: {"targetStoppedSize": 3, "standbyPolicy.mode": "SCALE_OUT_POOL"}},
            ),
            Step(
                "no standby VMs",
                set={"fleet.standby.stopped": 0},
                like="everything",
                shows={GROUP: {"targetStoppedSize": 0, "standbyPolicy.mode": "MANUAL"}},
            ),
            Step(
                "a higher maximum",
                set={"fleet.autoscaling.max": 9},
                shows={AUTOSCALER: {"autoscalingPolicy.maxNumReplicas": 9}},
            ),
            # A rollout moves the minimum, so a plan leaves it alone: docs/deploy.md says how to set it.
            Step("a higher minimum", set={"fleet.autoscaling.min": 2}, plans=NOTHING),
            Step(
                "a higher minimum, replaced",
                replace=('module.fleet["europe-west1"].google_compute_region_autoscaler.this',),
                plans="1 to add, 0 to change, 1 to destroy",
                shows={
                    AUTOSCALER: {"autoscalingPolicy.minNumReplicas": 2},
                    GROUP: {"targetSize": 2},
                },
            ),
            Step("a lower maximum", set={"fleet.autoscaling.max": 2}),
        ),
    ),
    Journey(
        "channels",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "two addresses and a budget",
                set={
                    "observability.channels.emails": {
                        "first": "first@example.com",
                        "second": "second@example.com",
                    },
                    "observability.uptime": True,
                    "observability.budget": {
                        "billing_account": "000000-000000-000000",
                        "amount": 10,
                    },
                },
            ),
            Step(
                "remove one",
                set={"observability.channels.emails": {"second": "second@example.com"}},
            ),
            Step(
                "name the other anew",
                set={"observability.channels.emails": {"renamed": "second@example.com"}},
            ),
            Step("another host", set={"external.domains": ["other.dev.example.com"]}),
            Step(
                "a channel that exists",
                set={
                    "observability.channels": {
                        "existing": ["projects/example-skfleet-dev/notificationChannels/1234567890"]
                    }
                },
            ),
            Step("a budget that writes to nobody of ours", set={"observability.channels": {}}),
            Step(
                "nothing",
                set={
                    "observability.uptime": False,
                    "observability.budget": None,
                    "external.domains": ["predict.dev.example.com"],
                },
                like="everything",
            ),
        ),
    ),
    Journey(
        "certificates",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "another domain",
                set={"external.domains": ["predict.dev.example.com", "models.dev.example.com"]},
                shows={EXTERNAL_PROXY: {"sslCertificates.#": 2}},
            ),
            Step(
                "one domain",
                set={"external.domains": ["predict.dev.example.com"]},
                like="everything",
                shows={EXTERNAL_PROXY: {"sslCertificates.#": 1}},
            ),
            Step(
                "given certificates",
                set={
                    "external.certificates": [
                        "projects/example-skfleet-dev/global/sslCertificates/given"
                    ]
                },
            ),
            Step(
                "Google's certificates",
                set={"external.certificates": []},
                like="everything",
            ),
            Step(
                "a new internal certificate beside the old",
                set={
                    "regions.europe-west1.internal_certificates": [
                        f"{INTERNAL_CERTIFICATE}-new",
                        INTERNAL_CERTIFICATE,
                    ]
                },
                shows={INTERNAL_PROXY: {"sslCertificates.#": 2}},
            ),
            Step(
                "the new internal certificate alone",
                set={"regions.europe-west1.internal_certificates": [f"{INTERNAL_CERTIFICATE}-new"]},
                shows={INTERNAL_PROXY: {"sslCertificates.#": 1}},
            ),
            Step(
                "one of Certificate Manager",
                set={
                    "regions.europe-west1.internal_certificates": [],
                    "regions.europe-west1.internal_managed_certificates": [
                        "projects/example-skfleet-dev/locations/europe-west1/certificates/skfleet-internal"
                    ],
                },
            ),
            Step(
                "one of Compute Engine again",
                set={
                    "regions.europe-west1.internal_certificates": [INTERNAL_CERTIFICATE],
                    "regions.europe-west1.internal_managed_certificates": [],
                },
                like="everything",
            ),
        ),
    ),
    Journey(
        "regions",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step("another region", set={"regions.us-central1": UNITED_STATES}),
            Step("out of the load balancers", set={"regions.us-central1.serving": False}),
            Step("back", set={"regions.us-central1.serving": True}, like="another region"),
            Step("out again", set={"regions.us-central1.serving": False}),
            Step(
                "one region",
                set={"regions.us-central1": REMOVED},
                like="everything",
            ),
        ),
    ),
    Journey(
        "internal-iap",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "on",
                set={
                    "internal.iap": {
                        "enabled": True,
                        "members": {"users": "group:users@example.com"},
                    }
                },
                shows={INTERNAL_BACKEND: {"iap.enabled": True}},
            ),
            Step(
                "off",
                set={"internal.iap": {}},
                like="everything",
                shows={INTERNAL_BACKEND: {"iap.enabled": False}},
            ),
        ),
    ),
    # As low and as high as modules/*/bounds.tf allow, as far as the numbers leave each other room.
    Journey(
        "numbers",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "lowest",
                edge={
                    "listeners.iap.port": 1,
                    "listeners.internal.port": 2,
                    "listeners.health.port": 3,
                    **health(1, 1, 1, 1, "readiness"),
                    **health(1, 1, 1, 2, "liveness"),
                    "health_checks.liveness.initial_delay_s": 0,
                    "retries.attempts": 1,
                    "retries.per_try_timeout_s": 0.001,
                    "outliers.consecutive_gateway_failures": 1,
                    "outliers.interval_s": 1,
                    "outliers.ejection_s": 1,
                    "outliers.max_ejection_percent": 1,
                    "timeouts.request_s": 1,
                    "timeouts.drain_s": 1,
                    "timeouts.client_keepalive_s": 5,
                },
                slo={
                    "window_days": 1,
                    "objectives.availability.target": 0.01,
                    "objectives.latency.percentile": 1,
                    "objectives.latency.threshold_ms": 1,
                    "objectives.latency.slice_seconds": 60,
                    "objectives.latency.slices_target": 0.01,
                    "objectives.memory.max_mib": 1,
                    "alerts": {"page": [alert("1m", "1m", 0.001)]},
                },
                set={
                    "fleet.autoscaling.measured_boot_s": 0,
                    "fleet.autoscaling.cooldown_s": 1,
                    "fleet.autoscaling.stabilization_s": 1,
                    "fleet.autoscaling.cpu_target": 0.01,
                    "fleet.autoscaling.scale_in": {"replicas": 1, "window_s": 1},
                    "fleet.standby": {"stopped": 0, "initial_delay_s": 0},
                    "fleet.update": {"max_surge": 0, "max_unavailable": 3},
                    "fleet.max_rate_per_instance": 0.5,
                    "external.log_sample_rate": 0,
                    "internal.log_sample_rate": 0,
                    "external.armor.rate_limit": {"requests": 1, "interval_s": 10},
                },
            ),
            Step(
                "highest",
                edge={
                    "listeners.iap.port": 65533,
                    "listeners.internal.port": 65534,
                    "listeners.health.port": 65535,
                    **health(300, 300, 10, 9, "readiness"),
                    **health(300, 300, 10, 10, "liveness"),
                    "health_checks.liveness.initial_delay_s": 3600,
                    "retries.attempts": 25,
                    "retries.per_try_timeout_s": 138.4,
                    "outliers.consecutive_gateway_failures": 2147483647,
                    "outliers.interval_s": 315576000000,
                    "outliers.ejection_s": 315576000000,
                    "outliers.max_ejection_percent": 99,
                    "timeouts.request_s": 3600,
                    "timeouts.drain_s": 3600,
                    "timeouts.client_keepalive_s": 600,
                },
                slo={
                    "window_days": 30,
                    "objectives.availability.target": 0.99999,
                    "objectives.latency.percentile": 99.9,
                    "objectives.latency.threshold_ms": 315576000000,
                    "objectives.latency.slice_seconds": 86400,
                    "objectives.latency.slices_target": 0.999,
                    "objectives.memory.max_mib": 2147483647,
                    "alerts": {"ticket": [alert("30d", "1d", 999)]},
                },
                set={
                    "fleet.autoscaling.cooldown_s": 3600,
                    "fleet.autoscaling.stabilization_s": 3600,
                    "fleet.autoscaling.cpu_target": 1,
                    "fleet.autoscaling.scale_in": {"percent": 100, "window_s": 3600},
                    "fleet.standby": {"stopped": 9, "initial_delay_s": 3600},
                    "fleet.update": {"max_surge": 9, "max_unavailable": 9},
                    "fleet.max_rate_per_instance": 100000,
                    "external.log_sample_rate": 1,
                    "internal.log_sample_rate": 1,
                    "external.armor.rate_limit": {"requests": 1000000, "interval_s": 3600},
                },
            ),
            Step(
                "the other way round",
                set={"internal.allowed_ranges": ["10.0.0.0/8"]},
                edge={
                    **health(299, 1, 1, 10, "readiness"),
                    **health(300, 1, 1, 10, "liveness"),
                    "outliers.max_ejection_percent": 50,
                },
            ),
            Step(
                "another keep-alive for guarded callers", edge={"timeouts.client_keepalive_s": 300}
            ),
        ),
    ),
    Journey(
        "options",
        "dev",
        DEV,
        (
            EVERYTHING,
            Step(
                "all that is optional",
                set={
                    "fleet.autoscaling.load_balancing_target": 0.7,
                    "fleet.autoscaling.predictive": True,
                    "fleet.autoscaling.scale_in": {"percent": 10, "window_s": 300},
                    "fleet.autoscaling.schedules": {
                        "day": {"min": 2, "cron": "0 7 * * 1-5", "duration_s": 3600}
                    },
                    "external.armor": {
                        "adaptive": True,
                        "allowed_ranges": ["198.51.100.0/24"],
                        "exempt_ranges": ["203.0.113.0/24"],
                    },
                    "external.programmatic_clients": ["123.apps.example.com"],
                    "external.log_sample_rate": 0.5,
                    "external.dns_zone": "example-com",
                    "internal.allowed_ranges": ["10.0.0.0/8"],
                    "internal.global_access": True,
                    "internal.log_sample_rate": 0.5,
                    "ssh_runners": ["runner@elsewhere.iam.gserviceaccount.com"],
                    "iap_oauth_client": {"client_id": "id", "client_secret": "secret"},
                    "loadgen": {"count": 2, "image": f"{IMAGE}loadgen"},
                    "delivery": {
                        "repository": "example/skfleet",
                        "repository_id": "1000000",
                        "owner_id": "2000000",
                    },
                },
            ),
            Step(
                "a schedule disabled",
                set={"fleet.autoscaling.schedules.day.disabled": True},
                shows={AUTOSCALER: {"autoscalingPolicy.scalingSchedules.day.disabled": True}},
            ),
            Step(
                "a schedule enabled",
                set={"fleet.autoscaling.schedules.day.disabled": False},
                like="all that is optional",
            ),
            Step(
                "all that can be off, off",
                set={
                    "fleet.autoscaling.load_balancing_target": None,
                    "fleet.autoscaling.predictive": False,
                    "fleet.autoscaling.scale_in": {"replicas": 1},
                    "fleet.autoscaling.schedules": {},
                    "external.armor": {"adaptive": False},
                    "external.programmatic_clients": [],
                    "external.log_sample_rate": 0,
                    "external.dns_zone": None,
                    "internal.allowed_ranges": [],
                    "internal.global_access": False,
                    "internal.log_sample_rate": 0,
                    "ssh_runners": [],
                    "iap_oauth_client": {},
                    "loadgen": {},
                    "delivery": None,
                },
                shows={
                    EXTERNAL_BACKEND: {"logConfig.enable": False, "iap.oauth2ClientId": None},
                    INTERNAL_BACKEND: {"logConfig.enable": False},
                    AUTOSCALER: {"autoscalingPolicy.loadBalancingUtilization": None},
                },
            ),
            Step(
                "as at first",
                set={
                    "external.armor": {},
                    "external.log_sample_rate": 1,
                    "internal.global_access": True,
                    "internal.log_sample_rate": 1,
                },
                like="everything",
            ),
        ),
    ),
)
