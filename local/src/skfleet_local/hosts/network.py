"""The network of the hosts: a namespace with a bridge, reachable from nowhere else.

`run_in` starts a command in it, by nsenter alone: `ip netns exec` would mount /sys anew and hide the
control groups.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from skfleet import documents
from skfleet_local.addresses import Addresses
from skfleet_local.run import repository

BRIDGE = "skfleet0"
# Outside of what clouds and container engines give out by default.
ADDRESSES = Addresses("10.88.0")
METADATA = "169.254.169.254"  # Google's own


def directory() -> Path:
    """Where this checkout's hosts are; each such directory has a network of its own."""
    named = os.environ.get("SKFLEET_HOSTS")
    return Path(named).resolve() if named else repository() / ".skfleet" / "hosts"


def path() -> Path:
    """The namespace."""
    return Path("/run/netns") / f"skfleet-{documents.sha256(os.fsencode(directory()))[:8]}"


def up() -> None:
    """Make it, unless it is there."""
    if path().exists():
        return
    name = path().name
    _ip("netns", "add", name)
    try:
        for arguments in (
            ("link", "set", "lo", "up"),
            ("link", "add", BRIDGE, "type", "bridge"),
            ("addr", "add", f"{ADDRESSES.cloud}/24", "dev", BRIDGE),
            ("addr", "add", f"{ADDRESSES.external}/24", "dev", BRIDGE),
            ("addr", "add", f"{ADDRESSES.internal}/24", "dev", BRIDGE),
            ("addr", "add", f"{METADATA}/32", "dev", BRIDGE),
            ("link", "set", BRIDGE, "up"),
        ):
            _ip("-n", name, *arguments)
    except subprocess.CalledProcessError:
        down()
        raise


def down() -> None:
    """Remove it; nothing there is no error."""
    if path().exists():
        _ip("netns", "delete", path().name)


def run_in(argv: list[str]) -> list[str]:
    """The command that runs `argv` in the network, wherever it is started."""
    if inside():
        return argv
    return ["nsenter", f"--net={path()}", "--", *argv]


def inside() -> bool:
    """Whether this process is in it."""
    try:
        return path().stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except FileNotFoundError:
        return False


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
