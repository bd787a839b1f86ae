"""The equivalence report: what an imported model answers against what the old one answered. One HTML file."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from skfleet.errors import DocumentError
from skfleet_operator.imports.scan import Needs
from skfleet_operator.models import compiling

MARK = b'<meta name=generator content="skfleet model import">'
POINTS = 800  # of a scatter plot


@dataclass(frozen=True, slots=True)
class Comparison:
    """Old and new answers. Numbers: probabilities of all classes, or a regressor's answers."""

    rows: int
    confusion: dict[tuple[str, str], int]  # (old, new) label → rows
    old_numbers: npt.NDArray[np.float64] | None
    new_numbers: npt.NDArray[np.float64] | None
    largest: float
    refusal: str
    sentence: str


def compare(
    new: tuple[Sequence[Any], Sequence[Sequence[float]]],
    expected: pd.DataFrame,
    estimator: Any,
    tolerance: float,
) -> Comparison:
    """`expected`: the label in the first column, then a probability for each class in their order."""
    labels, chances = new
    rows = len(labels)
    if len(expected) != rows:
        raise DocumentError(
            f"There are {len(expected)} old answers for {rows} rows.",
            where="--expect",
            hint="Give one line for each row, and a header line.",
        )
    first = expected.iloc[:, 0].tolist()
    if labels and isinstance(labels[0], float):
        return _numbers(np.asarray(first, dtype=float), np.asarray(labels), tolerance)
    old = [str(compiling.plain_label(label)) for label in first]
    got = [str(label) for label in labels]
    confusion = Counter(zip(old, got, strict=True))
    wrong = sum(count for (a, b), count in confusion.items() if a != b)
    refusal = f"{wrong} of {rows} labels differ." if wrong else ""
    given = expected.iloc[:, 1:].to_numpy(dtype=float)
    if given.shape[1] == 0 or not len(chances):
        sentence = (
            refusal
            or f"All {rows} labels are the old ones; LABELS ONLY, no old probabilities given"
        )
        return Comparison(rows, dict(confusion), None, None, 0.0, refusal, sentence)
    now = np.asarray(chances)
    if given.shape != now.shape:
        raise DocumentError(
            f"There are {given.shape[1]} old probabilities a row; the model has {now.shape[1]} classes "
            f"({list(getattr(estimator, 'classes_', []))}).",
            where="--expect",
            hint="Give one column for each class, in their order.",
        )
    largest = float(np.abs(given - now).max())
    if not largest <= tolerance and not refusal:
        refusal = f"probabilities differ by up to {largest:.3g}."
    sentence = (
        f"All {rows} labels and probabilities are the old ones (largest difference {largest:.1e})"
    )
    return Comparison(
        rows, dict(confusion), given.ravel(), now.ravel(), largest, refusal, refusal or sentence
    )


def _numbers(
    old: npt.NDArray[np.float64], new: npt.NDArray[np.float64], tolerance: float
) -> Comparison:
    apart = np.abs(old - new) / np.maximum(1.0, np.abs(old))
    largest = float(apart.max())
    refusal = "" if largest <= tolerance else f"numbers differ by up to {largest:.3g}, relatively."
    sentence = (
        refusal or f"All {len(old)} numbers are the old ones (largest difference {largest:.1e})"
    )
    return Comparison(len(old), {}, old, new, largest, refusal, sentence)


_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:58rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}
table{border-collapse:collapse}td,th{border:1px solid #d0d7de;padding:.25rem .7rem;text-align:right}
.bad{color:#b42318}.good{color:#116329}svg{background:#fff;border:1px solid #d0d7de;border-radius:6px}
figure{display:inline-block;margin:0 1rem 1rem 0}figcaption{font-size:.85rem;color:#57606a}
code{font:13px ui-monospace,monospace}
"""


def page(
    name: str,
    said: Sequence[str],
    needs: Needs,
    caught: Sequence[str],
    comparison: Comparison | None,
) -> bytes:
    """The report; self-contained."""
    verdict = "not compared"
    if comparison is not None:
        verdict = "refused" if comparison.refusal else "equivalent"
    good = "bad" if verdict == "refused" else "good"
    lines = "".join(f"<li>{html.escape(line)}" for line in said)
    plots = "" if comparison is None else _plots(comparison)
    warnings = "".join(f"<li>{html.escape(line)}" for line in caught)
    names = " ".join(f"<code>{html.escape(item)}</code>" for item in needs.globals)
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8>{MARK.decode()}"
        f"<title>{html.escape(name)}: equivalence</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(name)}: <span class={good}>{verdict}</span></h1>"
        f"<ul>{lines}</ul>{plots}<h2>scikit-learn's warnings</h2><ul>{warnings or '<li>none'}</ul>"
        f"<h2>Names the pickle imports</h2><p>{names or 'none found'}</p></html>\n"
    ).encode()


def _plots(comparison: Comparison) -> str:
    parts = []
    if comparison.old_numbers is not None and comparison.new_numbers is not None:
        old, new = comparison.old_numbers, comparison.new_numbers
        parts.append(_figure(_scatter(old, new), "Each number: old (across) against new (up)"))
        parts.append(_figure(_histogram(np.abs(old - new)), "How many differ by how much"))
    if comparison.confusion:
        parts.append(_confusion(comparison.confusion))
    return "<h2>Old and new answers</h2>" + "".join(parts)


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{caption}</figcaption></figure>"


def _scatter(old: npt.NDArray[np.float64], new: npt.NDArray[np.float64], size: int = 320) -> str:
    step = max(1, len(old) // POINTS)
    old, new = old[::step], new[::step]
    low, high = float(min(old.min(), new.min())), float(max(old.max(), new.max()))
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 30 + (value - low) / span * (size - 50)

    dots = "".join(
        f'<circle cx="{place(a):.1f}" cy="{size - place(b):.1f}" r="2" fill="#0969da" opacity=".5"/>'
        for a, b in zip(old, new, strict=True)
    )
    return (
        f'<svg width="{size}" height="{size}" role="img"><line x1="30" y1="{size - 30}" x2="{size - 20}" '
        f'y2="20" stroke="#d0d7de"/>{dots}<text x="30" y="{size - 8}" font-size="11">{low:.3g}</text>'
        f'<text x="{size - 50}" y="{size - 8}" font-size="11">{high:.3g}</text></svg>'
    )


def _histogram(apart: npt.NDArray[np.float64], width: int = 420, height: int = 320) -> str:
    """Bars by powers of ten, from nothing to 1."""
    powers = np.floor(np.log10(np.maximum(apart, 1e-17))).astype(int)
    counts = Counter(int(np.clip(power, -17, 0)) for power in powers)
    present = list(range(min(counts), max(counts) + 1))
    bar = (width - 20) / len(present)
    top = max(counts.values())
    parts = []
    for index, power in enumerate(present):
        tall = counts.get(power, 0) / top * (height - 60)
        x = 10 + index * bar
        label = "0" if power == -17 else f"1e{power}"
        parts.append(
            f'<rect x="{x:.1f}" y="{height - 30 - tall:.1f}" width="{bar * 0.9:.1f}" height="{tall:.1f}" '
            f'fill="#0969da"/><text x="{x:.1f}" y="{height - 12}" font-size="10">{label}</text>'
            f'<text x="{x:.1f}" y="{height - 34 - tall:.1f}" font-size="10">'
            f"{counts.get(power, 0) or ''}</text>"
        )
    return f'<svg width="{width}" height="{height}" role="img">{"".join(parts)}</svg>'


def _confusion(confusion: dict[tuple[str, str], int]) -> str:
    labels = sorted({label for pair in confusion for label in pair})
    head = "".join(f"<th>{html.escape(label)}" for label in labels)
    rows = "".join(
        f"<tr><th>{html.escape(old)}"
        + "".join(
            f'<td class="{"bad" if old != new and confusion.get((old, new)) else ""}">'
            f"{confusion.get((old, new), 0)}"
            for new in labels
        )
        for old in labels
    )
    return f"<table><caption>Old label (down), new label (across)</caption><tr><th>{head}{rows}</table>"
