"""The workflows of GitHub: what runs in them is pinned, and what comes into them is data."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))


def test_there_are_workflows() -> None:
    assert len(WORKFLOWS) >= 6


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_action_is_pinned_by_digest_with_its_version(path: Path) -> None:
    used = re.findall(r"uses:\s*(.*)", path.read_text())
    assert used
    for line in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line


def test_version_of_an_action_has_one_digest() -> None:
    text = "".join(path.read_text() for path in WORKFLOWS)
    pins = set(re.findall(r"uses:\s*([\w./-]+)@(\w+) # (\S+)", text))
    assert len({(name, version) for name, _, version in pins}) == len(pins)


def steps(path: Path) -> list[dict[str, Any]]:
    document = yaml.safe_load(path.read_text())
    return [step for job in document["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_script_holds_no_expression_of_github(path: Path) -> None:
    for step in steps(path):
        assert "${{" not in step.get("run", ""), step
        assert "${{" not in str(step.get("shell", "")), step


@pytest.fixture
def roll_out(tmp_path: Path) -> Any:
    """Runs the workflow's step as a runner does, with programs that write down how they were called."""
    (step,) = (
        step
        for step in yaml.safe_load(
            (REPOSITORY / ".github/workflows/delivery-rollout.yml").read_text()
        )["jobs"]["canary"]["steps"]
        if step.get("name") == "roll out"
    )
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    skfleet = programs / "skfleet"
    skfleet.write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/shown\n"
        f'SKFLEET_BUCKET=gs://none exec {REPOSITORY}/.venv/bin/skfleet release show "$3" "$4"\n'
    )
    playbook = programs / "ansible-playbook"
    playbook.write_text(
        f"#!/bin/sh\nfor word; do printf '%s\\0' \"$word\"; done > {tmp_path}/called\n"
    )
    skfleet.chmod(0o755)
    playbook.chmod(0o755)

    def run(release: str, *, shows: bool) -> list[str] | None:
        if shows:
            skfleet.write_text("#!/bin/sh\necho '{}'\n")
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]],
            cwd=tmp_path,
            env={
                **os.environ,
                "RELEASE": release,
                "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        called = tmp_path / "called"
        assert (done.returncode == 0) == called.exists(), done.stderr
        return called.read_text().split("\0")[:-1] if called.exists() else None

    return run


INPUTS = [
    "{{ lookup('pipe', 'touch ran') }}",
    "b rollout_override=unready",
    "b -e x=1",
    "$(touch ran)",
    "--help",
    'b", "rollout_override": "unready',
    "b\nc",
]


@pytest.mark.parametrize("text", INPUTS)
def test_input_that_is_no_release_ends_the_rollout_before_ansible(
    roll_out: Any, tmp_path: Path, text: str
) -> None:
    assert roll_out(text, shows=False) is None
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", INPUTS)
def test_input_is_one_value_of_one_variable_whatever_it_holds(
    roll_out: Any, tmp_path: Path, text: str
) -> None:
    called = roll_out(text, shows=True)
    assert called[-2] == "-e"
    assert json.loads(called[-1]) == {"release": text}
    assert len(called) == 5
    assert not (tmp_path / "ran").exists()
