"""Start the service: `python -m skfleet.vm.launch [--host-dir DIR]`.

The one way under every service manager, since not all of them can read environment files. It becomes
gunicorn, so the manager's signals and notifications are gunicorn's. Without a release it is the
image's own gunicorn: live, not ready, and able to say why.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from skfleet.errors import SkfleetError
from skfleet.settings import Settings, environment_of
from skfleet.vm.host import DEFAULT_DIRECTORY, Host, read_environment

APPLICATION = [
    "--config",
    "python:skfleet.serving.gunicorn",
    "skfleet.serving.application:application",
]
# What systemd tells the process it starts; everything else of the caller's environment stays out.
_FROM_THE_MANAGER = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "JOURNAL_STREAM",
    "INVOCATION_ID",
)


def command(host: Host) -> tuple[Path, dict[str, str]]:
    """The gunicorn to become, and its environment."""
    # A release whose bundle has no edge.yml says no ports: it follows its image.
    environment = {**image_ports(), **host.environment()}
    current = host.current()
    if current is None:
        return host.runtime / "bin/gunicorn", environment
    environment.update(read_environment(current / "service.env"))
    # By way of the link: a reload reads the file of the release that is current then.
    environment["SKFLEET_SERVICE_ENV"] = str(host.prefix / "opt/skfleet/current/service.env")
    return current / "venv/bin/gunicorn", environment


def image_ports() -> dict[str, str]:
    """The ports of the image's edge.yml."""
    return {
        name: value
        for name, value in environment_of(Settings()).items()
        if name.startswith("SKFLEET_PORT_")
    }


def main() -> None:
    """Become the service."""
    parser = argparse.ArgumentParser(prog="skfleet.vm.launch", description=__doc__)
    parser.add_argument("--host-dir", type=Path, default=DEFAULT_DIRECTORY)
    options = parser.parse_args()
    try:
        program, environment = command(Host.read(options.host_dir))
    except SkfleetError as error:
        print(f"launch: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)
    for name in _FROM_THE_MANAGER:
        if name in os.environ:
            environment[name] = os.environ[name]
    os.execve(program, [str(program), *APPLICATION], environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
