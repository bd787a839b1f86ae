"""Host keys of a VM, as its guest attributes say: ssh's `KnownHostsCommand`.

    python -m skfleet_operator.compute.hostkeys PROJECT ZONE INSTANCE NAME [ENDPOINT]

prints known_hosts lines for NAME. A VM's guest agent publishes its keys through the metadata server, which
only that VM can write to, so nobody else can pose as it, and a recreated VM needs no file edited.
"""

from __future__ import annotations

import re
import sys

from skfleet.errors import SkfleetError
from skfleet_operator.compute.client import Compute

OTHER_WAY = (
    "  hint: Where a policy forbids guest attributes (`skfleet doctor` names it): "
    "export SKFLEET_SSH_HOST_KEYS=first-use."
)


def lines(compute: Compute, zone: str, instance: str, name: str) -> list[str]:
    """known_hosts lines of a VM; none while it has published no key."""
    keys = compute.guest_attributes(zone, instance, "hostkeys/")
    return [
        f"{name} {kind} {key}"
        for kind, key in keys.items()
        # The VM wrote them: a line is one key of its own, and no directive.
        if re.fullmatch(r"[a-z0-9@.-]+", kind) and re.fullmatch(r"[A-Za-z0-9+/=]+", key)
    ]


def main() -> None:
    """The command."""
    if len(sys.argv) not in (5, 6):
        print(__doc__, file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(2)
    project, zone, instance, name = sys.argv[1:5]
    endpoint = sys.argv[5] if len(sys.argv) == 6 else ""
    try:
        found = lines(Compute(project, zone.rpartition("-")[0], endpoint), zone, instance, name)
        print("".join(f"{line}\n" for line in found), end="")  # noqa: T201 - what ssh reads
        if not found:
            print(f"hostkeys: {instance} has published no host key.\n{OTHER_WAY}", file=sys.stderr)  # noqa: T201
    except SkfleetError as error:
        print(f"hostkeys: {error}\n{OTHER_WAY}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
