"""The image: what every VM's disk is made of. Packer bakes the real one; this is its runtime part.

`runtime/` is the image's environment, installed from hash-checked pins and the checkout's own package,
with the roles that make a host without a release. VMs share it by a symbolic link and never write it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from skfleet.errors import SkfleetError
from skfleet.files import new_directory
from skfleet_local.run import Run
from skfleet_operator.builds.bundle import make_bundle
from skfleet_operator.builds.wheelhouse import RUNTIME_PINS, build_version, own_wheel


class ImageFailed(SkfleetError):
    """The image cannot be made."""


def bake(run: Run, repository: Path, image: Path | None = None) -> None:
    """Make an image, the family's own by default, unless the run has it. It appears at once and whole."""
    image = image or run.image
    if image.exists():
        return
    with new_directory(image, mode=0o700) as scratch:
        runtime = scratch / "runtime"
        uv = [str(Path(sys.executable).parent / "uv"), "--quiet"]
        # Relocatable: it moves once, when it is whole.
        _run([*uv, "venv", "--relocatable", "--python", sys.executable, str(runtime)], "venv")
        install = [*uv, "pip", "install", "--link-mode", "hardlink"]
        install += ["--python", str(runtime / "bin/python")]
        pins = ["--require-hashes", "--requirement", str(repository / RUNTIME_PINS)]
        # Offline first: what is in uv's cache needs no package index, nor its answer's time.
        if not _succeeds([*install, "--offline", *pins]):
            _run([*install, *pins], "packages of the image")
        wheel = own_wheel(repository, scratch, build_version(repository, RUNTIME_PINS))
        _run([*install, "--offline", "--no-deps", str(wheel)], "skfleet's own package")
        bundle = runtime / "share/skfleet/bundle.tar"
        bundle.parent.mkdir(parents=True)
        bundle.write_bytes(make_bundle(repository))
        wheel.unlink()
        _compile(runtime, scratch, image)


def adopt(run: Run, runtime: Path) -> None:
    """Use a ready made environment instead of baking one."""
    if run.image.exists():
        return
    if not (runtime / "bin/skfleet-converge").exists():
        raise ImageFailed(
            "This environment has no skfleet-converge.",
            where=str(runtime),
            hint="Name a directory with bin/skfleet-converge, or leave --runtime out.",
        )
    run.image.mkdir()
    (run.image / "runtime").symlink_to(runtime.resolve())


def _compile(runtime: Path, here: Path, later: Path) -> None:
    """What boots use, once; tracebacks name files where they will be."""
    python = str(runtime / "bin/python")
    # Some package's file may be no valid Python; then it is compiled, or fails, where it is used.
    _succeeds([python, "-m", "skfleet.vm.bytecode", "--moved", str(here), str(later)])


def _succeeds(command: list[str]) -> bool:
    return (
        subprocess.run(command, env=_environment(), capture_output=True, check=False).returncode
        == 0
    )


def _run(command: list[str], what: str) -> None:
    result = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise ImageFailed(
            f"The image's {what} could not be made: {result.stderr.strip()[-1500:]}",
            where=" ".join(command[:3]),
            hint="Packages come from uv's cache or from the package index; is it reachable?",
        )


def _environment() -> dict[str, str]:
    # An active environment of the caller's would be preferred over the named one.
    return {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
