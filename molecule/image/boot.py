"""Boot hosts from an image and time them, in their network: `boot.py RECORD WHERE NAME=ADDRESS …`.

They are started at once, as a group that scales out starts them, and nobody logs in before they are
ready. What each did meanwhile is read from its journal afterwards. WHERE is the layer that says where
their cloud is; the image's is beside RECORD, the file to write. Prints a line for each host.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from skfleet.declared import declared
from skfleet.polling import wait_until

HOSTS = [sys.executable, "-m", "skfleet_local.hosts"]
READY_S = 240
HEALTH_PORT = declared().edge.listeners.health.port


def boot(image: Path, where: Path, name: str, address: str) -> dict[str, Any]:
    """Start one host and wait for `/readyz`; seconds from the start, by what they went to."""
    began = time.time()
    layers = [part for layer in (where, image) for part in ("--layer", str(layer))]
    with subprocess.Popen([*HOSTS, "start", name, address, *layers], stdout=subprocess.DEVNULL):
        ready = wait(address, began + READY_S)
    lines = journal(name)
    first, last = at(lines[0]) - lines[0]["seconds"], at(lines[-1])
    result = {
        "name": name,
        "address": address,
        "seconds": round(ready - began, 1),
        "until converge": round(first - began, 1),
        "converge": round(last - first, 1),
        "after converge": round(ready - last, 1),
        "of converge": parts(lines, last - first),
    }
    print(json.dumps(result), flush=True)  # noqa: T201 - the answer
    return result


def at(line: dict[str, Any]) -> float:
    """When a line of skfleet-converge was written, in Unix seconds."""
    return datetime.fromisoformat(line["time"]).timestamp()


def wait(address: str, deadline: float) -> float:
    """When the host says that it is ready (Unix seconds); looked at ten times a second."""
    url = f"http://{address}:{HEALTH_PORT}/readyz"

    def ready_at() -> float:
        with urllib.request.urlopen(url, timeout=2):
            return time.time()

    try:  # an error: not there yet, or 503
        return wait_until(ready_at, deadline - time.time(), url, ignore=(OSError,))
    except TimeoutError as late:
        sys.exit(str(late))


def journal(name: str) -> list[dict[str, Any]]:
    """Lines of progress of the converge at boot."""
    command = [*HOSTS, "ssh", name, "sudo", "journalctl", "--unit=skfleet-converge", "--output=cat"]
    lines: list[dict[str, Any]] = []

    def is_done() -> bool:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = (json.loads(line) for line in said.splitlines() if line.startswith("{"))
        lines[:] = [line for line in found if "seconds" in line]
        return any(line.get("step") in ("all", "fallback") for line in lines)

    with contextlib.suppress(TimeoutError):
        wait_until(is_done, 30, "the converge's end", interval_s=1)
    return lines


def parts(lines: list[dict[str, Any]], whole: float) -> dict[str, float]:
    """Seconds by what they went to; `ansible` is what is no task's: its start, mostly."""
    result: dict[str, float] = {}
    for line in lines:
        if "task" in line:
            role = str(line["task"]).partition(" : ")
            key = f"role {role[0]}" if role[1] else "ansible"
        elif line["step"] == "all":
            continue
        else:
            key = str(line["step"])
        result[key] = result.get(key, 0.0) + float(line["seconds"])
    result["ansible"] = whole - sum(value for key, value in result.items() if key != "ansible")
    return {key: round(value, 1) for key, value in result.items()}


def main() -> None:
    """The script."""
    record, where = Path(sys.argv[1]), Path(sys.argv[2])
    pairs = [argument.split("=") for argument in sys.argv[3:]]
    with ThreadPoolExecutor() as pool:
        booted = list(pool.map(lambda pair: boot(record.parent / "layer", where, *pair), pairs))
    record.write_text(json.dumps(booted, indent=1))


main()
