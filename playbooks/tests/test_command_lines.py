"""Options that drop plays are refused by every playbook that is not safe under them, before anything runs."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
PLAYBOOKS = sorted(path.name for path in (REPOSITORY / "playbooks").glob("*.yml"))
INVENTORY = """
fleet:
  hosts:
    vm1: {ansible_connection: local}
    vm2: {ansible_connection: local}
bare: {hosts: {vm1: }}
image: {hosts: {vm1: }}
loadgen: {hosts: {vm1: }}
"""
OPTIONS = [
    ["--limit", "vm1"],
    ["--tags", "always"],
    ["--skip-tags", "never"],
    ["--start-at-task", "Take the lease"],
    ["--step"],
]
DROPPING = [options[0] for options in OPTIONS]
# The controller too, everybody, and the retry file of a run that failed.
LIMITS = [["--limit=fleet:localhost"], ["-l", "all"], ["--limit", "@hosts.retry"]]
# ansible-playbook with each of the argument lists on standard input, forked from a process that has
# loaded its plugins once.
MANY = """
import json, os, sys
from ansible.cli.playbook import main
from ansible.plugins import loader
cases = list(enumerate(json.load(sys.stdin)))
loader.init_plugin_loader()
for kind in ("become", "callback", "connection", "shell"):
    list(getattr(loader, f"{kind}_loader").all(class_only=True))

def run(number, arguments):
    if os.fork() == 0:
        output = os.open(f"{number}.out", os.O_CREAT | os.O_WRONLY)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        main(["ansible-playbook", *arguments])
    code = os.waitstatus_to_exitcode(os.wait()[1])
    with open(f"{number}.code", "w") as file:
        file.write(str(code))

workers = 2
for first in range(workers):
    if os.fork() == 0:
        for number, arguments in cases[first::workers]:
            run(number, arguments)
        os._exit(0)
for _ in range(workers):
    os.wait()
for number, _ in cases:
    print(json.dumps([int(open(f"{number}.code").read()), open(f"{number}.out").read()]))
"""


def load_callback() -> Any:
    path = REPOSITORY / "playbooks/callback_plugins/whole_playbook.py"
    spec = importlib.util.spec_from_file_location("whole_playbook", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


callback = load_callback()


def run_all(directory: Path, cases: list[list[str]], **environment: str) -> list[tuple[int, str]]:
    """Exit code and output of `ansible-playbook` with each of these arguments, without our ansible.cfg."""
    (directory / "hosts.yml").write_text(INVENTORY)
    (directory / "hosts.retry").write_text("vm1\n")
    done = subprocess.run(
        [sys.executable, "-c", MANY],
        input=json.dumps([["-i", "hosts.yml", *case] for case in cases]),
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return [(code, output) for code, output in map(json.loads, done.stdout.splitlines())]


def playbook(name: str) -> str:
    return str(REPOSITORY / "playbooks" / name)


def test_every_playbook_declares_the_options_it_accepts() -> None:
    assert sorted(callback.ACCEPTED) == PLAYBOOKS
    assert callback.INSTEAD_OF_LIMIT.keys() <= callback.ACCEPTED.keys()


def test_no_task_has_a_tag() -> None:
    """Or --skip-tags would configure a part of a bare host."""
    files = [*REPOSITORY.glob("playbooks/**/*.yml"), *REPOSITORY.glob("roles/**/*.yml")]
    assert [file for file in files if "tags:" in file.read_text()] == []


def test_every_option_is_refused_by_every_playbook_that_does_not_declare_it() -> None:
    for name in [*PLAYBOOKS, "one_that_was_just_added.yml"]:
        for option in DROPPING:
            message = callback.refusal([name], {option: "x"})
            accepted = option in callback.ACCEPTED.get(name, ())
            assert ("Nothing has changed" in message) == (not accepted), (
                f"{name} {option}: {message}"
            )


def test_options_that_drop_plays_are_refused_before_anything_runs(tmp_path: Path) -> None:
    others = [word for options in OPTIONS[1:] for word in options]
    refused = [(name, options) for name in PLAYBOOKS for options in (OPTIONS[0], others)]
    refused += [("rollout.yml", options) for options in [*OPTIONS[1:], *LIMITS]]
    refused += [("status.yml", options) for options in LIMITS]
    refused.remove(("site.yml", OPTIONS[0]))
    results = run_all(tmp_path, [[playbook(name), *options] for name, options in refused])
    for (name, options), (code, output) in zip(refused, results, strict=True):
        told = f"{name} {options}: {code} {output}"
        assert code == 4, told
        assert "Nothing has changed" in output, told
        assert f"'{name}'" in output or f" for {name}: " in output, told
        assert "PLAY [" not in output, told


def test_tags_of_the_environment_and_of_a_config_of_ones_own_are_refused(tmp_path: Path) -> None:
    (tmp_path / "own.cfg").write_text("[tags]\nskip = slow\n")
    for environment in (
        {"ANSIBLE_RUN_TAGS": "x"},
        {"ANSIBLE_SKIP_TAGS": "x"},
        {"ANSIBLE_CONFIG": str(tmp_path / "own.cfg")},
    ):
        ((code, output),) = run_all(tmp_path, [[playbook("status.yml")]], **environment)
        assert (code, "PLAY [" in output) == (4, False), output


def test_playbooks_that_are_imported_or_come_later_are_refused_too(tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text(
        f"- {{hosts: localhost, gather_facts: false, tasks: [debug: ]}}\n"
        f"- import_playbook: {playbook('unlock.yml')}\n"
    )
    (tmp_path / "harmless.yml").write_text(
        "- {hosts: vm1, gather_facts: false, tasks: [debug: ]}\n"
    )
    imported, later, others = run_all(
        tmp_path,
        [
            ["site.yml", "--limit", "vm1"],
            [playbook("site.yml"), playbook("rollout.yml"), "--limit", "vm1", "--check"],
            ["harmless.yml", "--limit", "vm1"],
        ],
    )
    assert imported[0] == later[0] == 4
    assert "unlock.yml" in imported[1]
    assert "rollout.yml" in later[1]
    assert "PLAY [" not in imported[1] + later[1]
    assert others[0] == 0, "a playbook that is none of these"


def test_listings_and_syntax_checks_take_every_option(tmp_path: Path) -> None:
    cases = [
        [playbook("rollout.yml"), "--limit", "fleet", "--list-hosts"],
        [playbook("status.yml"), "--tags", "x", "--list-tasks"],
        [playbook("unlock.yml"), "--syntax-check", "--skip-tags", "x"],
    ]
    for case, (code, output) in zip(cases, run_all(tmp_path, cases), strict=True):
        assert code == 0, f"{case}: {output}"


def test_ordinary_options_are_no_reason_to_refuse(tmp_path: Path) -> None:
    ((code, output),) = run_all(
        tmp_path,
        [
            [
                playbook("status.yml"),
                "--check",
                "--diff",
                "-v",
                "-e",
                "a=b",
                "--forks",
                "2",
                "--tags",
                "all",
            ]
        ],
    )
    assert code not in (0, 4), "an inventory that names no fleet"
    assert "PLAY [" in output
    assert "Invalid option" not in output
