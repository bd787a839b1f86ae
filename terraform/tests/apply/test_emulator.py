"""What the emulator refuses and fills in, which the journeys rest on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apply.driver import Endpoint, JourneyFailed, bare, change, look_up
from apply.emulator.server import Server
from apply.journeys import REMOVED

COMPUTE = "compute/v1/projects/example-project"
MONITORING = "monitoring/v3/projects/example-project"


Call = Callable[..., Any]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Call]:
    server = Server(
        0, tmp_path / "journal.jsonl", project="example-project", number="1", fresh=False
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Endpoint(f"http://127.0.0.1:{server.server_address[1]}", "example-project", {}).call
    server.shutdown()
    thread.join()
    server.server_close()


def test_dropped_zero_becomes_the_documented_default(api: Call) -> None:
    api(
        "POST",
        f"{COMPUTE}/global/backendServices",
        {
            "name": "b",
            "outlierDetection": {"maxEjectionPercent": 10},
            "logConfig": {"enable": True},
        },
    )
    shown = api("GET", f"{COMPUTE}/global/backendServices/b")
    assert shown["outlierDetection"]["enforcingSuccessRate"] == 100
    assert shown["outlierDetection"]["maxEjectionPercent"] == 10
    assert shown["logConfig"]["sampleRate"] == 1
    assert shown["iap"] == {"enabled": False}


def test_patch_keeps_what_it_leaves_out(api: Call) -> None:
    path = f"{COMPUTE}/regions/europe-west1/backendServices"
    api("POST", path, {"name": "b", "iap": {"enabled": True}, "timeoutSec": 5})
    api("PATCH", f"{path}/b", {"timeoutSec": 6})
    shown = api("GET", f"{path}/b")
    assert (shown["timeoutSec"], shown["iap"]) == (6, {"enabled": True})


def test_channel_in_use_is_not_deleted_unless_forced(api: Call) -> None:
    channel = api("POST", f"{MONITORING}/notificationChannels", {"type": "email"})["name"]
    policy = {"displayName": "p", "combiner": "OR", "notificationChannels": [channel]}
    name = api("POST", f"{MONITORING}/alertPolicies", policy)["name"]
    with pytest.raises(JourneyFailed, match="is used by"):
        api("DELETE", f"monitoring/v3/{channel}")
    assert api("DELETE", f"monitoring/v3/{channel}?force=true") == {}
    assert not api("GET", f"monitoring/v3/{name}").get("notificationChannels")


def test_uptime_check_in_use_is_not_deleted(api: Call) -> None:
    check = api("POST", f"{MONITORING}/uptimeCheckConfigs", {"displayName": "c"})["name"]
    condition = {
        "displayName": "fails",
        "conditionThreshold": {
            "filter": f'metric.labels.check_id="{check.rsplit("/", 1)[-1]}"',
            "comparison": "COMPARISON_GT",
        },
    }
    policy = {"displayName": "p", "combiner": "OR", "conditions": [condition]}
    name = api("POST", f"{MONITORING}/alertPolicies", policy)["name"]
    with pytest.raises(JourneyFailed, match="is used by"):
        api("DELETE", f"monitoring/v3/{check}")
    api("DELETE", f"monitoring/v3/{name}")
    assert api("DELETE", f"monitoring/v3/{check}") == {}


def test_iap_settings_are_replaced_without_an_update_mask(api: Call) -> None:
    api("POST", f"{COMPUTE}/global/backendServices", {"name": "b"})
    path = "iap/v1/projects/1/iap_web/compute/services/b:iapSettings"
    api("PATCH", path, {"accessSettings": {"oauthSettings": {"programmaticClients": ["c"]}}})
    assert "accessSettings" in api("GET", path)
    api("PATCH", path, {})
    assert "accessSettings" not in api("GET", path)


def test_state_begins_empty_and_a_dump_fills_defaults_in(api: Call) -> None:
    assert api("GET", "_fake/state") == {"resources": [], "policies": {}}
    api("POST", f"{COMPUTE}/global/networks", {"name": "n"})
    key = "compute/projects/example-project/global/networks/n"
    assert api("GET", "_fake/state")["resources"] == [key]
    assert api("GET", "_fake/dump")["resources"][key]["routingConfig"]["routingMode"] == "REGIONAL"


def test_changes_are_set_and_removed_at_dotted_paths() -> None:
    before = {"a": {"b": 1}, "c": None}
    after = change(before, {"a.b": REMOVED, "c.d": 2, "e": []})
    assert (before, after) == ({"a": {"b": 1}, "c": None}, {"a": {}, "c": {"d": 2}, "e": []})
    assert look_up({"nats": [{"ips": [1, 2]}]}, "nats.0.ips.#") == 2
    assert look_up({}, "nats.0.ips.#") == 0
    assert bare({"a": [], "b": {"c": ""}, "d": 0, "e": False}) == {"d": 0}
