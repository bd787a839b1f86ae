"""Envoy's configuration: Google's two application load balancers, as edge.yml declares them.

Rendered whole at `up`; afterwards only the membership files change, and Envoy follows them. Envoy can
do more than Google's load balancers: nothing of that is used, so that what holds here holds there.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skfleet.documents.edge import Edge
from skfleet.files import replace_file
from skfleet_local.addresses import TLS_PORT, Addresses
from skfleet_local.run import Run

EXTERNAL = "external"
INTERNAL = "internal"

_TYPE = "type.googleapis.com/envoy"
_HTTP = f"{_TYPE}.extensions.filters.http"

# What an operator asks of a request that failed; JSON, one line each.
_ACCESS_FIELDS = {
    "time": "%START_TIME%",
    "listener": "%FILTER_CHAIN_NAME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "upstream": "%UPSTREAM_HOST%",
    "release": "%RESP(X-SKFLEET-RELEASE)%",
    "duration_ms": "%DURATION%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A VM as the load balancers see it."""

    address: str
    zone: str
    draining: bool = False


def base_id(addresses: Addresses) -> int:
    """A shared memory id of the run's own, apart from any Envoy with the default one."""
    return zlib.crc32(addresses.subnet.encode()) % 1_000_000 + 1000


def config(run: Run, addresses: Addresses, edge: Edge) -> dict[str, Any]:
    """The bootstrap document. `edge` is in local time already."""
    return {
        "node": {"id": f"skfleet-{addresses.subnet}", "cluster": "skfleet-local"},
        "admin": {"address": _pipe(run.envoy_admin_socket)},
        # `skfleet-local break retries` sets a value of it; without the layer Envoy refuses.
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "static_resources": {
            "listeners": [
                _listener(EXTERNAL, addresses.external, run, edge, _iap_filters(edge)),
                _listener(INTERNAL, addresses.internal, run, edge, []),
            ],
            "clusters": [
                _cluster(EXTERNAL, run, edge),
                _cluster(INTERNAL, run, edge),
                _iap_cluster(run),
            ],
        },
    }


def membership(cluster: str, edge: Edge, endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """A cluster's endpoints as Envoy's discovery document."""
    port = (edge.listeners.iap if cluster == EXTERNAL else edge.listeners.internal).port
    zones: dict[str, list[dict[str, Any]]] = {}
    for endpoint in endpoints:
        entry: dict[str, Any] = {
            "endpoint": {
                "address": _address(endpoint.address, port),
                "health_check_config": {"port_value": edge.listeners.health.port},
            }
        }
        if endpoint.draining:
            entry["health_status"] = "DRAINING"
        zones.setdefault(endpoint.zone, []).append(entry)
    assignment = {
        "@type": f"{_TYPE}.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": cluster,
        "endpoints": [
            {"locality": {"zone": zone}, "lb_endpoints": entries}
            for zone, entries in sorted(zones.items())
        ],
    }
    return {"resources": [assignment]}


def write_membership(run: Run, edge: Edge, endpoints: list[Endpoint]) -> None:
    """Replace both files; Envoy sees each change as one."""
    for cluster in (EXTERNAL, INTERNAL):
        document = json.dumps(membership(cluster, edge, endpoints)).encode()
        replace_file(run.endpoints / f"{cluster}.json", document, mode=0o600)


def _address(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _pipe(path: Path) -> dict[str, Any]:
    return {"pipe": {"path": str(path), "mode": 0o600}}


def _seconds(value: float) -> str:
    return f"{value:.3f}s"


def _listener(
    name: str, address: str, run: Run, edge: Edge, filters: list[dict[str, Any]]
) -> dict[str, Any]:
    router = {"@type": f"{_HTTP}.router.v3.Router", "suppress_envoy_headers": True}
    manager = {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": name,
        "codec_type": "AUTO",
        "use_remote_address": True,
        "generate_request_id": True,
        "via": "1.1 google",
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": True,
        "common_http_protocol_options": {
            "idle_timeout": _seconds(edge.timeouts.client_keepalive_s)
        },
        "access_log": [_access_log(run)],
        "http_filters": [
            # By these a client could choose its own retries and timeouts; Google's has nothing alike.
            _strip("x-envoy-"),
            *filters,
            {"name": "router", "typed_config": router},
        ],
        "route_config": {
            "name": name,
            "virtual_hosts": [
                {
                    "name": name,
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": _route(name, edge)}],
                }
            ],
        },
    }
    tls = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "common_tls_context": {
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "tls_certificates": [
                {
                    "certificate_chain": {"filename": str(run.tls / "server.pem")},
                    "private_key": {"filename": str(run.tls / "server.key")},
                }
            ],
        },
    }
    return {
        "name": name,
        "address": _address(address, TLS_PORT),
        "filter_chains": [
            {
                "name": name,
                "transport_socket": {"name": "tls", "typed_config": tls},
                "filters": [{"name": "http", "typed_config": manager}],
            }
        ],
    }


def _route(cluster: str, edge: Edge) -> dict[str, Any]:
    return {
        "cluster": cluster,
        "timeout": _seconds(edge.timeouts.request_s),
        "retry_policy": {
            "retry_on": ",".join(edge.retries.conditions),
            "num_retries": edge.retries.attempts,
            "per_try_timeout": _seconds(edge.retries.per_try_timeout_s),
        },
    }


def _strip(prefix: str) -> dict[str, Any]:
    """Drop headers that only the load balancer may set."""
    mutation = {"remove_on_match": {"key_matcher": {"prefix": prefix}}}
    return {
        "name": f"strip-{prefix}",
        "typed_config": {
            "@type": f"{_HTTP}.header_mutation.v3.HeaderMutation",
            "mutations": {"request_mutations": [mutation]},
        },
    }


def _iap_filters(edge: Edge) -> list[dict[str, Any]]:
    """First what the client claims is dropped, then IAP is asked."""
    ask = {
        "@type": f"{_HTTP}.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "failure_mode_allow": False,
        "status_on_error": {"code": "ServiceUnavailable"},
        "allowed_headers": {
            "patterns": [
                {"exact": "authorization"},
                {"exact": "proxy-authorization"},
                {"exact": "x-requested-with"},
            ]
        },
        "http_service": {
            "server_uri": {
                "uri": "http://iap",
                "cluster": "iap",
                # Google's IAP is not ours to fail: a busy machine's may take as long as a request.
                "timeout": _seconds(edge.timeouts.request_s),
            },
            "authorization_response": {
                "allowed_upstream_headers": {
                    "patterns": [{"prefix": "x-goog-"}],
                },
                "allowed_client_headers": {
                    "patterns": [
                        {"exact": "content-type"},
                        {"exact": "location"},
                        {"exact": "www-authenticate"},
                        {"exact": "x-goog-iap-generated-response"},
                    ]
                },
            },
        },
    }
    return [_strip("x-goog-"), {"name": "iap", "typed_config": ask}]


def _cluster(name: str, run: Run, edge: Edge) -> dict[str, Any]:
    check = edge.health_checks.readiness
    unlimited = 1_000_000
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        # Below this share of healthy VMs Envoy would use unhealthy ones too; Google does not, and a
        # drained VM must stay without traffic.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        # A VM that left the group gets nothing more, however healthy it still is.
        "ignore_health_on_host_removal": True,
        "eds_cluster_config": {
            "eds_config": {
                "resource_api_version": "V3",
                "path_config_source": {
                    "path": str(run.endpoints / f"{name}.json"),
                    "watched_directory": {"path": str(run.endpoints)},
                },
            }
        },
        "health_checks": [
            {
                "timeout": _seconds(check.timeout_s),
                "interval": _seconds(check.interval_s),
                # Envoy looks less often where there is no traffic; Google does not.
                "no_traffic_interval": _seconds(check.interval_s),
                "unhealthy_threshold": check.unhealthy_threshold,
                "healthy_threshold": check.healthy_threshold,
                "http_health_check": {"path": check.path, "host": "health"},
                "always_log_health_check_failures": False,
                "event_logger": [_health_log(run)],
            }
        ],
        # Of Envoy's detectors the one that edge.yml asks Google's for.
        "outlier_detection": {
            "consecutive_gateway_failure": edge.outliers.consecutive_gateway_failures,
            "enforcing_consecutive_gateway_failure": 100,
            "enforcing_consecutive_5xx": 0,
            "enforcing_success_rate": 0,
            "interval": _seconds(edge.outliers.interval_s),
            "base_ejection_time": _seconds(edge.outliers.ejection_s),
            "max_ejection_percent": edge.outliers.max_ejection_percent,
        },
        # Google's back ends have no such limits; Envoy's defaults would answer 503 (`UO`).
        "circuit_breakers": {
            "thresholds": [
                {
                    "max_connections": unlimited,
                    "max_pending_requests": unlimited,
                    "max_requests": unlimited,
                    "max_retries": unlimited,
                }
            ]
        },
        "typed_extension_protocol_options": {
            f"{_TYPE.split('/')[1]}.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http_protocol_options": {}},
                "common_http_protocol_options": {
                    "idle_timeout": _seconds(edge.timeouts.backend_keepalive_s)
                },
            }
        },
    }


def _iap_cluster(run: Run) -> dict[str, Any]:
    return {
        "name": "iap",
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": "iap",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _pipe(run.iap_socket)}}]}],
        },
    }


def _access_log(run: Run) -> dict[str, Any]:
    return {
        "name": "file",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.access_loggers.file.v3.FileAccessLog",
            "path": str(run.access_log),
            "log_format": {"json_format": _ACCESS_FIELDS},
        },
    }


def _health_log(run: Run) -> dict[str, Any]:
    return {
        "name": "file",
        "typed_config": {
            "@type": f"{_TYPE}.extensions.health_check.event_sinks.file.v3.HealthCheckEventFileSink",
            "event_log_path": str(run.log("health")),
        },
    }
