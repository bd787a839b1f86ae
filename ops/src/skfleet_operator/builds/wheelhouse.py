"""The app build: a tar of every wheel a VM installs, for one Python and one platform.

The tar holds `requirements.txt` (hash-checked, the skfleet wheel included) and `wheels/`. Its version
is git's description plus a digest of the sources, the pins and the tags, so the same tree gives the
same version and another tree another one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from skfleet import declared, documents
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet.errors import ConfigurationError
from skfleet.files import replacement
from skfleet.vm.platform import host_tags

PINS = Path("requirements/app.txt")
# An image's own environment is a wheelhouse too: it is installed on a host without a package index.
RUNTIME_PINS = Path("requirements/runtime.txt")
# Aliases of modules of the operator: a VM has neither.
OLD_NAMES = ("skfleet/artifacts/publish.py",)
# Model libraries that only some models need, by the pins of a build that has them.
EXTRAS = {"onnx": Path("requirements/app-onnx.txt")}


@dataclass(frozen=True, slots=True)
class Wheelhouse:
    """A build before it is published."""

    version: str
    python: str
    platform: str
    path: Path
    extras: tuple[str, ...] = ()


def build(repo: Path, output: Path, pins: Path = PINS) -> Wheelhouse:
    """Build a wheelhouse of a checkout into `output`; a finished one of the same tree is reused."""
    if not (repo / pins).is_file():
        raise ConfigurationError(
            "This is no checkout of skfleet.",
            where=str(repo),
            hint="Run it in the repository, or name it with --repo.",
        )
    python, platform = host_tags()
    version = build_version(repo, pins)
    kind = "" if pins == PINS else f"{pins.stem}-"
    extras = tuple(name for name, its_pins in EXTRAS.items() if its_pins == pins)
    path = output / f"{kind}{version}-{python}-{platform}.tar"
    if path.exists():
        return Wheelhouse(version, python, platform, path, extras)
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="skfleet-build-") as scratch:
        wheels = Path(scratch) / "wheels"
        wheels.mkdir()
        own = own_wheel(repo, wheels, version)
        _pip(
            "download",
            "--require-hashes",
            "--only-binary",
            ":all:",
            "--dest",
            str(wheels),
            "--requirement",
            str(repo / pins),
        )
        requirements = (repo / pins).read_text()
        requirements += (
            f"skfleet=={version} \\\n    --hash=sha256:{documents.sha256(own.read_bytes())}\n"
        )
        with replacement(path, mode=0o644) as file:
            _write_tar(file, requirements, wheels)
    return Wheelhouse(version, python, platform, path, extras)


def build_version(repo: Path, pins: Path = PINS) -> str:
    """`<version>+<git describe>.<digest>`, valid as a Python version."""
    base = _base_version(repo)
    described = subprocess.run(
        ["git", "-C", str(repo), "describe", "--always", "--tags"],
        capture_output=True,
        text=True,
        check=False,
    )
    label = re.sub(r"[^a-z0-9]+", ".", described.stdout.strip().lower()).strip(".") or "nogit"
    return f"{base}+{label}.{_tree_digest(repo, pins)[:10]}"


def _base_version(repo: Path) -> str:
    match = re.search(r'^version = "([^"]+)"', (repo / "app/pyproject.toml").read_text(), re.M)
    if match is None:
        raise ConfigurationError("No version is declared.", where="app/pyproject.toml")
    return match[1]


def _tree_digest(repo: Path, pins: Path) -> str:
    digest = hashlib.sha256("|".join(host_tags()).encode())
    declarations = (repo / EDGE, repo / SLO)
    for path in [repo / pins, repo / "app/pyproject.toml", *declarations, *_sources(repo)]:
        digest.update(f"\0{path.relative_to(repo)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(repo: Path) -> list[Path]:
    root = repo / "app/src/skfleet"
    return sorted(p for p in root.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def own_wheel(repo: Path, wheels: Path, version: str) -> Path:
    """Build the skfleet wheel with this version into `wheels`, from a copy that holds nothing else."""
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    with tempfile.TemporaryDirectory(prefix="skfleet-wheel-") as scratch:
        copy = Path(scratch)
        shutil.copytree(repo / "app/src", copy / "src", ignore=ignore)
        for alias in OLD_NAMES:
            (copy / "src" / alias).unlink(missing_ok=True)
        declared.load(repo)  # what no service could read stops here
        packaged = json.dumps(declared.whole(repo), sort_keys=True)
        (copy / "src/skfleet" / declared.PACKAGED).write_text(packaged)
        project = (repo / "app/pyproject.toml").read_text()
        (copy / "pyproject.toml").write_text(
            project.replace(f'version = "{_base_version(repo)}"', f'version = "{version}"', 1)
        )
        _pip(
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "--no-index",
            "--wheel-dir",
            str(wheels),
            str(copy),
            reproducible=True,
        )
    return next(wheels.glob("skfleet-*.whl"))


def _write_tar(file: io.BufferedWriter, pins: str, wheels: Path) -> None:
    """Uncompressed (wheels are compressed already) and the same bytes for the same wheels."""
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        _add(tar, "requirements.txt", pins.encode())
        for wheel in sorted(wheels.iterdir()):
            _add(tar, f"wheels/{wheel.name}", wheel.read_bytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    entry.mode = 0o644
    tar.addfile(entry, io.BytesIO(data))


def _pip(*arguments: str, reproducible: bool = False) -> None:
    environment = None
    if reproducible:
        # Wheels are zip files; the earliest time they can state makes equal trees equal bytes.
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "315532800"}
    result = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if result.returncode != 0:
        raise ConfigurationError(
            f"pip {arguments[0]} failed: {result.stderr.strip()[-2000:]}",
            where=str(PINS),
            hint="Is the package index reachable, and does it have wheels for this Python?",
        )
