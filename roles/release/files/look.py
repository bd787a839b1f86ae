"""What is current and what answers: `look.py ROOT HEALTH_URL [RELEASE SECONDS]`, the answer as JSON.

With a release it waits until the service answers with it and is live, and fails where that does not
come true in time. A script, since it looks ten times a second, where a task can look once.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path

# Between a host and itself there is no proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url: str) -> bytes:
    """The body of an answer with status 200; OSError for all else."""
    with OPENER.open(url, timeout=5) as answer:
        return bytes(answer.read())


def running(url: str) -> str | None:
    """The release that answers, empty for a service without one, None where none answers."""
    try:
        return str(json.loads(get(f"{url}/version")).get("release") or "")
    except (OSError, ValueError, AttributeError):
        return None


def serves(url: str, release: str) -> bool:
    """Whether this release answers, and is live."""
    if running(url) != release:
        return False
    try:
        get(f"{url}/livez")
    except OSError:
        return False
    return True


def main() -> None:
    """The script."""
    root, url = Path(sys.argv[1]), sys.argv[2]
    if len(sys.argv) > 3:
        release, seconds = sys.argv[3], float(sys.argv[4])
        deadline = time.monotonic() + seconds
        while not serves(url, release):
            if time.monotonic() >= deadline:
                found = running(url)
                answer = "nobody answers" if found is None else f"release '{found}' answers"
                sys.exit(f"Release '{release}' does not serve after {seconds:.0f} s: {answer}.")
            time.sleep(0.1)
    link = root / "current"
    current = str(link.readlink()) if link.is_symlink() else ""
    print(json.dumps({"current": current, "running": running(url)}))  # noqa: T201 - the answer


main()
