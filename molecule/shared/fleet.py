"""The fleet that scenarios share: `python molecule/shared/fleet.py prepare|up`.

`prepare` runs where a package index can be reached and builds what the releases are made of; `up` runs in
the hosts' network and boots four real hosts behind Envoy, from metadata alone.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from skfleet.errors import SkfleetError
from skfleet_local.run import claim
from skfleet_operator.builds.wheelhouse import build
from skfleet_testing import fleet as fleets

REPOSITORY = Path(__file__).resolve().parents[2]
DIRECTORY = Path(os.environ.get("SKFLEET_TEST_FLEET") or REPOSITORY / ".skfleet/fleet")
VMS = 4
TIME_SCALE = 5


def prepare() -> None:
    """The wheelhouses: this checkout's, and of one that misbehaves as its settings say."""
    builds = REPOSITORY / ".skfleet/builds"
    build(REPOSITORY, builds)
    # Below the fleet's directory, where the fleet's own copy will be: `git describe` is part of the version.
    claim(DIRECTORY)
    with tempfile.TemporaryDirectory(prefix="checkout-", dir=DIRECTORY) as scratch:
        build(fleets.misbehaving_checkout(Path(scratch) / "checkout"), builds)


def up() -> None:
    """Boot it and publish releases, unless it stands."""
    directory = DIRECTORY
    run = fleets.Run(directory / "run")
    found = fleets.Fleet(fleets.Shell(run, REPOSITORY, fleets.Report(0, io.StringIO())), directory)
    whole = directory / "whole"
    if whole.exists():
        found.command("skfleet-local", "up")
        return
    claim(directory)
    found.command("skfleet-local", "down")
    for name in ("model", "other", "checkout"):  # of one that was cut off
        shutil.rmtree(directory / name, ignore_errors=True)
    layer = str(REPOSITORY / ".skfleet/layers/image")
    made = fleets.booted(directory, VMS, TIME_SCALE, "--layer", layer)
    fleets.publish_others(made)

    def ready(vms: list[dict[str, Any]]) -> bool:
        return len(vms) == VMS and all(fleets.serves(vm, "a") for vm in vms)

    if not made.shell.wait("a", ready, 240):
        sys.exit(made.command("skfleet-local", "logs"))
    whole.touch()


if __name__ == "__main__":
    try:
        {"prepare": prepare, "up": up}[sys.argv[1]]()
    except SkfleetError as error:
        sys.exit(str(error))
    except subprocess.SubprocessError as error:
        sys.exit(str(error))
