"""What is measured: a model, rows a request, how they are written, and how many callers ask at once."""

from __future__ import annotations

from dataclasses import dataclass

LINEAR, FOREST, BOOSTING = "linear", "forest", "boosting"
MODELS = (LINEAR, FOREST, BOOSTING)


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table for each contender that knows its encoding."""

    name: str
    model: str
    rows: int  # a request
    encoding: (
        str  # text (form or JSON, whatever is the contender's own), binary (V2), bytes (V2), npy
    )
    connections: int


CASES = (
    Case("single-linear", LINEAR, 1, "text", 64),
    Case("single-linear-190", LINEAR, 1, "text", 190),
    Case("rows-100-linear", LINEAR, 100, "text", 16),
    Case("rows-1000-linear", LINEAR, 1000, "text", 4),
    Case("rows-1000-linear-binary", LINEAR, 1000, "binary", 4),
    Case("rows-1000-linear-bytes", LINEAR, 1000, "bytes", 4),
    Case("rows-1000-linear-npy", LINEAR, 1000, "npy", 4),
    Case("single-forest", FOREST, 1, "text", 64),
    Case("rows-100-forest", FOREST, 100, "text", 16),
    Case("rows-1000-forest", FOREST, 1000, "text", 4),
    Case("single-boosting", BOOSTING, 1, "text", 64),
    Case("rows-100-boosting", BOOSTING, 100, "text", 16),
    Case("rows-1000-boosting", BOOSTING, 1000, "text", 4),
)
