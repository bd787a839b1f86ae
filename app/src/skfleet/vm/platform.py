"""What a host's wheels are made for."""

from __future__ import annotations

import re
import sys
import sysconfig


def host_tags() -> tuple[str, str]:
    """(Python, platform) of this interpreter: what a wheelhouse must match to be installed."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return python, re.sub(r"[-.]", "_", sysconfig.get_platform())
