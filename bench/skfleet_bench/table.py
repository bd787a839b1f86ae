"""The result as Markdown: a table a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Row = dict[str, Any]
HEAD = (
    "contender",
    "req/s",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "errors",
    "CPU µs",
    "PSS MiB",
    "ready s",
)
FIELDS = (
    "rps", "p50_ms", "p90_ms", "p99_ms", "p999_ms", "errors", "cpu_us", "pss_mib", "ready_s",
)  # fmt: skip


def markdown(rows: Sequence[Row]) -> str:
    """All cases, each with its contenders by throughput; those without figures last, with the reason."""
    parts = []
    for case in dict.fromkeys(row["case"] for row in rows):
        lines = [f"**{case}**", "", _line(HEAD), _line(["---"] + ["---:"] * len(FIELDS))]
        chosen = [row for row in rows if row["case"] == case]
        for row in sorted(chosen, key=lambda row: -(row["rps"] or 0)):
            if row["rps"] is None:
                cells = [
                    row["contender"],
                    str(row["error"]).replace("|", "/"),
                    *[""] * (len(FIELDS) - 1),
                ]
            else:
                mark = " (a round failed)" if row["error"] else ""
                cells = [row["contender"] + mark, *(_figure(row[name]) for name in FIELDS)]
            lines.append(_line(cells))
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _figure(value: float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int) or value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
