"""`status --watch`: what a person reads there, from looks made by hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console

from skfleet import polling
from skfleet.files import replace_file
from skfleet_local import watch
from skfleet_local.cli import main
from skfleet_local.run import NoRun, Run
from skfleet_local.watch import Look, Rollout
from skfleet_operator.rollouts.evidence import Event
from skfleet_operator.rollouts.lease import Holder

HOLDER = Holder(run="20261125-170000", by="ops", host="here", boot="b", pid=1, started=1)


def vm(name: str = "skfleet-aaaa", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "zone": "us-central1-a",
        "address": "127.1.2.11",
        "phase": "run",
        "action": "NONE",
        "reason": "the target size is 3",
        "release": "r1",
        "livez": "200",
        "readyz": "200",
        "why_not_ready": "",
        "external": "HEALTHY",
        "internal": "HEALTHY",
        **changes,
    }


def look(*vms: dict[str, Any], **changes: Any) -> Look:
    processes = {"cloud": {"alive": True}, "envoy": {"alive": True}}
    fleet = {"vms": list(vms), "target_size": len(vms), "processes": processes}
    return Look(at=1_795_626_000.0, **{"fleet": fleet, **changes})


def drawn(seen: Look, width: int = 200) -> str:
    console = Console(width=width, no_color=True, force_terminal=False)
    with console.capture() as capture:
        console.print(watch.render(seen))
    return capture.get()


def row(text: str, name: str = "skfleet-aaaa") -> str:
    return next(line for line in text.splitlines() if line.startswith(name))


def test_a_row_says_vm_zone_release_health_traffic_step_and_why() -> None:
    steps = Rollout("20261125-170000", "ops", False, {"skfleet-aaaa": "gate", "": "plan"})
    text = drawn(
        look(
            vm(readyz="503", why_not_ready="draining"),
            traffic={"127.1.2.11": 41.26},
            rollout=steps,
            scaled="3 → 4: scale out (17:00:01 UTC)",
        )
    )
    assert row(text).split(maxsplit=3)[:3] == ["skfleet-aaaa", "us-central1-a", "r1"]
    for words in ("live, not ready", "41.3", "gate", "draining"):
        assert words in row(text)
    assert "rollout: 20261125-170000 of ops, plan" in text
    assert "autoscaler: 3 → 4: scale out (17:00:01 UTC)" in text
    assert "0 of 1 VMs serve, 41.3 requests/s" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "serves"),
        ({"external": "DRAINING"}, "ready, load balancers say draining/healthy"),
        ({"external": None, "internal": None}, "ready, load balancers say unknown/unknown"),
        ({"readyz": "503", "why_not_ready": "no release"}, "live, not ready"),
        ({"livez": "no answer", "readyz": "no answer"}, "no answer"),
        ({"livez": "500"}, "livez 500"),
        ({"phase": "build", "action": "CREATING"}, "creating"),
        ({"phase": "drain", "action": "DELETING", "reason": "the target size is 2"}, "deleting"),
    ],
)
def test_health_is_one_word_for_each_state(changes: dict[str, Any], words: str) -> None:
    line = row(drawn(look(vm(**changes))))
    assert words in line
    assert ("the target size is 2" in line) == (changes.get("action") == "DELETING")


def test_a_reason_with_brackets_is_shown_as_it_is() -> None:
    text = drawn(look(vm(readyz="503", why_not_ready="rows[0] is [/bold] bad"), scaled="[x] why"))
    assert "rows[0] is [/bold] bad" in row(text)
    assert "autoscaler: [x] why" in text


def test_a_dead_controller_and_a_dead_part_of_the_cloud_are_said() -> None:
    seen = look(vm(), rollout=Rollout("r", "ops", True, {}))
    seen.fleet["processes"]["envoy"] = {"alive": False}
    text = drawn(seen)
    assert "its controller died" in text
    assert "not running: envoy" in text


def test_names_and_releases_are_whole_in_a_terminal_of_100_columns() -> None:
    line = drawn(look(vm(release="20261125-170049-439668", why_not_ready="x" * 90)), width=100)
    assert "skfleet-aaaa" in line
    assert "20261125-170049-439668" in line
    assert all(len(part) <= 100 for part in line.splitlines())


def test_traffic_is_what_both_load_balancers_sent_since_the_last_look() -> None:
    def clusters(external: int, internal: int) -> dict[str, Any]:
        return {
            "cluster_statuses": [
                {
                    "name": name,
                    "host_statuses": [
                        {
                            "address": {"socket_address": {"address": "127.1.2.11"}},
                            "stats": [
                                {"name": "cx_total", "value": "7"},
                                {"name": "rq_total", "value": str(count)},
                            ],
                        }
                    ],
                }
                for name, count in (("external", external), ("internal", internal), ("iap", 9999))
            ]
        }

    before = watch.counters(clusters(100, 0))
    after = watch.counters(clusters(150, 10))
    assert watch.rates((10.0, before), (12.0, after)) == {"127.1.2.11": 30.0}
    assert watch.rates((10.0, after), (12.0, before)) == {}  # Envoy began again
    assert watch.rates((10.0, {}), (12.0, after)) == {}  # a VM that is new
    assert watch.rates((10.0, before), (10.0, after)) == {}


def test_a_rollouts_step_is_the_last_one_of_each_vm() -> None:
    def event(host: str | None, step: str, ok: bool = True) -> Event:
        return Event(at="", host=host, step=step, ok=ok, seconds=1.0)

    events = [
        event(None, "plan"),
        event("a", "stage"),
        event("a", "drain"),
        event("b", "gate", False),
    ]
    found = watch.rollout(HOLDER, events, dead=False)
    assert found.steps == {"": "plan", "a": "drain", "b": "gate failed"}


def test_the_autoscalers_reason_is_its_last_one_in_the_log() -> None:
    def line(event: str, reason: str) -> str:
        return json.dumps({"at": "2026-11-25T17:00:01.123+00:00", "event": event, "reason": reason})

    log = [line("autoscale", "3 → 5: old"), line("autoscale", "5 → 4: new"), line("boot", "x")]
    assert watch.scaled("\n".join(['half a li"}', *log])) == "5 → 4: new (17:00:01 UTC)"
    assert watch.scaled(line("boot", "x")) == ""


def test_a_fleet_that_goes_down_and_comes_back_is_said_and_watched_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = told(monkeypatch, tmp_path)
    answers: itertools.cycle[Any] = itertools.cycle([NoRun("There is no local fleet here."), None])

    def fleet(_: Run) -> dict[str, Any]:
        if error := next(answers):
            raise error
        return dict(look(vm()).fleet)

    monkeypatch.setattr(watch.status, "fleet", fleet)
    seen = watch.Watch(run)
    down, up = seen.look(), seen.look()
    assert "The fleet is down: There is no local fleet here." in drawn(down)
    assert "serves" in row(drawn(up))
    assert up.traffic == {}  # nobody listens at that address


def test_watching_ends_by_ctrl_c_with_exit_code_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = told(monkeypatch, tmp_path)
    count = itertools.count(1)

    def looked(_: watch.Watch) -> Look:
        if next(count) > 3:
            raise KeyboardInterrupt
        return look(vm())

    monkeypatch.setattr(watch.Watch, "look", looked)
    monkeypatch.setattr(polling.time, "sleep", lambda _: None)
    result = CliRunner().invoke(main, ["status", "--watch"])
    assert result.exit_code == 0
    assert result.output.count("skfleet-aaaa") == 3  # no terminal: one table after the other
    assert "\x1b" not in result.output
    assert run.state_file.exists()


def told(monkeypatch: pytest.MonkeyPatch, root: Path) -> Run:
    run = Run(root)
    state = {"subnet": "127.1.2", "project": "", "repository": "", "runtime": "", "time_scale": 1}
    replace_file(run.state_file, json.dumps(state).encode(), mode=0o600)
    monkeypatch.setenv("SKFLEET_RUN_DIR", str(root))
    return run


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--watch"], 1, "There is no local fleet here"),
        (["--watch", "--json"], 2, "--json or --watch"),
        (["--watch", "--interval", "0"], 2, "--interval"),
    ],
)
def test_what_cannot_be_watched_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    monkeypatch.setenv("SKFLEET_RUN_DIR", str(tmp_path))
    result = CliRunner().invoke(main, ["status", *arguments])
    assert (result.exit_code, words in result.output) == (code, True)
