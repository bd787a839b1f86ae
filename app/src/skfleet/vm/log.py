"""The log of a host's programs: one JSON object a line on standard output, as the service writes its own.

The Ops Agent reads `time` and `level` of every line (roles/observability): a line without them has no
severity, and no alert counts it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any


def write(level: str, **fields: Any) -> None:
    """Print a line; `level` is debug, info, warning or error."""
    time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    print(json.dumps({"time": time, "level": level, **fields}), flush=True)  # noqa: T201 - the log
