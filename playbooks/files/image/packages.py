"""What is installed on this host, as JSON: Debian's packages, and Python's by environment.

Debian's own Python runs it: an image without a release has only one other, and need not have that.
"""

from __future__ import annotations

import json
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

_FIELDS = ("Package", "Version", "Architecture", "source:Package", "Status")
ROOT = Path("/opt/skfleet")


def debian() -> list[dict[str, str]]:
    """Installed packages."""
    form = "\\t".join(f"${{{field}}}" for field in _FIELDS) + "\\n"
    answer = subprocess.run(
        ["dpkg-query", "--show", f"--showformat={form}"], capture_output=True, text=True, check=True
    )
    found = [line.split("\t") for line in answer.stdout.splitlines()]
    return [
        {"name": name, "version": version, "architecture": architecture, "source": source}
        for name, version, architecture, source, status in found
        if status.endswith(" installed")
    ]


def python(environment: Path) -> list[dict[str, str]]:
    """Distributions of one environment."""
    folders = [str(path) for path in environment.glob("lib/python3.*/site-packages")]
    found = {(d.metadata["Name"], d.version) for d in distributions(path=folders)}
    return [{"name": name, "version": version} for name, version in sorted(found)]


def main() -> None:
    """The script."""
    environments = [ROOT / "runtime", *sorted((ROOT / "builds").glob("*"))]
    result: dict[str, Any] = {
        "system": platform.freedesktop_os_release(),
        "debian": debian(),
        "python": {str(path.relative_to(ROOT)): python(path) for path in environments},
    }
    print(json.dumps(result))  # noqa: T201 - the answer


main()
