"""What this machine needs to run hosts, and how to get it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from skfleet.errors import ConfigurationError

PACKAGES = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "nsenter": "util-linux",
}
# A wheelhouse fits one Python: a host must have the controller's.
SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}


def missing() -> str:
    """One sentence about what is missing; empty where hosts can run."""
    if os.geteuid() != 0:
        return "hosts need root: network namespaces, mounts and control groups"
    wanted = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if wanted:
        return f"missing: apt-get install {' '.join(wanted)}"
    if sys.version_info[:2] not in SUITES:
        known = " or ".join(f"{a}.{b}" for a, b in SUITES)
        return f"hosts run Debian's Python, so make the environment with Python {known}"
    if not Path("/sys/fs/cgroup").is_dir():
        return "there are no control groups below /sys/fs/cgroup"
    return ""


def require() -> None:
    """Raise ConfigurationError where hosts cannot run."""
    if reason := missing():
        raise ConfigurationError(f"Hosts cannot run here: {reason}.", where="this machine")


def suite() -> str:
    """Debian's name of the release whose Python is this one."""
    return SUITES[(sys.version_info[0], sys.version_info[1])]
