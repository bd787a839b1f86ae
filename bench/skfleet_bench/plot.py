"""The README's picture: single rows a second, one bar a contender, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

Row = dict[str, Any]
OURS = "skfleet"
WIDTH, LABEL, BAR, GAP, HEAD = 760, 150, 20, 8, 46
LEFT_OUT = frozenset({"handler"})  # no server
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#444}.h{font-weight:600}.ours{fill:#0b7a75}.other{fill:#9aa5b1}"
    ".ceiling{fill:none;stroke:#9aa5b1;stroke-dasharray:4 3}"
    "@media(prefers-color-scheme:dark){text{fill:#ccc}}"
)


def svg(rows: Sequence[Row], case: str, title: str, note: str) -> str:
    """The bars of one case, the longest first; who has no figure says so."""
    chosen = [row for row in rows if row["case"] == case and row["contender"] not in LEFT_OUT]
    chosen.sort(key=lambda row: -(row["rps"] or 0))
    top = max((row["rps"] or 0 for row in chosen), default=0) or 1
    height = HEAD + len(chosen) * (BAR + GAP) + 26
    room = WIDTH - LABEL - 170
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="h" x="0" y="18">{escape(title)}</text>',
    ]
    for index, row in enumerate(chosen):
        y = HEAD + index * (BAR + GAP)
        name = row["contender"]
        kind = "ours" if name.startswith(OURS) else "ceiling" if name == "ceiling" else "other"
        length = round(room * (row["rps"] or 0) / top, 1)
        figure = "did not start" if row["rps"] is None else f"{row['rps']:,.0f}/s"
        if row["rps"] and row["p99_ms"] is not None:
            figure += f", p99 {row['p99_ms']:.0f} ms"
        parts.append(
            f'<text x="{LABEL - 8}" y="{y + 15}" text-anchor="end">{escape(name)}</text>'
            f'<rect class="{kind}" x="{LABEL}" y="{y}" width="{max(length, 1)}" height="{BAR}"/>'
            f'<text x="{LABEL + length + 6}" y="{y + 15}">{figure}</text>'
        )
    parts.append(f'<text x="0" y="{height - 6}">{escape(note)}</text></svg>')
    return "\n".join(parts) + "\n"
