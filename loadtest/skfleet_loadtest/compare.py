"""Two sides of a comparison: this run and a baseline, or a canary's answers and the rest's.

It informs; the objectives decide. 'Worse' needs both more than chance and more than a little.
"""

from __future__ import annotations

from typing import Any

import msgspec

from skfleet_loadtest.figures import NO_RELEASE, Cell, summary
from skfleet_loadtest.record import Record
from skfleet_loadtest.verdict import Comparison, Verdict
from skfleet_operator.binomial import is_above_chance

# A percentile must grow by both to be called worse: machines are not that equal.
_RATIO = 1.2
_MILLISECONDS = 5.0


def with_baseline(judged: Verdict, kept: Record, baseline: Record | None) -> Verdict:
    """The verdict, told beside another run's figures."""
    if baseline is None:
        return judged
    this = kept.figures().total(kept.start, kept.end)
    other = baseline.figures().total(baseline.start, baseline.end)
    return msgspec.structs.replace(judged, comparison=compare(baseline.plan.run, this, other))


def with_canary(judged: Verdict, kept: Record) -> Verdict:
    """The verdict, with the canary beside all other releases."""
    if not kept.plan.canary:
        return judged
    figures = kept.figures()
    rest = Cell()
    for release in figures.releases(kept.start, kept.end):
        if release not in (kept.plan.canary, NO_RELEASE):
            rest.merge(figures.total(kept.start, kept.end, release))
    canary = figures.total(kept.start, kept.end, kept.plan.canary)
    return msgspec.structs.replace(judged, canary=compare("the other releases", canary, rest))


def compare(name: str, this: Cell, other: Cell) -> Comparison:
    """Figures of both, and in what `this` is worse."""
    found = []
    if other.valid and is_above_chance(this.bad, this.valid, max(other.bad, 1) / other.valid):
        found.append(
            f"failures: {this.bad / this.valid:.3%} of requests, was {other.bad / other.valid:.3%}"
        )
    for percent in (50, 90, 99):
        now, before = this.histogram.percentile(percent), other.histogram.percentile(percent)
        if now and before and now > before * _RATIO and now > before + _MILLISECONDS:
            found.append(f"p{percent}: {now:.1f} ms, was {before:.1f} ms")
    return Comparison(run=name, this=_figures(this), baseline=_figures(other), worse=found)


def _figures(cell: Cell) -> dict[str, Any]:
    return {**summary(cell), "bad_share": cell.bad / cell.valid if cell.valid else None}
