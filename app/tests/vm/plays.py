"""A play by the repository's own roles on a test's VM, as an operator runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).parents[3]


def run(vm: Any, directory: Path, text: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    """`ansible-playbook` on `text`, in `directory`, with what the VM says of itself and these variables."""
    playbook = directory / "play.yml"
    playbook.write_text(text)
    variables |= {"ansible_python_interpreter": sys.executable}
    return subprocess.run(
        [
            f"{sys.prefix}/bin/ansible-playbook",
            "--inventory=localhost,",
            "--connection=local",
            f"--extra-vars=@{vm.machine.host_dir}/host.yml",
            f"--extra-vars={json.dumps(variables)}",
            str(playbook),
        ],
        cwd=REPO,  # by the repository's own configuration, as an operator does
        env={
            "PATH": "/usr/bin:/bin",
            "HOME": str(directory),
            "LANG": "C.UTF-8",
            # Ansible asks the user database for the home, and not every user has one.
            "ANSIBLE_HOME": str(directory / "ansible"),
            "ANSIBLE_REMOTE_TMP": str(directory / "ansible/tmp"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
