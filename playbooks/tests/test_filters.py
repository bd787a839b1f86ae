"""Filters load with every task of every VM, so they import little; and what those of a replacement decide."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

FILTERS = Path(__file__).parents[1] / "filter_plugins"
# Each takes a large part of a second to import; a filter that needs one imports it where it is used.
HEAVY = {"cyclonedx", "jsonschema", "numpy", "sklearn", "google.cloud.storage", "requests"}


def test_no_filter_loads_what_only_one_use_needs() -> None:
    code = f"""
import importlib.util, pathlib, sys
for path in sorted(pathlib.Path({str(FILTERS)!r}).glob("*.py")):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
print(*sorted(set(sys.modules) & {HEAVY!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []


spec = importlib.util.spec_from_file_location("rollout_filters", FILTERS / "rollout.py")
assert spec is not None
assert spec.loader is not None
rollout: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rollout)


def group(size: int, *vms: tuple[str, str, str]) -> dict[str, Any]:
    """The answer of `mig` for VMs (name, action, address), all of template `new`."""
    link = (
        "https://www.googleapis.com/compute/v1/projects/p/global/instanceTemplates/new?uniqueId=1"
    )
    return {
        "group": {"target_size": size},
        "instances": [
            {"name": name, "action": action, "address": address, "template": link}
            for name, action, address in vms
        ],
    }


OLD = [("a", "NONE", "1"), ("b", "NONE", "2"), ("c", "NONE", "3")]
PLAN = {"canary": 2, "size": 3}


def test_as_many_go_at_the_end_as_came() -> None:
    def gone(info: dict[str, Any], *canary: str) -> list[str]:
        found: list[str] = rollout.surplus(info, PLAN, ["a", "b", "c"], canary)
        return found

    judged = group(5, *OLD, ("x", "NONE", "4"), ("y", "NONE", "5"))
    assert gone(judged, "x", "y") == ["x", "y"]
    by_load = group(7, *OLD, *[(name, "NONE", name) for name in "uvxy"])
    assert gone(by_load, "x", "y") == ["x", "y"], "what load brought stays"
    assert gone(group(5, *OLD, ("x", "NONE", "4"), ("y", "CREATING", "")), "x") == ["x", "y"]
    assert gone(group(5, *OLD, ("u", "NONE", "4"), ("y", "CREATING", ""))) == ["y", "u"]
    assert gone(group(3, *OLD)) == [], "they were never asked for"
    assert gone(group(4, *OLD, ("x", "DELETING", "4"), ("y", "NONE", "5")), "x", "y") == ["y"]


def test_images_are_told_apart_however_they_are_written() -> None:
    info = group(3, *OLD)
    assert rollout.of_image(info, "projects/p/global/instanceTemplates/new") == ["a", "b", "c"]
    assert rollout.of_image(info, "projects/p/global/instanceTemplates/old") == []


def test_a_new_image_is_compared_with_a_vm_that_nobody_touched() -> None:
    ready = {"vm_found": {"ready": True}}
    batches = [{"vms": ["a"]}, {"vms": ["b", "c"]}]
    touched = {"a": {**ready, "rollout_touched": True}, "b": {"vm_found": {"ready": False}}}
    assert rollout.untouched(batches, {**touched, "c": ready}) == "c"
    assert rollout.untouched(batches, {**touched, "c": {}}) == ""
