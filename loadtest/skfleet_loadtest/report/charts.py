"""The report's charts, each a pure function of bins."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from skfleet_loadtest.events import Events
from skfleet_loadtest.figures import NO_RELEASE
from skfleet_loadtest.report.series import Bin
from skfleet_loadtest.report.svg import BOTTOM, LEFT, RIGHT, TOP, WIDTH, Frame, Scale, chart, number
from skfleet_loadtest.verdict import Step

_PERCENTS = ((50, "p50"), (90, "p90"), (99, "p99"), (100, "max"))
_BAND = 18


def time_range(bins: Sequence[Bin]) -> tuple[float, float]:
    """Of the whole run."""
    return bins[0].at, bins[-1].at + bins[-1].width


def latency(
    bins: Sequence[Bin], threshold_ms: float, percentile: float, events: Events, zero: float
) -> str:
    """Percentiles over time, on a logarithmic scale: a freeze and a good second both show."""
    lines = {
        name: [(b.at + b.width / 2, b.total.histogram.percentile(percent)) for b in bins]
        for percent, name in _PERCENTS
    }
    seen = [y for points in lines.values() for _, y in points if y]
    low = max(min(seen, default=1.0) * 0.8, 0.1)
    high = max([*seen, threshold_ms]) * 1.3
    frame = Frame.of(time_range(bins), (low, high), 300, log=True)
    parts = [warm_up(frame), frame.axes("ms"), *marks(frame, events, zero, named=True)]
    parts += [frame.line(points, name) for name, points in reversed(lines.items())]
    parts.append(frame.level(threshold_ms, f"objective: p{percentile:g} below {threshold_ms:g} ms"))
    return chart(300, "Latency percentiles over time", parts)


def throughput(bins: Sequence[Bin], events: Events, zero: float) -> str:
    """Asked for, and answered rightly."""
    sent = [(b.at + b.width / 2, b.total.requests / b.width) for b in bins]
    right = [(b.at + b.width / 2, b.total.right / b.width) for b in bins]
    asked = [(b.at, b.asked) for b in bins if b.asked is not None]
    high = max([y for _, y in [*sent, *asked]], default=1) * 1.15
    frame = Frame.of(time_range(bins), (0, max(high, 1)), 200)
    parts = [warm_up(frame), frame.axes("1/s"), *marks(frame, events, zero)]
    if asked:
        parts.append(frame.stairs([*asked, (time_range(bins)[1], asked[-1][1])], "asked"))
    parts += [frame.line(sent, "sent"), frame.line(right, "right")]
    return chart(200, "Requests a second", parts)


def errors(bins: Sequence[Bin], kinds: Sequence[str], events: Events, zero: float) -> str:
    """Requests that went wrong, stacked by kind."""
    stacks = [[count_of(b, kind) for kind in kinds] for b in bins]
    high = max((sum(stack) for stack in stacks), default=0)
    frame = Frame.of(time_range(bins), (0, max(high, 1) * 1.1), 160)
    parts = [warm_up(frame), frame.axes("count"), *marks(frame, events, zero)]
    for b, stack in zip(bins, stacks, strict=True):
        base = 0
        for index, count in enumerate(stack):
            if count:
                parts.append(frame.bar(b.at, b.width, base, base + count, f"kind{index % 6}"))
            base += count
    return chart(160, "Errors by kind", parts)


def count_of(b: Bin, kind: str) -> int:
    """Requests of a bin that ended in this way."""
    named = {
        "wrong answer": b.total.wrong,
        "refused token": b.total.refused,
        "dropped": b.total.dropped,
    }
    return named.get(kind, b.total.failures.get(kind, 0))


def releases(bins: Sequence[Bin], names: Sequence[str], events: Events, zero: float) -> str:
    """Who answered: the share of each release in the answers of each moment."""
    frame = Frame.of(time_range(bins), (0, 1), 110)
    parts = [frame.axes("share")]
    for b in bins:
        answered = sum(c.requests for r, c in b.by_release.items() if r != NO_RELEASE)
        base = 0.0
        for index, name in enumerate(names):
            cell = b.by_release.get(name)
            if cell and answered:
                share = cell.requests / answered
                parts.append(frame.bar(b.at, b.width, base, base + share, f"release{index % 6}"))
                base += share
    parts += [warm_up(frame), *marks(frame, events, zero)]
    return chart(110, "Share of each release in the answers", parts)


def vms(bins: Sequence[Bin], events: Events, zero: float) -> str:
    """A lane for each VM, a band for each state it was in."""
    names = sorted({span.name for span in events.spans})
    height = TOP + _BAND * len(names) + BOTTOM
    x = Scale(*time_range(bins), LEFT, WIDTH - RIGHT)
    parts = []
    for lane, name in enumerate(names):
        y = TOP + lane * _BAND
        short = name.rpartition("-")[2][-8:]
        parts.append(
            f'<text class="tick" x="{LEFT - 8}" y="{y + 12}" text-anchor="end">'
            f"{escape(short)}</text>"
        )
        for span in events.spans:
            if span.name == name:
                left, right = x(span.start - zero), x(span.end - zero)
                parts.append(
                    f'<rect class="vm state-{escape(span.state)}" x="{left:.1f}" y="{y}" '
                    f'width="{max(right - left - 1, 1):.1f}" height="{_BAND - 4}">'
                    f"<title>{escape(name)}: {escape(span.state)}</title></rect>"
                )
                if right - left > 60:
                    parts.append(
                        f'<text class="vm-text" x="{left + 5:.1f}" y="{y + 11}">'
                        f"{escape(span.state)}</text>"
                    )
    frame = Frame(x, Scale(0, 1, height - BOTTOM, TOP), height)
    return chart(height, "VMs and their states", [*parts, *marks(frame, events, zero)])


def steps(found: Sequence[Step], threshold_ms: float) -> str:
    """Load against latency: where the objective ends."""
    high = max([step.p90_ms or 0 for step in found] + [threshold_ms]) * 1.5
    low = max(min(step.p50_ms or 1 for step in found) * 0.7, 0.1)
    frame = Frame.of((0, found[-1].rate * 1.03), (low, high), 240, log=True)
    parts = [frame.axes("ms", "/s")]
    for name, points in (
        ("p50", [(float(step.rate), step.p50_ms) for step in found]),
        ("p90", [(float(step.rate), step.p90_ms) for step in found]),
        ("p99", [(float(step.rate), step.p99_ms) for step in found]),
    ):
        parts.append(frame.line(points, name))
    for good, name in ((True, "good"), (False, "miss")):
        parts.append(frame.dots([(s.rate, s.p90_ms) for s in found if s.keeps_slo == good], name))
    parts.append(frame.level(threshold_ms, f"objective: {threshold_ms:g} ms"))
    return chart(240, "Latency by load", parts)


def warm_up(frame: Frame) -> str:
    """The part of the time that is left out."""
    return frame.shade(frame.x.low, 0, "warm") if frame.x.low < 0 else ""


def marks(frame: Frame, events: Events, zero: float, named: bool = False) -> list[str]:
    """Steps of a rollout."""
    return [frame.mark(mark.at - zero, mark.text if named else "") for mark in events.marks]


def hundredths(value: float | None, unit: str = "") -> str:
    """A figure of a table; nothing where there is none."""
    return "–" if value is None else number(round(value, 2)) + unit
