"""Logs of the cloud's processes and of the VMs' programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from skfleet.errors import ConfigurationError
from skfleet.polling import repeat_every
from skfleet_local.run import Run

CLOUD = {
    "cloud": ("cloud",),
    "envoy": ("envoy", "access", "health"),
}
_POLL_S = 0.3


def of_vm(run: Run, name: str) -> list[Path]:
    """A VM's log files, the console first."""
    return sorted(
        (run.vms / name / "var/log").rglob("*.log"), key=lambda p: (p.name != "console.log", p)
    )


def files(run: Run, what: str) -> list[Path]:
    """The log files of a VM, of a part of the cloud, or of the whole fleet."""
    if not what:
        everything = [path for name in CLOUD for path in files(run, name)]
        return [
            *everything,
            *(path for vm in sorted(run.vms.iterdir()) for path in of_vm(run, vm.name)),
        ]
    if what == "events":
        return [run.events_file]
    if what in CLOUD:
        return [path for name in CLOUD[what] if (path := run.log(name)).exists()]
    if (run.vms / what).is_dir():
        return of_vm(run, what)
    vms = sorted(path.name for path in run.vms.iterdir()) if run.vms.exists() else []
    raise ConfigurationError(
        f"Nothing here is called '{what}'.",
        where="logs",
        hint="There are: " + ", ".join([*CLOUD, "events", *vms]) + ".",
    )


def tail(path: Path, lines: int) -> str:
    """The last lines of a file; an empty text where there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
    except FileNotFoundError:
        return ""


def follow(run: Run, what: str) -> Iterator[tuple[Path, str]]:
    """New lines of the files as they come, for ever; files that appear later included."""
    positions = {path: path.stat().st_size for path in files(run, what) if path.exists()}
    for _ in repeat_every(_POLL_S):
        for path in files(run, what):
            if not path.exists():
                continue
            position = positions.get(path, 0)
            size = path.stat().st_size
            if size < position:  # rotated, or a VM with a fresh disk
                position = 0
            if size > position:
                with path.open("rb") as file:
                    file.seek(position)
                    data = file.read(size - position)
                whole, newline, _ = data.rpartition(b"\n")
                positions[path] = position + len(whole) + len(newline)
                for line in whole.decode(errors="replace").splitlines():
                    yield path, line
            else:
                positions[path] = position
