"""A VM converges by the real roles, and is left as it was by a release that cannot be installed."""

from __future__ import annotations

import json
from typing import Any


def lines(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def test_host_converges_to_the_desired_release(cloud: Any, machine: Any) -> None:
    cloud.release("r1")
    cloud.desire("r1")
    done = machine.converge()
    print(done.stdout, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert machine.served() == "r1"
    assert machine.state()["release"] == "r1"
    assert machine.get("/readyz")[0] == 200
