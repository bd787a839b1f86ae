"""What is counted, with labels that stay few."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from skfleet import state
from skfleet.serving.metrics import Metrics

from .calls import call
from .conftest import IdentityDir
from .lanes import LANES, Ask

FORM = "application/x-www-form-urlencoded"
ROW = b"x=" + str([0, 1] * 18 + [1]).encode()


def scrape(ask: Ask) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    text = ask(call("GET", "/metrics", port=8083)).body.decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def requests(samples: dict[Any, float], **labels: str) -> float:
    return samples.get(("skfleet_requests_total", tuple(sorted(labels.items()))), 0)


def test_both_lanes_count_alike(service: Any, iap_header: dict[str, str]) -> None:
    for make in LANES.values():
        ask = make(service)
        before = scrape(ask)
        for _ in range(3):
            ask(call("POST", "/", ROW, content_type=FORM, **iap_header))
        ask(call("POST", "/", b"x=1", content_type=FORM, **iap_header))
        for index in range(5):
            ask(call("GET", f"/random{index}", **iap_header))
        ask(call("POST", "/", ROW, content_type=FORM))
        after = scrape(ask)

        def grown(before: Any = before, after: Any = after, **labels: str) -> float:
            return requests(after, **labels) - requests(before, **labels)

        assert grown(route="/", status="200", listener="iap") == 3
        assert grown(route="/", status="422", listener="iap") == 1
        assert grown(route="/", status="401", listener="iap") == 1
        assert grown(route="other", status="404", listener="iap") == 5
        rejected = ("skfleet_identity_rejections_total",
                    (("listener", "iap"), ("reason", "missing")))  # fmt: skip
        assert after[rejected] - before.get(rejected, 0) == 1
        assert after[("skfleet_requests_in_flight", ())] == 0


def test_the_latency_objective_is_a_bucket(service: Any, iap_header: dict[str, str]) -> None:
    ask = LANES["fast"](service)
    ask(call("POST", "/", ROW, content_type=FORM, **iap_header))
    bucket = ("skfleet_request_seconds_bucket", (("le", "0.4"), ("route", "/")))
    assert scrape(ask)[bucket] == 1


def test_models_keys_and_readiness_are_told(service: Any) -> None:
    samples = scrape(LANES["fast"](service))
    model = service.content.models.get().model
    labels = (("backend", "linear"), ("digest", model.digest), ("name", "tiny"), ("release", "r1"))
    assert samples[("skfleet_model_info", labels)] == 1
    assert samples[("skfleet_ready", ())] == 1
    assert samples[("skfleet_stale", ())] == 0
    for file in ("environment.json", "iap-keys.json", "google-keys.json"):
        assert 0 <= samples[("skfleet_identity_file_age_seconds", (("file", file),))] < 60


def test_host_on_an_earlier_release_is_reported_as_stale(service: Any, run_dir: Path) -> None:
    state.write(run_dir, "r1", stale=True, signatures_required=False)
    assert scrape(LANES["fast"](service))[("skfleet_stale", ())] == 1


def test_the_age_of_keys_is_that_of_the_last_good_refresh(
    service: Any, identity_dir: IdentityDir
) -> None:
    then = datetime.now(UTC) - timedelta(hours=3)
    state = {"sources": {"iap-keys.json": {"tried_at": "", "fresh_at": then.isoformat()}}}
    (identity_dir.path / "refresh.json").write_text(json.dumps(state))
    samples = scrape(LANES["fast"](service))

    def age(file: str) -> float:
        return samples[("skfleet_identity_file_age_seconds", (("file", file),))]

    assert age("iap-keys.json") == pytest.approx(3 * 3600, abs=60)
    assert age("google-keys.json") < 60


def test_what_is_gathered_on_the_event_loop_is_told_as_if_at_once() -> None:
    """Both ways of counting give the same exposition, bucket by bucket."""
    seconds = [0.0001, 0.0005, 0.003, 0.4, 0.41, 7.0]

    def exposition(gathered: bool) -> set[bytes]:
        metrics = Metrics()

        async def observe() -> None:
            for value in seconds:
                (metrics.observe_soon if gathered else metrics.observe)("/", 200, "iap", value)

        asyncio.run(observe())
        lines = metrics.render(list).splitlines()
        return {line for line in lines if b"_created" not in line}

    assert exposition(True) == exposition(False)
