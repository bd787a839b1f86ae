"""One running host: `python -m skfleet_local.hosts.machine DIRECTORY`, in a mount namespace of its own.

It is to the host what a hypervisor is to a VM: it mounts the disk, starts the init, starts it again
when it reboots, and ends when the host powers off. TERM shuts the host down as a power button does.
Nothing of it outlives this process: mounts end with its namespace, and nspawn, which is init of a process
namespace, is killed when it dies, and everything on the host with that.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from skfleet.polling import repeat_every, wait_until
from skfleet_local.hosts import base, network
from skfleet_local.hosts.host import Host

SHUTDOWN_S = 120.0  # what Compute Engine gives a VM
_PRESS_AGAIN_S = 3.0  # an init that has just begun to boot misses the first signal
_REBOOT = 133  # nspawn's code for it
_CGROUPS = Path("/sys/fs/cgroup")
_CONTROLLERS = ("systemd", "unified", "pids", "cpu", "cpuacct", "memory")
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """The process."""
    host = Host.read(Path(sys.argv[1]))
    stopping: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(time.monotonic()))
    groups = _groups(host)
    try:
        _mount(host)
        while True:
            code = _run(host, groups, stopping)
            if code != _REBOOT or stopping:
                sys.exit(0 if stopping else code)
    finally:
        _remove(groups)


def _mount(host: Host) -> None:
    for folder in (host.upper, host.work, host.root):
        folder.mkdir(parents=True, exist_ok=True)
    lower = ":".join(str(layer) for layer in host.layers)
    options = f"lowerdir={lower},upperdir={host.upper},workdir={host.work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(host.root)], check=True)


def _run(host: Host, groups: list[Path], stopping: list[float]) -> int:
    command = [
        *("unshare", "--pid", "--mount-proc", "--fork", "--kill-child=SIGKILL", "--"),
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit"),
        f"--directory={host.root}",
        f"--machine={host.name}",
        f"--network-bridge={network.BRIDGE}",
        "--kill-signal=SIGRTMIN+3",
        # IPAddressDeny and the like.
        "--system-call-filter=bpf",
        "--resolv-conf=off",
        "--console=pipe",
        f"/{base.INIT}",
    ]
    # nspawn hands none of this to the init; the mark lets `down` find it.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_entering(groups)) as child:
        pressed = 0.0
        for _ in repeat_every(0.05):
            if child.poll() is not None:
                break
            now = time.monotonic()
            if stopping and now - stopping[0] > SHUTDOWN_S:
                child.kill()
            elif stopping and now - pressed > _PRESS_AGAIN_S:
                _press(child.pid)
                pressed = now
        return child.returncode


def _press(unshare: int) -> None:
    """TERM for nspawn, which tells the host's init to shut down."""
    with contextlib.suppress(OSError):
        for pid in Path(f"/proc/{unshare}/task/{unshare}/children").read_text().split():
            os.kill(int(pid), signal.SIGTERM)


def _entering(groups: list[Path]) -> Callable[[], None]:
    def enter() -> None:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    return enter


def _groups(host: Host) -> list[Path]:
    """Control groups of its own, where systemd does not make them (see Host.command)."""
    if host.scoped:
        return []
    groups = [_CGROUPS / name / host.group for name in _CONTROLLERS if (_CGROUPS / name).is_dir()]
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def _remove(groups: list[Path]) -> None:
    def is_gone(group: Path) -> bool:
        folders = sorted((p for p in group.rglob("*") if p.is_dir()), reverse=True)
        for folder in (*folders, group):
            with contextlib.suppress(OSError):
                folder.rmdir()
        return not group.exists()

    for group in groups:
        with contextlib.suppress(TimeoutError):  # members that were killed leave a moment later
            wait_until(partial(is_gone, group), 1.0, "its processes", interval_s=0.05)


if __name__ == "__main__":
    main()
