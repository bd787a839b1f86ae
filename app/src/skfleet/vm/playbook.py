"""Run a bundle's own `converge.yml` on this host, with the Ansible of the image."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from skfleet.ansible_data import unsafe_yaml
from skfleet.errors import SkfleetError
from skfleet.vm.host import Host

Tell = Callable[[Mapping[str, Any]], None]


class PlaybookFailed(SkfleetError):
    """The roles could not do it; they left, or went back to, what was there before."""


def run(
    host: Host,
    bundle: Path,
    variables: Mapping[str, Any],
    tell: Tell,
    *,
    check: bool = False,
    keep_open: tuple[int, ...] = (),
) -> int:
    """Run the playbook and return how many tasks changed something; raises PlaybookFailed.

    `keep_open`: descriptors that stay open as long as Ansible lives, our own death included.
    """
    # A check may not even leave a directory behind.
    parent = None if check else host.work
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="run-", dir=parent))
    try:
        file = scratch / "variables.yml"
        # What comes from documents is data: the roles use it, and Ansible evaluates none of it.
        file.write_text(
            unsafe_yaml({**variables, "ansible_python_interpreter": sys.executable}),
            encoding="utf-8",
        )
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "--inventory=localhost,",
            "--connection=local",
            f"--extra-vars=@{host.variables_file}",
            f"--extra-vars=@{file}",
            *(["--check"] if check else []),
            "converge.yml",
        ]
        environment = {
            **host.environment(),
            "ANSIBLE_CONFIG": str(bundle / "ansible.cfg"),
            "ANSIBLE_HOME": str(scratch),
            "ANSIBLE_LOCAL_TEMP": str(scratch),
            "ANSIBLE_REMOTE_TEMP": str(scratch),
            "ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).parent / "callback"),
            "ANSIBLE_STDOUT_CALLBACK": "skfleet_progress",
            "ANSIBLE_NOCOLOR": "1",
        }
        return _follow(command, bundle, environment, tell, keep_open)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _follow(
    command: list[str],
    directory: Path,
    environment: Mapping[str, str],
    tell: Tell,
    keep_open: tuple[int, ...],
) -> int:
    changed = 0
    failure = ""
    other: list[str] = []  # what Ansible says beside its tasks: the only reason when none ran
    with subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=keep_open,
    ) as process:
        for text in process.stdout or ():
            line = _parse(text)
            if line is None:
                other.append(text.rstrip())
                tell({"ansible": text.rstrip()})
            elif "task" in line:
                if line["result"] == "failed":
                    failure = f"{line['task']}: {line['message']}"
                tell(line)
            else:
                changed = int(line["changed"])
    if process.returncode != 0:
        code = process.returncode
        died = f"ansible-playbook ended with {code}, without a word"
        raise PlaybookFailed(
            f"The roles failed: {failure or ' '.join(other[-5:]) or died}",
            where=str(directory / "converge.yml"),
            hint="The release before was left in place; the lines above say what was done.",
        )
    return changed


def _parse(text: str) -> dict[str, Any] | None:
    if not text.startswith("{"):
        return None
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if "task" in line or "changed" in line else None
