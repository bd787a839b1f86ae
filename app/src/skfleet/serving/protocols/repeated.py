"""Fields given twice: JSON readers keep one of them and each another one, so they are refused."""

from __future__ import annotations

import json
from typing import Any

from skfleet.serving.errors import BadRequest


def refuse(body: bytes, hint: str) -> None:
    """Raise BadRequest naming the first field that an object has twice; ValueError where it is no JSON."""

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise BadRequest("A field is given twice.", where=twice, hint=hint)
        return result

    json.loads(body, object_pairs_hook=look)
