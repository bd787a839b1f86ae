"""Take from a host what is its own and no image's, then look whether all of it is gone.

`clean.py ROOT [USER …]` cleans and looks, with `--look` it looks alone; the users named are the base's
own and stay. What remains is printed, a path and the reason a line, and the exit code is 1. One program
for both, on one connection: without host keys and authorised keys there is no second one. Standard
library alone.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Removed, whatever they hold. Directories that must stay are emptied below.
REMOVED = (
    "etc/ssh/ssh_host_*",
    "etc/google_instance_id",  # a new VM makes its host keys when it finds another id, or none
    "etc/hostname.*",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
    "var/lib/systemd/credential.secret",
    "var/lib/dhcp/*",
    "var/lib/cloud/*",
    "var/lib/google/*",
    "var/lib/apt/lists/*",
    "var/cache/apt/*.bin",
    "var/cache/apt/archives/*.deb",
    "var/lib/skfleet/ansible",
    "var/lib/skfleet/identity/*",
    "etc/skfleet/host.env",
    "root/.[!.]*",
    "root/*",
    "var/log/journal/*",  # a folder is named after the machine
    "home/*/.ssh",
    "home/*/.ansible",
    "home/*/.*_history",
    "tmp/.[!.]*",
    "tmp/*",
    "var/tmp/*",
    "etc/*-",  # passwd-, shadow-: what it was before the roles
)
# Ansible's module that is running this, and what systemd holds open for units.
IN_USE = re.compile(r"^(ansible_|ansible-|systemd-private-)")
# Debian's own.
KEPT = ("root/.bashrc", "root/.profile")
# Files emptied and kept: something expects them to be there.
EMPTIED = ("etc/machine-id",)
LOGS = "var/log"

_PRIVATE_KEY = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]{40,}?-----END|\"private_key\":"
)
_SECRET_PLACES = ("etc", "root", "home", "opt", "srv", "usr/local", "var")
_LARGEST_KEY_FILE = 1024 * 1024  # bytes
_PASSWORD = re.compile(r"^[^:]+:\$")
_ADDED_BY_GOOGLE = "# Added by Google"


def clean(root: Path) -> None:
    """Remove and empty; for a running host, keep its programs from writing it all again."""
    if root == Path("/"):
        quieten()
    for path in matching(root, REMOVED):
        if not stays(root, path):
            remove(path)
    for path in homes_of_nobody(root):
        remove(path)
    # A login record that is not there is not written; the next boot makes it.
    for path in files(root / LOGS):
        path.unlink()
    for name in EMPTIED:
        (root / name).write_bytes(b"")
    hosts = root / "etc/hosts"
    if hosts.exists():
        lines = hosts.read_text().splitlines(keepends=True)
        hosts.write_text("".join(line for line in lines if _ADDED_BY_GOOGLE not in line))
    if root == Path("/"):
        os.sync()


def quieten() -> None:
    """Let what comes until this host is off be kept in memory, and the end write nothing down."""
    runtime = Path("/run/systemd")
    for folder, text in (
        (runtime / "journald.conf.d", "[Journal]\nStorage=volatile\n"),
        (runtime / "system/systemd-random-seed.service.d", "[Service]\nExecStop=\n"),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "zz-image.conf").write_text(text)  # the last one of a name wins
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "systemd-journald.service")
    for unit in ("rsyslog.service", "google-cloud-ops-agent.service", "cron.service"):
        run("systemctl", "stop", unit)
    run("cloud-init", "clean", "--logs")


def remains(root: Path, users: list[str]) -> Iterator[tuple[Path, str]]:
    """What no image may hold, and why."""
    for path in matching(root, REMOVED):
        if not stays(root, path):
            yield path, "belongs to one host"
    for path in homes_of_nobody(root):
        yield path, "the home of a user whom the image does not know"
    for path in files(root / LOGS):
        yield path, "a log"
    for name in EMPTIED:
        path = root / name
        if not path.is_file() or path.stat().st_size:
            yield path, "must be there, and empty"
    for line in lines(root / "etc/shadow"):
        if _PASSWORD.match(line):
            yield root / "etc/shadow", f"user {line.partition(':')[0]} has a password"
    for line in lines(root / "etc/passwd"):
        name, _, number = line.split(":")[:3]
        if 1000 <= int(number) < 65000 and name not in users:
            yield root / "etc/passwd", f"user {name} is a person's"
    for link in ("current", "previous"):
        if (root / "opt/skfleet" / link).is_symlink():
            yield root / "opt/skfleet" / link, "an image serves nothing"
    for place in _SECRET_PLACES:
        for path in files(root / place):
            if secret(path):
                yield path, "holds a private key"


def secret(path: Path) -> bool:
    """Whether a file holds a private key's text; no package's code or certificates do."""
    try:
        if path.stat().st_size > _LARGEST_KEY_FILE or path.suffix in (".py", ".pyc", ".so"):
            return False
        return _PRIVATE_KEY.search(path.read_bytes()) is not None
    except OSError:
        return False


def homes_of_nobody(root: Path) -> list[Path]:
    """Homes of users who came by OS Login and are in no file of this host."""
    known = {line.partition(":")[0] for line in lines(root / "etc/passwd")}
    return [path for path in matching(root, ("home/*",)) if path.name not in known]


def matching(root: Path, patterns: tuple[str, ...]) -> list[Path]:
    """Paths below the root, links as they are."""
    return sorted({path for pattern in patterns for path in root.glob(pattern)})


def files(folder: Path) -> Iterator[Path]:
    """Plain files below a folder, on its own file system."""
    for directory, subdirectories, names in os.walk(folder):
        here = Path(directory)
        subdirectories[:] = [name for name in subdirectories if not (here / name).is_mount()]
        yield from (here / name for name in names if plain(here / name))


def plain(path: Path) -> bool:
    """A file, and not a link to one."""
    return path.is_file() and not path.is_symlink()


def lines(path: Path) -> list[str]:
    """Lines of a file that may not be there."""
    return path.read_text().splitlines() if path.exists() else []


def stays(root: Path, path: Path) -> bool:
    """Whether a path is the distribution's, or of this very run."""
    if path.parent in (root / "tmp", root / "var/tmp"):
        return bool(IN_USE.match(path.name))
    return str(path.relative_to(root)) in KEPT


def remove(path: Path) -> None:
    """A file, link or folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def run(*command: str) -> None:
    """What is not there on this host need not be stopped."""
    if shutil.which(command[0]):
        subprocess.run(command, capture_output=True, check=False)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("users", nargs="*", metavar="USER")
    parser.add_argument("--look", action="store_true", help="change nothing")
    options = parser.parse_args()
    root: Path = options.root
    if not options.look:
        clean(root)
    found = [f"/{path.relative_to(root)}: {why}" for path, why in remains(root, options.users)]
    print("\n".join(found))  # noqa: T201 - the answer
    sys.exit(1 if found else 0)


main()
