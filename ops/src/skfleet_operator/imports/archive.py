"""The bounds of skops bytes that anybody may have written, before skops reads them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

SCHEMA = "schema.json"
MAX_SCHEMA_BYTES = 64 << 20


def check(data: bytes, max_bytes: int) -> None:
    """Raise ValueError where unpacking takes more than `max_bytes`: compressed, or read again and again."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
        if sum(info.file_size for info in archive.infolist()) > max_bytes:
            raise ValueError(f"it unpacks to more than {max_bytes >> 20} MiB")
        if sizes[SCHEMA] > MAX_SCHEMA_BYTES:
            raise ValueError(f"its {SCHEMA} is larger than {MAX_SCHEMA_BYTES >> 20} MiB")
        if sum(sizes[name] for name in _files(json.loads(archive.read(SCHEMA)))) > max_bytes:
            raise ValueError(f"it reads more than {max_bytes >> 20} MiB from its own files")


def _files(node: Any) -> list[str]:
    """The files that a schema's nodes read, each as often as it is read."""
    found: list[str] = []
    waiting = [node]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if isinstance(node.get("file"), str):
                found.append(node["file"])
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
    return found
