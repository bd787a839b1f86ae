"""Every command of docs/deploy.md runs in a test, or is listed there as never run, with the reason."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from skfleet_operator.cli.command import skfleet

REPOSITORY = Path(__file__).resolve().parents[3]
GUIDE = (REPOSITORY / "docs/deploy.md").read_text()

# A command of the guide => the test file that runs it, and the words there that do.
EXECUTED = {
    "terraform apply -target=module.network": (
        "terraform/tests/apply/journeys.py",
        "module.network",
    ),
    "terraform apply": ("terraform/tests/apply/driver.py", '"apply"'),
    "terraform destroy": ("terraform/tests/apply/driver.py", '"destroy"'),
    "terraform output -json ansible": ("playbooks/tests/test_inventory_gcp.py", "terraform.json"),
    "skfleet app image": ("molecule/image/create.yml", "app, image"),
    "skfleet app publish": ("local/tests/test_spine.py", '"app", "publish"'),
    "skfleet doctor": ("ops/tests/doctor/test_command.py", "doctor"),
    "skfleet model publish": ("local/tests/test_spine.py", '"model", "publish"'),
    "skfleet model train": ("local/tests/test_spine.py", '"model", "train"'),
    "skfleet release create": ("local/tests/test_spine.py", '"release", "create"'),
    "skfleet release desire": ("local/tests/test_spine.py", '"release", "desire"'),
    "skfleet ssh setup": ("ops/tests/ssh/test_chain.py", "setup"),
    "ansible -i inventories/gcp": ("ops/tests/ssh/test_chain.py", "inventories/gcp"),
    "playbooks/rollout.yml": ("playbooks/tests/test_rollouts.py", "rollout"),
    "playbooks/rollback.yml": ("playbooks/tests/test_rollouts.py", "rollback"),
}
SHELL = ("cd", "export", "mkdir", "chmod", "python")
HERE = ("openssl", "shred")  # this file runs them


def commands() -> list[str]:
    """The commands of all `sh` blocks, those inside $(…) too, without comments."""
    found = []
    for block in re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            text = re.sub(r"\s+#\s.*$", "", line).strip()
            inner = re.findall(r'(?:"|=)\$\((.*?)\)', text)
            outer = re.sub(r'\w+=\$\(.*?\)$|"\$\(.*?\)"', "X", text)
            for part in [*inner, *outer.split("&&")]:
                words = " ".join(part.replace(".venv/bin/", "").split())
                if words and words != "X":
                    found.append(words)
    return found


def never_run() -> list[str]:
    """The commands of the table under 'Never run on Google'."""
    section = GUIDE[GUIDE.index("## Never run on Google") :]
    rows = [row for row in section.splitlines() if row.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row.split("|")[1])]


def matches(command: str, pattern: str) -> bool:
    """Whether all words of a pattern stand in a command; `…` is anything."""
    words = [word.split("…")[0] for word in pattern.split() if word != "…"]
    text = command.replace("-chdir=terraform ", "")
    return text.startswith(words[0]) and all(word in text for word in words)


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_command_runs_in_a_test_or_is_listed(command: str) -> None:
    if command.split()[0] in (*SHELL, *HERE):
        return
    listed = [name for name in never_run() if matches(command, name)]
    evidence = [
        place
        for name, place in EXECUTED.items()
        if matches(command, name) or (name.startswith("playbooks/") and name in command)
    ]
    assert listed or evidence, (
        f"no test runs it, and it is not under 'Never run on Google': {command}"
    )
    for file, words in evidence:
        assert words in (REPOSITORY / file).read_text(), (command, file, words)


@pytest.mark.parametrize("command", [c for c in commands() if c.startswith("skfleet ")])
def test_options_of_a_skfleet_command_exist(command: str) -> None:
    words = shlex.split(command)[1:]
    group: click.Command = skfleet
    while isinstance(group, click.Group):
        name = words.pop(0)
        found = group.get_command(click.Context(group), name)
        assert found is not None, command
        group = found
    group.make_context(command, words, resilient_parsing=True)
    known = {option for parameter in group.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, command


@pytest.mark.parametrize("command", [c for c in commands() if "ansible-playbook" in c])
def test_playbooks_of_the_guide_exist(command: str) -> None:
    for name in re.findall(r"playbooks/\w+\.yml", command):
        assert (REPOSITORY / name).is_file(), name


def test_keys_and_certificates_are_made_by_the_commands_of_the_guide(tmp_path: Path) -> None:
    missing = [name for name in HERE if shutil.which(name) is None]
    if missing:
        pytest.skip(f"not installed: {missing}; apt-get install openssl coreutils")
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S)
    text = "\n".join(block for block in blocks if "openssl" in block)
    # gcloud makes the certificate of the two files; nothing here is Google.
    script = re.sub(r"^gcloud .*$", "test -s internal.key -a -s internal.pem", text, flags=re.M)
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    key = tmp_path / "skfleet-signing-key.pem"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (
        (tmp_path / "packer/trusted-keys/fleet-2026.pub")
        .read_text()
        .startswith("-----BEGIN PUBLIC")
    )
    assert not (tmp_path / "internal.key").exists()
