"""A VM's wheel holds what a VM imports and nothing of the operator's, and needs no more than it declares.

It is installed into two environments, `image` (converges) and `build` (serves), beside the distributions
that its metadata asks for and no others. Those come from this environment, as links: no index is asked.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from skfleet_operator.builds import wheelhouse
from skfleet_testing.distributions import link, needed

REPO = Path(__file__).parents[3]
EXTRAS = {"image": ("serve", "runtime"), "build": ("serve", "models", "onnx")}  # requirements/*.in
# By environment, the modules and packages that it must import.
SHARED = (
    "artifacts", "declared", "documents", "errors", "files", "polling", "pss", "settings", "state",
)  # fmt: skip
IMPORTED = {
    "image": ("vm", "ansible_data", "serving.application", "serving.gunicorn", *SHARED),
    "build": ("serving", "backends", "allocator", *SHARED),
}
COMMANDS = ("converge", "fetch", "refresh")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheelhouse.own_wheel(REPO, tmp_path_factory.mktemp("wheel"), "0.0.1")


@pytest.fixture(scope="module")
def modules(wheel: Path) -> list[str]:
    """Every module of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py")]
    return sorted(name[:-3].replace("/", ".").removesuffix(".__init__") for name in names)


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name → its `bin`."""
    return {name: install(wheel, name, tmp_path_factory.mktemp(name)) for name in EXTRAS}


def install(wheel: Path, name: str, directory: Path) -> Path:
    """The `bin` of an environment that holds the wheel and what it needs."""
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(directory / "bin/python")
    for command in (
        ["venv", "--quiet", "--offline", "--python", sys.executable, str(directory)],
        ["pip", "install", "--quiet", "--offline", "--no-index", "--no-deps", "--python", python, str(wheel)],
    ):  # fmt: skip
        subprocess.run([uv, *command], check=True, capture_output=True)
    site = next(directory.glob("lib/python*/site-packages"))
    for distribution in needed(next(site.glob("skfleet-*.dist-info")), EXTRAS[name]):
        link(distribution, site)
    return directory / "bin"


def below(modules: list[str], packages: tuple[str, ...]) -> list[str]:
    wanted = [f"skfleet.{name}" for name in packages]
    return [m for m in modules if any(m == name or m.startswith(f"{name}.") for name in wanted)]


def test_vm_wheel_holds_runtime_and_documents_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        folders = {tuple(name.split("/")[:2]) for name in archive.namelist()}
        text = archive.read("skfleet-0.0.1.dist-info/entry_points.txt").decode()
        requires = archive.read("skfleet-0.0.1.dist-info/METADATA").decode()
        assert not {*wheelhouse.OLD_NAMES} & {*archive.namelist()}
    assert {first for first, *_ in folders} == {"skfleet", "skfleet-0.0.1.dist-info"}
    packages = {second for first, second in folders if first == "skfleet" and "." not in second}
    assert packages == {"artifacts", "backends", "documents", "serving", "vm"}
    assert re.findall(r"^(\S+) =", text, re.M) == [f"skfleet-{name}" for name in COMMANDS]
    assert not re.findall(r"(?m)^Requires-Dist: (click|pandas|scipy|rich|skl2onnx)\b", requires)


@pytest.mark.parametrize("name", EXTRAS)
def test_vm_wheel_imports_with_its_own_dependencies(
    environments: dict[str, Path], modules: list[str], name: str
) -> None:
    wanted = below(modules, IMPORTED[name])
    assert len(wanted) > 20
    code = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)\n"
    code += "print(*sorted(name for name in sys.modules if name.startswith('skfleet')))"
    done = subprocess.run(
        [environments[name] / "python", "-I", "-c", code, *wanted],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(done.stdout.split()) <= set(modules)


def test_documents_need_msgspec_alone(wheel: Path, modules: list[str], tmp_path: Path) -> None:
    link(metadata.distribution("msgspec"), tmp_path)
    code = "import importlib, sys\nsys.path[:0] = sys.argv[1:3]\n"
    code += "for name in sys.argv[3:]:\n    importlib.import_module(name)"
    wanted = below(modules, ("documents", "errors"))
    done = subprocess.run(
        [sys.executable, "-S", "-c", code, str(tmp_path), str(wheel), *wanted],
        env={},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_every_module_of_the_vm_wheel_is_imported_somewhere(modules: list[str]) -> None:
    found = {module for packages in IMPORTED.values() for module in below(modules, packages)}
    assert set(modules) - found == {"skfleet"}


def test_vm_commands_run_from_its_wheel(environments: dict[str, Path]) -> None:
    binaries = environments["image"]
    for command in COMMANDS:
        done = subprocess.run(
            [binaries / f"skfleet-{command}", "--help"], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"usage: skfleet-{command}")
    assert not (binaries / "skfleet").exists(), "the operator's command"


def test_modules_that_roles_and_scripts_of_a_vm_name_are_in_its_wheel(modules: list[str]) -> None:
    named = re.compile(r"(?:-m |from |import |python:)(skfleet(?:\.\w+)+)")
    places = [REPO / "playbooks/files", REPO / "playbooks/tasks/image/bake.yml"]
    places += [REPO / "roles" / role for role in ("base", "release", "runtime", "image_cleanup")]
    found: dict[str, Path] = {}
    for place in places:
        for path in [place] if place.is_file() else place.rglob("*"):
            if path.is_file() and path.suffix in {".py", ".sh", ".yml", ".j2", ".cfg"}:
                found |= dict.fromkeys(named.findall(path.read_text()), path)
    assert len(found) > 5
    missing = {name: str(path) for name, path in found.items() if name not in modules}
    assert not missing
