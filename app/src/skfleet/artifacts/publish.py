"""The old name of `skfleet_operator.models.publish`, for one release. The VM's wheel does not have it."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

NEW = "skfleet_operator.models.publish"


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    warnings.warn(
        f"skfleet.artifacts.publish is deprecated: import '{name}' from {NEW}.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(importlib.import_module(NEW), name)
