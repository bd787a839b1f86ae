"""Numbers that fit the 32-bit floats in which trees and graphs compute.

A double beyond them becomes infinite on the way, and whether anybody notices depends on scikit-learn's
configuration of the running thread.
"""

from __future__ import annotations

import numpy as np

from skfleet.backends.base import Rows
from skfleet.documents.manifest import Manifest

LARGEST = float(np.finfo(np.float32).max)


class FloatRange:
    """Checks the columns of one model whose features' own limits leave room for more."""

    def __init__(self, manifest: Manifest) -> None:
        self._columns = [
            index
            for index, feature in enumerate(manifest.features)
            if feature.categories is None and max(-feature.low, feature.high) > LARGEST
        ]

    def check(self, rows: Rows) -> None:
        """Raise FloatingPointError where a number is beyond a 32-bit float."""
        if not self._columns:
            return
        if isinstance(rows, np.ndarray):
            beyond = bool(np.abs(rows[:, self._columns]).max(initial=0) > LARGEST)
        else:
            beyond = any(abs(row[column]) > LARGEST for row in rows for column in self._columns)
        if beyond:
            raise FloatingPointError("a value is beyond a 32-bit float")
