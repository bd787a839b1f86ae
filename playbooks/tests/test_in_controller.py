"""Our modules run in the controller's own process, and take and give what modules do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader

from skfleet.ansible_data import plain

REPOSITORY = Path(__file__).resolve().parents[2]
COMMON = {"bucket": "gs://none", "fleet": "none"}


@pytest.fixture
def task(tmp_path: Path) -> Any:
    """Runs one task and returns its result."""

    def run(module: str, options: dict[str, Any], *arguments: str) -> dict[str, Any]:
        said = tmp_path / "said.json"
        copy = {"content": "{{ said | to_json }}", "dest": str(said), "mode": "0600"}
        play = {
            "hosts": "localhost",
            "connection": "local",
            "vars": {"ansible_python_interpreter": sys.executable},
            "gather_facts": False,
            "tasks": [
                {"name": "Ask", module: options, "register": "said", "ignore_errors": True},
                {"name": "Tell", "ansible.builtin.copy": copy, "check_mode": False},
            ],
        }
        playbook = tmp_path / "playbook.json"
        playbook.write_text(json.dumps([play]))
        done = subprocess.run(
            ["ansible-playbook", "-i", "localhost,", str(playbook), *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                 "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none")},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(said.read_text())
        return found

    return run


def test_a_result_is_a_modules(task: Any, tmp_path: Path) -> None:
    said = task("rollout", {"action": "run", "directory": str(tmp_path), **COMMON})
    assert said["changed"] is False
    assert len(said["answer"].split("-")) == 3


def test_a_check_writes_nothing(task: Any, tmp_path: Path) -> None:
    options = {"action": "desire", "directory": str(tmp_path), **COMMON}
    said = task("rollout", options, "--check")
    assert (said["changed"], said["answer"]) == (True, None)


def test_values_come_as_plain_ones() -> None:
    tagged = DataLoader().load("{words: [a, b], at: {second: 1.5, deep: [7, true, null]}}")
    assert type(tagged["words"][0]) is not str, "Ansible marks where a value comes from"
    found = plain(tagged)
    assert found == {"words": ["a", "b"], "at": {"second": 1.5, "deep": [7, True, None]}}
    kinds = {type(value) for value in (found, *found["words"], found["at"], *found["at"]["deep"])}
    assert kinds == {dict, str, int, bool, type(None)}


@pytest.mark.parametrize(
    ("module", "options", "words"),
    [
        ("rollout", {"action": "dance", **COMMON}, "value of action must be one of"),
        ("mig", {"action": "resize", "project": "p", "region": "r", "group": "g"}, "size"),
        ("mig", {"action": "versions", "project": "p", "region": "r", "group": "g"}, "versions"),
    ],
)
def test_wrong_arguments_are_named(
    task: Any, tmp_path: Path, module: str, options: dict[str, Any], words: str
) -> None:
    directory = {"directory": str(tmp_path)} if module == "rollout" else {}
    said = task(module, {**options, **directory})
    assert said["failed"]
    assert words in said["msg"]


def test_a_failure_has_its_name(task: Any, tmp_path: Path) -> None:
    said = task("rollout", {"action": "desired", "directory": str(tmp_path), **COMMON})
    assert said["failed"]
    assert said["failure"] == "StoreUnavailable"
    assert "credentials" in said["msg"]
