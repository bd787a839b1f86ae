"""Rows against the manifest's features: count, range, whole numbers, nothing that is no number."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skfleet.artifacts.manifest import Feature
from skfleet.serving.errors import InvalidRows

# A set is one C call a row; beyond this many values a range check is smaller.
MAX_ALLOWED_VALUES = 64


class RowCheck:
    """The check of one model's rows, prepared once."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        self._width = len(features)
        self._allowed = _common_values(features)

    def accepts(self, row: Sequence[float]) -> bool:
        """Whether the row is one the model can answer. The common case costs one set operation."""
        if len(row) != self._width:
            return False
        if self._allowed is not None:
            return self._allowed.issuperset(row)
        return all(
            _value_problem(value, feature) is None
            for value, feature in zip(row, self._features, strict=True)
        )

    def refuse(self, rows: Sequence[Sequence[float]], path: str) -> None:
        """Raise InvalidRows naming the first bad row and column; `path` is where the rows stand."""
        for index, row in enumerate(rows):
            if not self.accepts(row):
                self._explain(row, path.format(row=index))

    def _explain(self, row: Sequence[float], path: str) -> None:
        if len(row) != self._width:
            raise InvalidRows(
                f"The row has {len(row)} values, the model takes {self._width}.",
                where=path,
                hint="Send the features in the order of the model's manifest.",
            )
        for column, (value, feature) in enumerate(zip(row, self._features, strict=True)):
            problem = _value_problem(value, feature)
            if problem is not None:
                raise InvalidRows(
                    f"Feature '{feature.name}' {problem}.",
                    where=f"{path}[{column}]",
                    hint=_range_hint(feature),
                )


def _value_problem(value: float, feature: Feature) -> str | None:
    if not math.isfinite(value):
        return "is not a finite number"
    if not feature.low <= value <= feature.high:
        return f"is {value:g}, out of range"
    if feature.integer and value != int(value):
        return f"is {value:g}, not a whole number"
    return None


def _range_hint(feature: Feature) -> str:
    kind = "whole number" if feature.integer else "number"
    return f"A {kind} from {feature.low:g} to {feature.high:g}."


def _common_values(features: Sequence[Feature]) -> frozenset[float] | None:
    """The values any feature may take, where all are whole numbers of one small range."""
    ranges = {(f.low, f.high, f.integer) for f in features}
    if len(ranges) != 1:
        return None
    low, high, integer = ranges.pop()
    if not integer or not high - low < MAX_ALLOWED_VALUES:
        return None
    return frozenset(range(math.ceil(low), math.floor(high) + 1))
