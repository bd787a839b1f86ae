"""A response is compared with the known answer in every form that a response can have."""

from __future__ import annotations

from typing import Any

import pytest

from skfleet.backends.compare import find_wrong_row

CLASSES = {7: (1, [0.25, 0.75]), 3: (0, [0.5, 0.5])}
NUMBERS = {0: (1000.0, []), 1: ([1.0, 2.0], [])}


@pytest.mark.parametrize(
    ("expected", "body", "words"),
    [
        (CLASSES, {"predictions": [1, 0], "probabilities": [[0.25, 0.75], [0.5, 0.50001]]}, ""),
        (NUMBERS, {"predictions": [1000.05, [1, 2.00001]]}, ""),
        (CLASSES, {"predictions": [1, 0], "probabilities": [[0.25, 0.75], [0.5, 0.6]]}, "row 3"),
        (CLASSES, {"predictions": [0, 0], "probabilities": [[0.25, 0.75], [0.5, 0.5]]}, "row 7"),
        (
            CLASSES,
            {"predictions": [1, False], "probabilities": [[0.25, 0.75], [0.5, 0.5]]},
            "row 3",
        ),
        (CLASSES, {"predictions": [1, 0]}, "row 7 gives probabilities"),
        (CLASSES, {"predictions": [1, 0], "probabilities": [[0.25, 0.75]]}, "2 rows"),
        (CLASSES, {"predictions": [1]}, "2 rows"),
        (CLASSES, {"predictions": 1}, "2 rows"),
        (CLASSES, {"predictions": [1, 0], "probabilities": 1}, "2 rows"),
        (CLASSES, {}, "2 rows"),
        (CLASSES, None, "not a JSON object"),
        (NUMBERS, {"predictions": [1001.0, [1.0, 2.0]]}, "row 0 gives 1001.0, not 1000.0"),
        (NUMBERS, {"predictions": [float("nan"), [1.0, 2.0]]}, "row 0"),
        (NUMBERS, {"predictions": ["1000", [1.0, 2.0]]}, "row 0"),
        (NUMBERS, {"predictions": [1000.0, [1.0]]}, "row 1"),
        (NUMBERS, {"predictions": [1000.0, None]}, "row 1"),
    ],
)
def test_wrong_row_is_named(expected: Any, body: Any, words: str) -> None:
    found = find_wrong_row(body, expected, 1e-4)
    assert (words in found) if words else not found
