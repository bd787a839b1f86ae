"""What is current and what answers: `look.py ROOT HEALTH_URL [RELEASE SECONDS]`, the answer as JSON.

The port is that of the current release's service.env, or HEALTH_URL's where it says none.

With a release it waits until the service answers with it and is live, and fails where that does not
come true in time, or where a reload says that it cannot. A script, since it looks ten times a second,
where a task can look once.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

# Between a host and itself there is no proxy.
# Each look is a new connection, which any of the workers may take.
LOOKS = 5
# A refusal that is older than this reload is gone by then; seconds.
REFUSAL_S = 3.0
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def health_url(root: Path, url: str) -> str:
    """Where the health listener of the current release answers."""
    try:
        lines = (root / "current/service.env").read_text().splitlines()
    except OSError:
        return url
    ports = [line.partition("=")[2] for line in lines if line.startswith("SKFLEET_PORT_HEALTH=")]
    return f"{url.rpartition(':')[0]}:{ports[-1]}" if ports else url


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


def refused(url: str) -> str:
    """Why the last reload kept the models as they were, or nothing."""
    try:
        with OPENER.open(f"{url}/readyz", timeout=5) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        body = error.read()
    except OSError:
        return ""
    try:
        return str(json.loads(body).get("reload_failure") or "")
    except (ValueError, AttributeError):
        return ""


def serves(url: str, release: str) -> bool:
    """Whether this release answers, and is live."""
    if running(url) != release:
        return False
    try:
        get(f"{url}/livez")
    except OSError:
        return False
    return True


def ours(found: dict[str, Any]) -> dict[str, Any]:
    """Without Ansible's own names, which its `from_json` refuses: nobody could leave such a release."""
    return {key: value for key, value in found.items() if not key.startswith("__ansible")}


def main() -> None:
    """The script."""
    root = Path(sys.argv[1])
    url = health_url(root, sys.argv[2])
    if len(sys.argv) > 3:
        release, seconds = sys.argv[3], float(sys.argv[4])
        began = time.monotonic()
        deadline, agreed = began + seconds, 0
        while (agreed := agreed + 1 if serves(url, release) else 0) < LOOKS:
            if not agreed and time.monotonic() > began + REFUSAL_S and (why := refused(url)):
                sys.exit(f"Release '{release}' is refused: {why}")
            if time.monotonic() >= deadline:
                found = running(url)
                answer = "nobody answers" if found is None else f"release '{found}' answers"
                sys.exit(f"Release '{release}' does not serve after {seconds:.0f} s: {answer}.")
            time.sleep(0.1 if not agreed else 0.01)
    link = root / "current"
    current = str(link.readlink()) if link.is_symlink() else ""
    try:
        document = json.loads((link / "release.json").read_bytes(), object_hook=ours)
    except (OSError, ValueError):
        document = {}
    found = {"current": current, "running": running(url), "document": document}
    print(json.dumps(found))  # noqa: T201 - the answer


main()
