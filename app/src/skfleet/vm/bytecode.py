"""Compile an image's own environment once: `python -m skfleet.vm.bytecode [--moved HERE LATER]`.

All VMs of a fleet may boot at once, and each would compile for itself what it imports. Ansible sends
its modules as source, and packages' tests are nobody's: they are left out.
"""

from __future__ import annotations

import argparse
import compileall
import re
import sysconfig

_NEVER = re.compile("/ansible/modules/|/ansible/galaxy/|/ansible_test/|/tests?/")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="skfleet.vm.bytecode", description=__doc__)
    parser.add_argument(
        "--moved", nargs=2, metavar=("HERE", "LATER"), help="the environment will be renamed"
    )
    options = parser.parse_args()
    here, later = options.moved or (None, None)
    compileall.compile_dir(
        sysconfig.get_paths()["purelib"],
        maxlevels=32,
        quiet=2,  # some package's file may be no valid Python: it fails where it is imported
        workers=0,
        stripdir=here,
        prependdir=later,
        rx=_NEVER,
    )


if __name__ == "__main__":
    main()
