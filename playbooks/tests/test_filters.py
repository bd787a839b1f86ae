"""Filters load with every task of every VM: what they import is paid thousands of times in a rollout."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
