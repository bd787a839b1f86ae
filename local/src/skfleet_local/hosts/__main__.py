"""`python -m skfleet_local.hosts`: real systemd hosts, for Molecule, Packer and a look by hand.

    start NAME ADDRESS [--layer DIR]…    a fresh host, until sshd answers; prints how to reach it as JSON
    stop NAME [--layer DIR]              shut down; with --layer its disk is kept there, for other hosts
    exec -- COMMAND…                     run a command in the hosts' network
    ssh NAME [COMMAND…]                  log in
    down                                 end and remove every host, and the network

State is in $SKFLEET_HOSTS, or .skfleet/hosts of the checkout; for other programs there are in it
`ssh`, which is ssh in the hosts' network, and `known_hosts`.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from skfleet.errors import Refused, SkfleetError
from skfleet.files import replace_file
from skfleet_local import processes
from skfleet_local.hosts import base, host, network
from skfleet_local.hosts.host import Host
from skfleet_local.hosts.machine import SHUTDOWN_S
from skfleet_local.hosts.network import directory
from skfleet_local.run import claim, remove


def marks(name: str) -> dict[str, str]:
    """By which a host's processes are found again."""
    return {processes.MARK: str(directory()), processes.VM_MARK: name}


def start(name: str, address: str, layers: list[Path]) -> None:
    """A fresh host; one of that name that runs already is left as it is."""
    place = directory() / name
    with _lock():
        if not _running(name):
            lower = [*(layer.resolve() for layer in layers), base.ensure()]
            network.up()
            made = host.make(place, name, address, lower, host.authorized())
            made.boot(marks(name))
            _write_for_others()
    found = Host.read(place)
    found.wait()
    print(json.dumps(reach(found)))  # noqa: T201 - the answer


def reach(found: Host) -> dict[str, str]:
    """How to reach a host, as Ansible's variables."""
    return {
        "ansible_host": found.address,
        "ansible_user": base.USER,
        "ansible_ssh_private_key_file": str(host.identity()),
        "host_key": found.public_key,
    }


def stop(name: str, layer: Path | None) -> None:
    """Shut down and remove; nothing there is no error."""
    claim(directory())
    foreign = layer is not None and not (layer / "opt/skfleet").is_dir()
    if layer is not None and foreign and layer.exists() and any(layer.iterdir()):
        raise Refused(
            "The directory is not empty and holds no layer of a host.",
            where=str(layer),
            hint="Name a directory that is new or empty.",
        )
    place = directory() / name
    machines = [found for found in processes.of_run(directory(), name) if _is_machine(found)]
    processes.end(lambda: machines, SHUTDOWN_S + 5)
    processes.kill(lambda: processes.of_run(directory(), name))
    if layer is not None:
        shutil.rmtree(layer, ignore_errors=True)
        layer.parent.mkdir(parents=True, exist_ok=True)
        (place / "upper").rename(layer)
        # What makes a host itself is no part of an image.
        for path in (layer / "etc/machine-id", *(layer / "etc/ssh").glob("ssh_host_*")):
            path.unlink(missing_ok=True)
        shutil.rmtree(layer / "var/log/journal", ignore_errors=True)
    host.remove(place)
    with _lock():
        _write_for_others()


def down() -> None:
    """All of it, whatever state it is in."""
    processes.end(lambda: processes.of_run(directory()), SHUTDOWN_S / 4)
    remove(directory())
    network.down()


def _write_for_others() -> None:
    """`ssh` and `known_hosts`."""
    script = directory() / "ssh"
    script.write_text(f'#!/bin/sh\nexec nsenter --net={network.path()} -- ssh "$@"\n')
    script.chmod(0o755)
    hosts = [Host.read(path.parent) for path in directory().glob("*/host.json")]
    lines = [f"{found.address},{found.name} {found.public_key}\n" for found in hosts]
    replace_file(directory() / "known_hosts", "".join(lines).encode(), mode=0o644)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    claim(directory())
    with (directory() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_machine(process: processes.Process) -> bool:
    """The one that shuts a host down when it is told to end; the others only end."""
    try:
        return b"skfleet_local.hosts.machine" in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    except OSError:
        return False


def _running(name: str) -> bool:
    return bool(processes.of_run(directory(), name))


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="skfleet_local.hosts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start")
    starting.add_argument("name")
    starting.add_argument("address")
    starting.add_argument("--layer", type=Path, action="append", default=[])
    stopping = commands.add_parser("stop")
    stopping.add_argument("name")
    stopping.add_argument("--layer", type=Path)
    for name in ("exec", "ssh"):
        entering = commands.add_parser(name)
        if name == "ssh":
            entering.add_argument("name")
        entering.add_argument("argv", nargs=argparse.REMAINDER)
    commands.add_parser("down")
    options = parser.parse_args()
    try:
        if options.command == "start":
            start(options.name, options.address, options.layer)
        elif options.command == "stop":
            stop(options.name, options.layer)
        elif options.command == "down":
            down()
        else:
            argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
            if options.command == "ssh":
                command = [*host.ssh(Host.read(directory() / options.name).address), *argv]
            else:
                network.up()
                command = network.run_in(argv)
            os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except SkfleetError as error:
        print(f"hosts: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
