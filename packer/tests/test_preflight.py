"""playbooks/image.yml refuses what cannot fit before it changes anything."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from skfleet.vm.platform import host_tags

from .conftest import REPOSITORY, Contents

PLAY = """\
- hosts: all
  gather_facts: false
  vars:
    image_debian: "{debian}"
    image_contents: "{contents}"
    image_document: "{{{{ lookup('ansible.builtin.file', image_contents ~ '/image.json') | from_json }}}}"
  tasks:
    - ansible.builtin.include_tasks: {repository}/playbooks/tasks/image/preflight.yml
"""


def preflight(contents: Path, debian: str) -> subprocess.CompletedProcess[str]:
    """The preflight's tasks on this very machine, as an ordinary user."""
    folder = contents / "playbooks"
    folder.mkdir()
    play = folder / "play.yml"
    play.write_text(PLAY.format(debian=debian, contents=contents, repository=REPOSITORY))
    # The checkout whose roles are digested is the playbook's.
    for name in ("roles", "app", "edge.yml", "slo.yml"):
        (contents / name).symlink_to(REPOSITORY / name)
    (folder / "converge.yml").symlink_to(REPOSITORY / "playbooks/converge.yml")
    ansible = str(Path(sys.executable).parent / "ansible-playbook")
    return subprocess.run(
        [ansible, "--inventory=localhost,", "--connection=local", str(play)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
            "ANSIBLE_HOME": str(contents / "ansible"),
            "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        },
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    return " ".join(done.stdout.split())


@pytest.fixture(scope="module")
def debian() -> str:
    system = platform.freedesktop_os_release()
    if system["ID"] != "debian":
        pytest.skip("the image's preflight beyond its first question needs Debian; CI runs on it")
    return system["VERSION_ID"]


def test_fitting_contents_pass(make_contents: Contents, debian: str) -> None:
    done = preflight(make_contents(), debian)
    assert done.returncode == 0, done.stdout


def test_another_base_is_refused(make_contents: Contents) -> None:
    done = preflight(make_contents(), "99")
    assert done.returncode != 0
    assert "the image is to be Debian 99" in said(done)


def test_contents_of_another_python_are_refused(make_contents: Contents, debian: str) -> None:
    done = preflight(make_contents(python="3.9"), debian)
    assert done.returncode != 0
    assert f"The contents are of Python 3.9 on {host_tags()[1]}" in said(done)


def test_contents_of_another_checkout_are_refused(make_contents: Contents, debian: str) -> None:
    done = preflight(make_contents(bundle="f" * 64), debian)
    assert done.returncode != 0
    assert "The contents hold other roles (ffffffffffffffff)" in said(done)


def test_contents_of_another_platform_are_refused(make_contents: Contents, debian: str) -> None:
    done = preflight(make_contents(platform="linux_riscv64"), debian)
    assert done.returncode != 0
    assert f"of Python {host_tags()[0]} on linux_riscv64, and this host has" in said(done)
