"""Rows against the manifest's features: count, range, whole numbers, known text, nothing else.

Rows come as lists in the order of the features, or as objects by the features' names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skfleet.documents.manifest import MAX_FLOAT, Feature, Value
from skfleet.serving.errors import InvalidRows

# A set is one C call a row; beyond this many values a range check is smaller.
MAX_ALLOWED_VALUES = 64
MAX_HINTED = 12  # categories that a hint lists
ARRAY_ROWS = 16  # from here on checking rows together is cheaper
Row = list[Value]
Named = dict[str, Value]

# At import: threads that meet a type first at the same time crash msgspec.
_numbers = msgspec.json.Decoder(list[float])
_mixed = msgspec.json.Decoder(Row)


class RowCheck:
    """The check of one model's rows, prepared once."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self.features = tuple(features)
        self.mixed = any(feature.categories is not None for feature in features)
        self.decoder: msgspec.json.Decoder[Any] = _mixed if self.mixed else _numbers
        self._width = len(features)
        self._names = frozenset(feature.name for feature in features)
        self._allowed = _common_values(features)
        self.digits = all(
            f.categories is None and f.integer and f.low >= 0 and f.high <= 9 for f in features
        )
        self._limits: tuple[Any, Any, Any] | None = None  # (low, high, integer) of each, as arrays
        self._known = tuple(
            None if feature.categories is None else frozenset(feature.categories)
            for feature in features
        )

    def accepts(self, row: Sequence[Any]) -> bool:
        """Whether the row is one the model can answer. The common case costs one set operation."""
        if len(row) != self._width:
            return False
        if self._allowed is not None:
            return self._allowed.issuperset(row)
        return all(
            _value_problem(value, feature, known) is None
            for value, feature, known in zip(row, self.features, self._known, strict=True)
        )

    def as_array(self, rows: Any) -> Any | None:
        """The rows as an array of doubles, shape (n, features), if the model can answer each; else None.

        Checks them together: of a thousand rows a tenth of what `accepts` takes row by row.
        """
        if self.mixed:
            return None
        import numpy as np  # an image's own service has none, and no model to answer

        try:
            array = np.asarray(rows, dtype=np.float64)
        except ValueError:  # rows of different lengths
            return None
        if array.ndim != 2 or array.shape[1] != self._width:
            return None
        if self._limits is None:
            self._limits = (
                np.asarray([feature.low for feature in self.features]),
                np.asarray([feature.high for feature in self.features]),
                np.asarray([feature.integer for feature in self.features]),
            )
        low, high, integer = self._limits
        # Limits are finite, and a NaN compares with none. Column by column costs five times as much.
        if not (
            (array.size and array.min() >= low.max() and array.max() <= high.min())
            or ((array.min(axis=0) >= low).all() and (array.max(axis=0) <= high).all())
        ):
            return None
        whole = array if integer.all() else array[:, integer]
        return array if (np.rint(whole) == whole).all() else None

    def from_digits(self, text: bytes) -> Any | None:
        """Valid JSON's `[[1,0,…],…]`, one digit a value, as an array of doubles; None where it is not that.

        Every row has as many bytes as the others, so that they are read together, as a table of bytes:
        a fifth of what numbers cost that are made one by one.
        """
        import numpy as np

        compact = text.translate(None, b" \t\r\n")
        width = 2 * self._width + 2  # of a row, with its brackets and what comes after it
        count, rest = divmod(len(compact) - 1, width)
        if rest or count < 1 or compact[:1] != b"[" or compact[-2:] != b"]]":
            return None
        table = np.frombuffer(compact, np.uint8, offset=1).reshape(count, width)
        frame = np.frombuffer(b"[" + b"," * (self._width - 1) + b"]", np.uint8)
        values = table[:, 1:-1:2] - np.uint8(ord("0"))  # below zero is above 9
        if not (
            (table[:, :-1:2] == frame).all()
            and (table[:-1, -1] == ord(",")).all()
            and (values <= 9).all()
        ):
            return None
        return values.astype(np.float64)

    def refuse(self, rows: Sequence[Sequence[Any]], path: str) -> None:
        """Raise InvalidRows naming the first bad row and column; `path` is where the rows stand.

        What `as_array` accepts, this does; rows that came as an array are taken apart to be explained.
        """
        if hasattr(rows, "tolist"):
            if self.as_array(rows) is not None:
                return
            rows = rows.tolist()
        for index, row in enumerate(rows):
            if not self.accepts(row):
                self._explain(row, path.format(row=index))

    def ordered(self, row: Mapping[str, Any], path: str) -> Row:
        """A row by names in the order of the features; raises InvalidRows for missing and unknown ones."""
        if row.keys() == self._names:
            return [row[feature.name] for feature in self.features]
        self.check_names(row, path)
        raise AssertionError("unreachable")

    def check_names(self, names: Sequence[str] | Mapping[str, Any], path: str) -> None:
        """Raise InvalidRows unless these are the features' names, each once, in any order."""
        given: set[str] = set()
        for name in names:
            if name not in self._names or name in given:
                problem = "given twice" if name in given else "not a feature of the model"
                raise InvalidRows(
                    f"Column '{name[:80]}' is {problem}.", where=path, hint=self._hint()
                )
            given.add(name)
        for feature in self.features:
            if feature.name not in given:
                raise InvalidRows(
                    f"Column '{feature.name}' is missing.", where=path, hint=self._hint()
                )

    def _hint(self) -> str:
        names = ", ".join(feature.name for feature in self.features[:40])
        return f"The model's columns: {names}{' …' if self._width > 40 else ''}."

    def _explain(self, row: Sequence[Any], path: str) -> None:
        if len(row) != self._width:
            raise InvalidRows(
                f"The row has {len(row)} values, the model takes {self._width}.",
                where=path,
                hint="Send the features in the order of the model's manifest.",
            )
        for column, (value, feature) in enumerate(zip(row, self.features, strict=True)):
            problem = _value_problem(value, feature, self._known[column])
            if problem is not None:
                raise InvalidRows(
                    f"Feature '{feature.name}' {problem}.",
                    where=f"{path}[{column}]",
                    hint=_value_hint(feature),
                )


def _value_problem(value: Any, feature: Feature, known: frozenset[str] | None) -> str | None:
    if known is not None:
        if type(value) is not str:
            return "is not text"
        if value not in known and feature.unknown == "refuse":
            return f"has no category '{value[:80]}'"
        return None
    if type(value) is str:
        return "is not a number"
    if not math.isfinite(value):
        return "is not a finite number"
    if not feature.low <= value <= feature.high:
        return f"is {value:g}, out of range"
    if feature.integer and value != int(value):
        return f"is {value:g}, not a whole number"
    return None


def _value_hint(feature: Feature) -> str:
    if feature.categories is not None:
        some = ", ".join(feature.categories[:MAX_HINTED])
        return f"Text, one of: {some}{' …' if len(feature.categories) > MAX_HINTED else ''}."
    kind = "whole number" if feature.integer else "number"
    if feature.high - feature.low > MAX_FLOAT:
        return f"A finite {kind}."
    return f"A {kind} from {feature.low:g} to {feature.high:g}."


def _common_values(features: Sequence[Feature]) -> frozenset[float] | None:
    """The values any feature may take, where all are whole numbers of one small range."""
    ranges = {(f.low, f.high, f.integer, f.categories is None) for f in features}
    if len(ranges) != 1:
        return None
    low, high, integer, numeric = ranges.pop()
    if not integer or not numeric or not high - low < MAX_ALLOWED_VALUES:
        return None
    return frozenset(range(math.ceil(low), math.floor(high) + 1))
