"""What the process that unpickles sends: two lines of JSON, then the estimator as skops bytes."""

from __future__ import annotations

from typing import Annotated

import msgspec

from skfleet_operator.text import printable

MAX_LINE_BYTES = 4 << 20  # of JSON: names of columns are the most of it

Line = Annotated[str, msgspec.Meta(max_length=2000)]
Lines = Annotated[list[Line], msgspec.Meta(max_length=100)]
Column = Annotated[str, msgspec.Meta(max_length=500)]


class Statement(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Before the pickle came, so not by it: what holds, and what this system lacks (protection: why)."""

    held: Lines
    missing: dict[Line, Line]


class Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """After it; whatever was in the pickle may have written it."""

    refused: Line = ""
    converted: Lines = []
    warnings: Lines = []
    original_version: Line = ""
    estimator: Line = ""
    names: Annotated[list[Column], msgspec.Meta(max_length=100_000)] | None = None
    width: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None

    def __post_init__(self) -> None:
        """Refuse names that no column of data has; raises ValueError."""
        for name in self.names or []:
            if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name):
                raise ValueError(f"a column's name holds control characters: '{printable(name)}'")

    def printable(self) -> Answer:
        """The same without anything a terminal would act on; names, which are data's, stay."""

        def lines(values: list[str]) -> list[str]:
            return [printable(value) for value in values]

        return msgspec.structs.replace(
            self,
            refused=printable(self.refused),
            converted=lines(self.converted),
            warnings=lines(self.warnings),
            original_version=printable(self.original_version),
            estimator=printable(self.estimator),
        )
