"""The app build: the same tree gives the same version and bytes, and installs without an index."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.errors import ConfigurationError
from skfleet.vm.unpack import unpack
from skfleet_operator.builds import wheelhouse
from skfleet_operator.builds.publish import list_builds, publish_build

REPO = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> wheelhouse.Wheelhouse:
    return wheelhouse.build(REPO, tmp_path_factory.mktemp("builds"))


def copy_of_the_tree(target: Path) -> Path:
    (target / "app").mkdir(parents=True)
    shutil.copytree(REPO / "requirements", target / "requirements")
    for name in ("app/pyproject.toml", "edge.yml", "slo.yml"):
        shutil.copy(REPO / name, target / name)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPO / "app/src", target / "app/src", ignore=ignore)
    return target


def test_version_follows_the_sources_and_the_pins(tmp_path: Path) -> None:
    tree = copy_of_the_tree(tmp_path / "tree")
    first = wheelhouse.build_version(tree)
    assert wheelhouse.build_version(tree) == first
    with (tree / "app/src/skfleet/errors.py").open("a") as file:
        file.write("\n")
    second = wheelhouse.build_version(tree)
    with (tree / "requirements/app.txt").open("a") as file:
        file.write("\n")
    assert len({first, second, wheelhouse.build_version(tree)}) == 3


def test_every_wheel_is_pinned_by_hash_and_the_own_one_is_there(
    built: wheelhouse.Wheelhouse,
) -> None:
    with tarfile.open(built.path) as tar:
        names = tar.getnames()
        pins = tar.extractfile("requirements.txt").read().decode()
    assert f"skfleet=={built.version}" in pins
    assert any(name.startswith("wheels/skfleet-") for name in names)
    assert all(name == "requirements.txt" or name.endswith(".whl") for name in names)


def test_own_wheel_is_the_same_bytes_again(tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        scratch = tmp_path / name
        scratch.mkdir()
        wheelhouse.own_wheel(REPO, scratch, "0.0.1")
        digests.add(documents.sha256(next(scratch.glob("*.whl")).read_bytes()))
    assert len(digests) == 1


def test_it_installs_offline_with_hashes(built: wheelhouse.Wheelhouse, tmp_path: Path) -> None:
    unpack(built.path, tmp_path / "house")
    uv = Path(sys.executable).parent / "uv"
    python = tmp_path / "venv/bin/python"
    subprocess.run(
        [uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv"], check=True
    )
    subprocess.run(
        [uv, "pip", "install", "--quiet", "--offline", "--no-index", "--require-hashes",
         "--find-links", tmp_path / "house/wheels", "--python", python,
         "--requirement", tmp_path / "house/requirements.txt"],
        check=True,
    )  # fmt: skip
    version = subprocess.run(
        [python, "-c", "import importlib.metadata as m; print(m.version('skfleet'))"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert version.stdout.strip() == built.version


def test_a_published_build_is_listed_and_published_once(
    store: Store, bucket: str, built: wheelhouse.Wheelhouse
) -> None:
    first = publish_build(store, bucket, built, "tester")
    assert publish_build(store, bucket, built, "somebody else") == first
    assert list_builds(store, bucket) == [first]
    assert documents.sha256(built.path.read_bytes()) == first.wheelhouse.sha256


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no checkout"):
        wheelhouse.build(tmp_path, tmp_path)
