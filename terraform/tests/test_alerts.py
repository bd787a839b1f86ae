"""Each alert on the VMs fires for what the real programs write, and not for what they write when all is well.

A log line passes the Ops Agent's pipelines (roles/observability) to a log metric's filter; samples of the
service's own exposition are the input of the alert's PromQL, which `promtool test rules` evaluates.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import Any

import jinja2
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from skfleet.serving.metrics import Metrics

REPOSITORY = Path(__file__).resolve().parents[2]
SLO = REPOSITORY / "terraform/modules/slo"
FLEET = "skfleet-europe-west1"
LABELS = f'fleet="{FLEET}",instance_name="{FLEET}-1a2b"'
CONVERGE_FAILURES = (
    'logging_googleapis_com:user_skfleet_converge_failures{monitored_resource="gce_instance"}'
)


@pytest.fixture(scope="module")
def alerts() -> dict[str, dict[str, Any]]:
    """alerts.yml as health.tf reads it."""
    text = Template((SLO / "alerts.yml").read_text()).substitute(
        vms=f'{{fleet=~"{FLEET}"}}',
        memory_metric="skfleet_memory_bytes",
        memory_bytes=256 * 1024 * 1024,
        converge_failures=CONVERGE_FAILURES,
    )
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)
    return found


# Log lines


@pytest.fixture(scope="module")
def agent() -> dict[str, Any]:
    """The Ops Agent's logging configuration as the role writes it."""
    template = (REPOSITORY / "roles/observability/templates/ops-agent.yaml.j2").read_text()
    edge = yaml.safe_load((REPOSITORY / "edge.yml").read_text())
    text = jinja2.Template(template).render(
        observability_metrics_address=f"127.0.0.1:{edge['loopback']['metrics']['port']}",
        observability_scrape_interval_s=15,
    )
    found: dict[str, Any] = yaml.safe_load(text)["logging"]
    return found


SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL")
BY_PRIORITY = {"7": "DEBUG", "6": "INFO", "5": "NOTICE", "4": "WARNING", "3": "ERROR"}


def collected(agent: dict[str, Any], entry: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What the agent sends to Cloud Logging for an entry of the journal, by each of its pipelines.

    By the rules of its source (confgenerator): the receiver reads the severity from PRIORITY, a field that
    `modify_fields` copies from a missing one is unset, and `map_values` keeps values that it does not name.
    """
    for pipeline in agent["service"]["pipelines"].values():
        for _ in pipeline["receivers"]:
            record: dict[str, Any] | None = {
                "payload": dict(entry),
                "severity": BY_PRIORITY[entry["PRIORITY"]],
            }
            for name in pipeline.get("processors", ()):
                record = record and processed(agent["processors"][name], record)
            if record:
                yield record


def processed(how: dict[str, Any], record: dict[str, Any]) -> dict[str, Any] | None:
    payload = record["payload"]
    if how["type"] == "exclude_logs":
        [rule] = how["match_any"]
        found = re.fullmatch(r'(NOT )?jsonPayload\.(\w+) =~ "(.*)"', rule)
        assert found, rule
        matches = re.search(found[3], payload.get(found[2], "")) is not None
        return None if matches != bool(found[1]) else record
    if how["type"] == "parse_json":
        field = how["field"].removeprefix("jsonPayload.")
        try:
            fields = json.loads(payload[field])
        except ValueError:
            return record
        rest = {name: value for name, value in payload.items() if name != field}
        return {**record, "payload": rest | fields}
    assert how["type"] == "modify_fields"
    changed = dict(record)
    for target, change in how["fields"].items():
        value = payload.get(change["copy_from"].removeprefix("jsonPayload."))
        value = change.get("default_value") if value is None else value
        changed[target] = change["map_values"].get(value, value)
    return changed


def counted(metric: str, records: list[dict[str, Any]]) -> int:
    """How many records a log metric of the module counts."""
    text = (SLO / "rollouts.tf").read_text()
    block = text[text.index(f'"google_logging_metric" "{metric}"') :]
    found = re.search(r"^  filter\s+= \"(.*)\"$", block, re.M)
    assert found
    conditions = found[1].replace('\\"', '"').split(" AND ")

    def holds(condition: str, record: dict[str, Any]) -> bool:
        if condition == 'resource.type="gce_instance"':
            return True
        if condition == "severity>=ERROR":
            return SEVERITIES.index(record["severity"] or "DEFAULT") >= SEVERITIES.index("ERROR")
        field, value = condition.split("=")
        return str(record["payload"].get(field.removeprefix("jsonPayload."))) == value.strip('"')

    return sum(all(holds(c, record) for c in conditions) for record in records)


def journal(
    message: str, unit: str = "skfleet-converge.service", priority: str = "6"
) -> dict[str, str]:
    return {"MESSAGE": message, "_SYSTEMD_UNIT": unit, "PRIORITY": priority}


@pytest.fixture(scope="module")
def converge_lines() -> list[str]:
    """Lines of `skfleet-converge`: a step, a wait for the first release, a failure, a failed task."""
    program = """
from skfleet.vm.converge import tell
tell({"step": "release", "seconds": 0.1})
tell({"step": "wait", "reason": "Fleet 'a' has no desired release yet."})
tell({"step": "failed", "reason": "The roles failed."})
tell({"task": "Install the build", "result": "failed", "seconds": 1.0, "message": "no space"})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_failed_converge_is_counted_and_waiting_is_not(
    agent: dict[str, Any], converge_lines: list[str]
) -> None:
    severities, counts = [], []
    for line in converge_lines:
        records = list(collected(agent, journal(line)))
        severities.append([record["severity"] for record in records])
        counts.append(counted("converge_failures", records))
    assert severities == [["INFO"], ["INFO"], ["ERROR"], ["ERROR"]]
    assert counts == [0, 0, 1, 1]


def test_time_of_a_line_is_read_by_the_agents_format(
    agent: dict[str, Any], converge_lines: list[str]
) -> None:
    assert agent["processors"]["units"]["time_format"] == "%Y-%m-%dT%H:%M:%S.%LZ"
    for line in converge_lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", json.loads(line)["time"])


@pytest.mark.parametrize(
    ("entry", "severity"),
    [
        (journal("Out of memory: killed process", "init.scope", "3"), "ERROR"),
        (journal('{"level": "error"}', "somebody.service", "6"), "INFO"),
        (journal("Traceback (most recent call last):", "skfleet.service", "6"), "WARNING"),
        (journal('{"level":"warning","message":"x"}', "skfleet-refresh.service"), "WARNING"),
        (journal('{"level":"error","message":"x"}', "skfleet.service"), "ERROR"),
    ],
)
def test_every_line_arrives_once_with_a_severity(
    agent: dict[str, Any], entry: dict[str, str], severity: str
) -> None:
    assert [record["severity"] for record in collected(agent, entry)] == [severity]


# Metric samples


def samples(metrics: Metrics, **gauges: float) -> dict[str, float]:
    """A VM's exposition, summed by name: what Managed Service for Prometheus stores."""
    found = {f"skfleet_{name}": value for name, value in gauges.items()}
    for family in text_string_to_metric_families(metrics.render(list).decode()):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0) + sample.value
    return found


def well(seconds: int) -> dict[str, float]:
    metrics = Metrics()
    for _ in range(seconds // 10):
        metrics.observe("predict", 200, "iap", 0.01)
    return samples(
        metrics,
        memory_bytes=180 * 1024**2,
        ready=1,
        stale=0,
        identity_file_age_seconds=60,
    )


def unwell(alert: str, seconds: int) -> dict[str, float]:
    """The same VM with the fault that the alert is for."""
    metrics = Metrics()
    gauges = {
        "memory_bytes": 180 * 1024**2,
        "ready": 1,
        "stale": 0,
        "identity_file_age_seconds": 60,
    }
    for _ in range(seconds // 10):
        metrics.observe("predict", 200, "iap", 0.01)
        if alert == "shed_load":
            metrics.observe("predict", 429, "iap", 0.0)
            metrics.shed.inc()
        if alert == "identity_rejections":
            metrics.observe("predict", 401, "iap", 0.0)
            metrics.rejected.labels("iap", "audience").inc()
    if alert == "reload_failures" and seconds > 1800:
        metrics.reload_failures.inc()
    fault = {
        "memory": {"memory_bytes": 300 * 1024**2},
        "stale_vms": {"stale": 1},
        "unready_vms": {"ready": 0},
        "identity_files": {"identity_file_age_seconds": 4000},
    }
    return samples(metrics, **(gauges | fault.get(alert, {})))


METRIC_ALERTS = (
    "memory", "shed_load", "identity_rejections", "identity_files", "reload_failures", "stale_vms",
    "unready_vms",
)  # fmt: skip
MINUTES = 40


def series(state: Any) -> list[dict[str, str]]:
    """Samples a minute apart, as `promtool` takes them."""
    by_minute = [state(minute * 60) for minute in range(MINUTES)]
    return [
        {
            "series": f"{name}{{{LABELS}}}",
            "values": " ".join(str(minute.get(name, 0)) for minute in by_minute),
        }
        for name in sorted(set().union(*by_minute))
    ]


def firing(alerts: dict[str, Any], given: list[dict[str, str]], directory: Path) -> set[str]:
    """The alerts that fire after all of it, by a real Prometheus."""
    if shutil.which("promtool") is None:
        why = "promtool is not installed: apt-get install prometheus"
        assert not os.environ.get("SKFLEET_NO_SKIP"), why
        pytest.skip(why)
    rules = [
        {"alert": name, "expr": alert["query"], "for": f"{alert['for_s']}s"}
        for name, alert in alerts.items()
    ]
    (directory / "rules.yml").write_text(
        yaml.safe_dump({"groups": [{"name": "skfleet", "rules": rules}]})
    )
    test = {
        "interval": "1m",
        "input_series": given,
        # Expecting nothing makes promtool print what fires instead.
        "alert_rule_test": [
            {"eval_time": f"{MINUTES - 1}m", "alertname": name, "exp_alerts": []} for name in alerts
        ],
    }
    (directory / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yml"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0 or "alertname:" in output, output
    return set(re.findall(r"alertname: (\w+), time", output))


def test_nothing_fires_while_all_is_well(alerts: dict[str, Any], tmp_path: Path) -> None:
    assert firing(alerts, series(well), tmp_path) == set()


@pytest.mark.parametrize("alert", METRIC_ALERTS)
def test_alert_fires_for_its_fault_alone(
    alerts: dict[str, Any], tmp_path: Path, alert: str
) -> None:
    assert firing(alerts, series(lambda at: unwell(alert, at)), tmp_path) == {alert}


def test_converge_failures_fire(alerts: dict[str, Any], tmp_path: Path) -> None:
    failures = {"series": CONVERGE_FAILURES, "values": "0x29 1x9"}
    assert firing(alerts, [*series(well), failures], tmp_path) == {"converge_failures"}


def test_silence_of_all_vms_fires(alerts: dict[str, Any], tmp_path: Path) -> None:
    assert firing(alerts, [], tmp_path) == {"metrics_absent"}


def test_every_alert_is_tested(alerts: dict[str, Any]) -> None:
    assert set(alerts) == {*METRIC_ALERTS, "converge_failures", "metrics_absent"}


def test_every_metric_of_a_query_is_one_that_the_service_sends(alerts: dict[str, Any]) -> None:
    sent = {metric for alert in METRIC_ALERTS for metric in unwell(alert, 60)}
    for name, alert in alerts.items():
        for metric in re.findall(r"\bskfleet_\w+", alert["query"].replace("user_skfleet_", "")):
            assert metric in sent, (name, metric)
