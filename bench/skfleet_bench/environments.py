"""An environment for each contender, made from its pins when they change."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from skfleet import documents

REPO = Path(__file__).resolve().parents[2]
PINS = REPO / "bench/requirements"
# The service as a VM has it: the pins of an app build with ONNX, and of one without.
OURS, OURS_PLAIN = "skfleet", "skfleet-plain"
OUR_PINS = {OURS: "requirements/app-onnx.txt", OURS_PLAIN: "requirements/app.txt"}


def pins_of(name: str) -> Path:
    """The hash-checked requirements of an environment."""
    return REPO / OUR_PINS[name] if name in OUR_PINS else PINS / f"{name}.txt"


def make(name: str, cache: Path) -> Path:
    """The environment's `bin`; raises CalledProcessError where it cannot be made."""
    pins = pins_of(name)
    digest = documents.sha256(pins.read_bytes())
    directory = cache / name
    mark = directory / ".pins"
    if not mark.exists() or mark.read_text() != digest:
        _make(directory, pins, ours=name in OUR_PINS)
        mark.write_text(digest)
    return directory / "bin"


def _make(directory: Path, pins: Path, *, ours: bool) -> None:
    uv = str(Path(sys.executable).with_name("uv"))
    python = str(directory / "bin/python")
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(directory)])
    install = [uv, "pip", "install", "--quiet", "--python", python]
    _run([*install, "--compile-bytecode", "--require-hashes", "--requirement", str(pins)])
    if ours:
        _run([*install, "--no-deps", "--editable", str(REPO / "app")])


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, env=_environ())


def _environ() -> dict[str, str]:
    """uv does not read pip's configuration: hand it the package index that a user has chosen there."""
    environ = dict(os.environ)
    if "UV_DEFAULT_INDEX" not in environ:
        found = subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        index = environ.get("PIP_INDEX_URL") or found.stdout.strip()
        if index:
            environ["UV_DEFAULT_INDEX"] = index
    return environ


def versions(bin_directory: Path, packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of these packages, as installed there."""
    script = (
        "import importlib.metadata as m, json, platform, sys;"
        "print(json.dumps({'python': platform.python_version(), **{n: m.version(n) for n in sys.argv[1:]}}))"
    )
    done = subprocess.run(
        [str(bin_directory / "python"), "-c", script, *packages],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, str] = json.loads(done.stdout)
    return found
