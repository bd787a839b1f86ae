"""Text of strangers, made safe to print."""

from __future__ import annotations


def printable(text: str, limit: int = 500, keep: str = "") -> str:
    r"""Escape what a terminal would act on (`\x1b`, newlines, direction marks) and cut at `limit`."""
    return "".join(
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode()
        for c in text[:limit]
    )
