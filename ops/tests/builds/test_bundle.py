"""The roles bundle: the same tree gives the same bytes, and it holds what its playbook reaches."""

from __future__ import annotations

import io
import os
import re
import shutil
import tarfile
from pathlib import Path

import pytest

from skfleet import declared
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet.errors import ConfigurationError, DocumentError
from skfleet.vm.unpack import unpack
from skfleet_operator.builds.bundle import ROLES, edge_in, make_bundle

REPO = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    target = tmp_path / "tree"
    (target / "playbooks").mkdir(parents=True)
    for name in (EDGE, SLO):
        shutil.copy(REPO / name, target)
    shutil.copy(REPO / "playbooks/converge.yml", target / "playbooks")
    shutil.copytree(REPO / "roles", target / "roles")
    return target


def names(data: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getnames()


def test_same_tree_gives_the_same_bytes_wherever_and_whenever(tree: Path) -> None:
    first = make_bundle(tree)
    for path in tree.rglob("*"):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    assert make_bundle(tree) == first == make_bundle(REPO)


def test_what_is_no_part_of_a_role_changes_nothing(tree: Path) -> None:
    first = make_bundle(tree)
    (tree / "roles/runtime/README.md").write_text("other words")
    (tree / "roles/runtime/tasks/.main.yml.swp").write_text("an editor's")
    (tree / "roles/release/files/__pycache__").mkdir(exist_ok=True)
    (tree / "roles/release/files/__pycache__/look.pyc").write_bytes(b"x")
    (tree / "roles/elsewhere/tasks").mkdir(parents=True)
    (tree / "roles/elsewhere/tasks/main.yml").write_text("---\n")
    assert make_bundle(tree) == first


def test_change_of_a_task_is_another_bundle(tree: Path) -> None:
    first = make_bundle(tree)
    with (tree / "roles/release/tasks/stage.yml").open("a") as file:
        file.write("# changed\n")
    assert make_bundle(tree) != first


@pytest.mark.parametrize("name", [EDGE, SLO])
def test_change_of_a_declaration_is_another_bundle(tree: Path, name: str) -> None:
    first = make_bundle(tree)
    with (tree / name).open("a") as file:
        file.write("# changed\n")
    assert make_bundle(tree) != first


def test_bundle_says_where_its_release_listens(tree: Path) -> None:
    text = (tree / EDGE).read_text()
    port = declared.load(tree).edge.listeners.health.port
    (tree / EDGE).write_text(text.replace(f"port: {port}}}", "port: 9182, also: 9282}"))
    edge = edge_in(make_bundle(tree), "gs://b/x.tar")
    assert edge is not None
    assert edge.listeners.health.ports == (9182, 9282)
    buffer = io.BytesIO()
    tarfile.open(fileobj=buffer, mode="w").close()
    for before in (b"no tar", buffer.getvalue()):
        assert edge_in(before, "gs://b/x.tar") is None


@pytest.mark.parametrize("name", [EDGE, SLO])
def test_a_declaration_that_no_vm_could_use_makes_no_bundle(tree: Path, name: str) -> None:
    (tree / name).write_text("listeners: {}\n")
    with pytest.raises(DocumentError, match=name):
        make_bundle(tree)


def test_bundle_holds_every_role_that_its_playbook_reaches() -> None:
    files = [REPO / "playbooks/converge.yml", *(REPO / "roles").glob("*/tasks/*.yml")]
    reached = {
        name
        for file in files
        if file.parent.name == "playbooks" or file.parts[-3] in ROLES
        for name in re.findall(r"_role:\s*\n\s+name: (\w+)", file.read_text())
    }
    assert reached == set(ROLES)


def test_bundle_runs_from_where_it_is_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bundle.tar").write_bytes(make_bundle(REPO))
    unpack(tmp_path / "bundle.tar", tmp_path / "bundle")
    assert (tmp_path / "bundle/converge.yml").is_file()
    assert "roles_path = roles" in (tmp_path / "bundle/ansible.cfg").read_text()
    assert (tmp_path / "bundle/roles/release/tasks/stage.yml").is_file()


def test_what_a_vm_runs_needs_no_collection() -> None:
    modules = set()
    for role in ROLES:
        for file in (REPO / "roles" / role).rglob("*.yml"):
            modules |= set(re.findall(r"^\s+(\w+\.\w+\.\w+):", file.read_text(), re.M))
    assert modules
    assert not [name for name in modules if not name.startswith("ansible.builtin.")]


def test_no_task_asks_whether_it_is_cloud_or_local() -> None:
    for role in ROLES:
        for file in (REPO / "roles" / role).rglob("*.yml"):
            lines = file.read_text().splitlines()
            asked = [line for line in lines if re.search(r"when:.*\b(local|cloud|gcp)\b", line)]
            assert not asked, f"{file}: {asked}"


def test_a_tree_without_roles_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not whole"):
        make_bundle(tmp_path)
