"""The Ops Agent comes from the archive that Google's base image names for its guest agent."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
PLAY = """
- name: Add the archive
  hosts: localhost
  gather_facts: false
  tasks:
    - name: Include the role's tasks
      ansible.builtin.include_role: {name: observability, tasks_from: agent_archive}
"""
ONE_LINE = """# Written by the image's maker: google-compute-engine-old-stable
deb http://archive.example/apt google-cloud-packages-archive-keyring-bookworm main
deb [signed-by=/etc/g.gpg] http://archive.example/apt google-compute-engine-bookworm-stable main
"""
PARAGRAPHS = """Types: deb
URIs: http://archive.example/apt
Suites: cloud-sdk-trixie
Components: main

Types: deb
URIs: http://archive.example/apt
Suites: google-compute-engine-trixie-stable
Components: main
Signed-By: /usr/share/keyrings/g.gpg
"""


def run(directory: Path) -> subprocess.CompletedProcess[str]:
    sources = directory / "sources.list.d"
    playbook = directory / "play.yml"
    playbook.write_text(PLAY)
    variables = {
        "observability_sources_directory": str(sources),
        "ansible_python_interpreter": sys.executable,
    }
    return subprocess.run(
        [
            f"{sys.prefix}/bin/ansible-playbook",
            "--inventory=localhost,",
            "--connection=local",
            f"--extra-vars={json.dumps(variables)}",
            str(playbook),
        ],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "HOME": str(directory), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("name", "text", "written", "expected"),
    [
        (
            "google-cloud.list",
            ONE_LINE,
            "skfleet-ops-agent.list",
            "deb [signed-by=/etc/g.gpg] http://archive.example/apt"
            " google-cloud-ops-agent-bookworm-all main\n",
        ),
        (
            "google-cloud.sources",
            PARAGRAPHS,
            "skfleet-ops-agent.sources",
            "Types: deb\nURIs: http://archive.example/apt\nSuites: google-cloud-ops-agent-trixie-all\n"
            "Components: main\nSigned-By: /usr/share/keyrings/g.gpg\n",
        ),
    ],
)
def test_archive_is_that_of_the_guest_agent(
    tmp_path: Path, name: str, text: str, written: str, expected: str
) -> None:
    sources = tmp_path / "sources.list.d"
    sources.mkdir()
    (sources / name).write_text(text)
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert (sources / written).read_text().strip() == expected.strip()
    again = run(tmp_path)
    assert "changed=0" in again.stdout, again.stdout


def test_host_without_googles_archive_is_told_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.list").write_text(
        "deb http://archive.example/debian bookworm main\n"
    )
    done = run(tmp_path)
    assert done.returncode != 0
    assert "observability_agent_package" in done.stdout
