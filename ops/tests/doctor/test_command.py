"""The command: what it prints, how it ends, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from click.testing import CliRunner

from skfleet.errors import ConfigurationError
from skfleet_operator.cloud import parse_endpoints
from skfleet_operator.doctor import command
from skfleet_operator.doctor.command import doctor, parse_target

from .conftest import PROJECT, Google

ARGUMENTS = ["--project", "example-project", "--fleet", "skfleet-europe-west1"]


@pytest.fixture
def run(session: requests.Session, logins: Path, monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    monkeypatch.setattr(command, "authorize", lambda _: (session, None))
    return CliRunner(env={"SKFLEET_SSH_DIRECTORY": str(logins)})


def test_a_healthy_project_ends_with_0(run: CliRunner, google: Google, logins: Path) -> None:
    for name, answer in google.answers.items():
        if "/sslCertificates/" in name:
            answer["expireTime"] = "9000-01-01T00:00:00.000-08:00"  # this command asks the clock
    record = logins / "example-project/login.json"
    record.write_text(record.read_text().replace("2026-", "9000-"))
    done = run.invoke(doctor, [*ARGUMENTS, "--region", "europe-west1"])
    assert done.exit_code == 0
    assert "ok    apis: all 10 are on" in done.output
    assert done.output.splitlines()[-1].endswith("1 warn, 0 fail")  # no call was made through IAP


def test_a_failure_ends_with_1_and_says_how_to_mend(run: CliRunner, google: Google) -> None:
    google.answers["serviceusage/v1/projects/example-project/services"] = {}
    done = run.invoke(doctor, ARGUMENTS)
    assert done.exit_code == 1
    assert "FAIL  apis" in done.output
    assert "gcloud services enable" in done.output


def test_json_is_for_programs(run: CliRunner) -> None:
    done = run.invoke(doctor, [*ARGUMENTS, "--format", "json"])
    results = json.loads(done.stdout)
    assert {"name", "verdict", "seen", "mend"} == set(results[0])


def test_the_region_is_the_end_of_the_fleets_name() -> None:
    target = parse_target("example-project", "", "skfleet-prod-northamerica-northeast1")
    assert (target.region, target.name) == ("northamerica-northeast1", "skfleet-prod")


@pytest.mark.parametrize(
    ("project", "fleet"),
    [("", "skfleet-europe-west1"), ("example-project", ""), ("example-project", "skfleet")],
)
def test_what_is_not_named_is_asked_for(project: str, fleet: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_target(project, "", fleet)


def test_endpoints_can_be_replaced() -> None:
    endpoints = parse_endpoints(["compute=http://127.0.0.1:9000/compute/v1"])
    assert endpoints["compute"] == "http://127.0.0.1:9000/compute/v1"
    assert endpoints["storage"].startswith("https://")


@pytest.mark.parametrize("text", ["computer=http://x", "compute", "compute=ftp://x"])
def test_endpoints_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_endpoints([text])


def test_what_others_answer_cannot_steer_the_terminal(run: CliRunner, google: Google) -> None:
    backend = f"{PROJECT}/global/backendServices/skfleet-external"
    google.answers[backend]["id"] = "1\x1b]0;title\x07\n"
    done = run.invoke(doctor, ARGUMENTS)
    assert "IAP signs for" in done.output
    assert not [char for char in done.output if not char.isprintable() and char != "\n"]
