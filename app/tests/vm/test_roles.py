"""The entry points of the role `release` that an operator's playbook uses by themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import plays

PLAY = """
- name: One entry point
  hosts: all
  gather_facts: false
  become: "{{ skfleet_become }}"
  tasks:
    - name: Include it
      ansible.builtin.include_role: {name: release, tasks_from: "{{ entry }}"}
"""


@pytest.fixture(scope="module")
def vm(make_vm: Any) -> Iterator[Any]:
    """A VM at r2 that was at r1 before."""
    with make_vm() as result:
        result.cloud.release("r1")
        result.cloud.release("r2", settings={"workers": 4})
        result.converge("r1")
        result.converge("r2")
        yield result


def play(vm: Any, tmp_path: Path, entry: str, **variables: Any) -> subprocess.CompletedProcess[str]:
    return plays.run(vm, tmp_path, PLAY, entry=entry, **variables)


def test_verify_tells_the_right_release_from_another(vm: Any, tmp_path: Path) -> None:
    served = vm.machine.served()
    done = play(vm, tmp_path, "verify", release_document={"id": served})
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    done = play(vm, tmp_path, "verify", release_document={"id": "other"}, release_wait_s=1)
    assert done.returncode != 0
    assert f"release '{served}' answers" in done.stdout


def test_rollback_goes_to_the_previous_release_without_a_document(vm: Any, tmp_path: Path) -> None:
    before, target = vm.machine.link("current"), vm.machine.link("previous")
    done = play(vm, tmp_path, "rollback")
    assert done.returncode == 0, done.stdout
    assert vm.machine.served() == target
    assert (vm.machine.link("current"), vm.machine.link("previous")) == (target, before)


def test_prune_keeps_the_way_back(vm: Any, tmp_path: Path) -> None:
    done = play(vm, tmp_path, "prune", release_keep=0)
    assert done.returncode == 0, done.stdout
    assert {vm.machine.link("current"), vm.machine.link("previous")} == {"r1", "r2"}


def test_entry_point_refuses_a_variable_of_the_wrong_kind(vm: Any, tmp_path: Path) -> None:
    done = play(vm, tmp_path, "prune", release_keep="many")
    assert done.returncode != 0
    assert "release_keep" in done.stdout
