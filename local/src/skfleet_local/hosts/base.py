"""The base of every host: a plain Debian as a cloud offers it, made once and kept for all runs.

Hosts see no package archive, so what the roles install is in it already; the roles then find it there.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from skfleet import documents
from skfleet.errors import SkfleetError
from skfleet_local.hosts import needs

CACHE = Path(os.environ.get("SKFLEET_HOSTS_CACHE") or "/var/cache/skfleet/hosts")
USER = "ops"  # may become root, as administrators of OS Login may

_PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "libpam-systemd", "sudo", "openssh-server"),
    *("python3", "python3-apt", "python3-venv", "ca-certificates", "curl", "iproute2", "procps"),
    *("nftables", "chrony", "unattended-upgrades"),
)
# Under control groups of version 1 nspawn shows the controllers read-only; limits need them writable.
_INIT = """\
#!/bin/sh
for controller in memory pids cpu cpuacct; do
  if [ -d "/sys/fs/cgroup/$controller" ]; then
    mount -o remount,bind,rw "/sys/fs/cgroup/$controller"
  fi
done
exec /lib/systemd/systemd "$@"
"""
INIT = "usr/local/sbin/machine-init"
_FILES = {
    INIT: (_INIT, 0o755),
    "etc/sudoers.d/ops": (f"{USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440),
    "etc/machine-id": ("", 0o444),
    # Timers that would work against a test's clock.
    "etc/systemd/system-preset/00-hosts.preset": ("disable *\n", 0o644),
}
_MASKED = (
    *("apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("dpkg-db-backup.timer", "systemd-networkd-wait-online.service", "getty.target"),
    "console-getty.service",
)


def ensure() -> Path:
    """The directory of the base's root file system; made where it is not there (about a minute)."""
    needs.require()
    CACHE.mkdir(parents=True, exist_ok=True)
    recipe = repr((needs.suite(), _PACKAGES, _FILES, _MASKED))
    target = CACHE / f"{needs.suite()}-{documents.sha256(recipe.encode())[:12]}"
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            scratch = Path(tempfile.mkdtemp(prefix=".base-", dir=CACHE))
            try:
                _make(scratch / "root")
                (scratch / "root").rename(target)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return target


def _make(root: Path) -> None:
    command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_PACKAGES)}"]
    # This machine's own sources where it runs the same Debian: they are what is reachable from here.
    sources = _own_sources()
    done = subprocess.run(
        [*command, needs.suite(), str(root), *(["-"] if sources else [])],
        input=sources,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode != 0:
        raise SkfleetError(
            f"The base of the hosts cannot be made: {done.stderr.strip()[-800:]}",
            where="mmdebstrap",
            hint="It needs a Debian archive; `apt-get update` shows whether there is one.",
        )
    _run(root, "useradd", "--create-home", "--shell", "/bin/bash", USER)
    for name, (text, mode) in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
    for unit in _MASKED:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    _run(root, "systemctl", "enable", "systemd-networkd.service", "ssh.service")
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    # Hosts reach no archive: their lists would only mislead.
    for path in (root / "etc/apt/sources.list.d").glob("*"):
        path.unlink()
    (root / "etc/apt/sources.list").write_text("")


def _run(root: Path, *argv: str) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["chroot", str(root), *argv], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode != 0:
        raise SkfleetError(f"{argv[0]} failed: {done.stderr.strip()}", where=str(root))


def _own_sources() -> str:
    try:
        release = Path("/etc/os-release").read_text()
    except FileNotFoundError:
        return ""
    if f"VERSION_CODENAME={needs.suite()}" not in release:
        return ""
    for name in ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"):
        path = Path(name)
        if path.is_file() and (text := path.read_text().strip()):
            return text + "\n"
    return ""
