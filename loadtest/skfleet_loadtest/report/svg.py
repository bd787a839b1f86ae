"""Charts as SVG text: scales, axes, lines, bars and bands. No library, no script."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 960
LEFT = 64
RIGHT = 16
TOP = 10
BOTTOM = 22

Points = Sequence[tuple[float, float | None]]


@dataclass(frozen=True, slots=True)
class Scale:
    """Values → pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value, kept inside."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        share = (value - low) / (high - low) if high > low else 0.0
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values to write at the axis."""
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
            steps = (1, 3) if last - first > 2 else (1, 2, 5)
            found = [m * 10.0**e for e in range(first, last + 1) for m in steps]
            return [t for t in found if self.low <= t <= self.high]
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        step = 10 ** math.floor(math.log10(span / about))
        step *= next((m for m in (1, 2, 5, 10) if span / (step * m) <= about), 10)
        first = math.ceil(self.low / step)
        return [n * step for n in range(first, math.floor(self.high / step) + 1)]


@dataclass(frozen=True, slots=True)
class Frame:
    """A chart's plane."""

    x: Scale
    y: Scale
    height: float

    @classmethod
    def of(
        cls, x: tuple[float, float], y: tuple[float, float], height: float, log: bool = False
    ) -> Frame:
        """A plane of these ranges."""
        return cls(Scale(*x, LEFT, WIDTH - RIGHT), Scale(*y, height - BOTTOM, TOP, log=log), height)

    def line(self, points: Points, name: str) -> str:
        """A line, broken where there is no value. `name` is its CSS class."""
        parts: list[list[str]] = [[]]
        for x, y in points:
            if y is None:
                parts.append([])
            else:
                parts[-1].append(f"{self.x(x):.1f},{self.y(y):.1f}")
        return "".join(
            f'<polyline class="line {name}" points="{" ".join(part)}"/>' for part in parts if part
        )

    def stairs(self, points: Sequence[tuple[float, float]], name: str) -> str:
        """A line of level steps: a value holds until the next."""
        bent: list[tuple[float, float | None]] = []
        for (x, y), (following, _) in pairwise(points):
            bent += [(x, y), (following, y)]
        return self.line([*bent, *points[-1:]], name)

    def dots(self, points: Points, name: str) -> str:
        """A dot for each point."""
        return "".join(
            f'<circle class="dot {name}" cx="{self.x(x):.1f}" cy="{self.y(y):.1f}" r="4"/>'
            for x, y in points
            if y is not None
        )

    def bar(self, x: float, width: float, low: float, high: float, name: str) -> str:
        """One part of a stacked bar."""
        left, right = self.x(x), self.x(x + width)
        top, bottom = self.y(high), self.y(low)
        return (
            f'<rect class="bar {name}" x="{left:.1f}" y="{top:.1f}" '
            f'width="{max(right - left - 0.5, 0.5):.1f}" height="{max(bottom - top, 0):.1f}"/>'
        )

    def shade(self, start: float, end: float, name: str) -> str:
        """A part of the time, over the whole height."""
        left, right = self.x(start), self.x(end)
        return (
            f'<rect class="{name}" x="{left:.1f}" y="{TOP}" width="{max(right - left, 0):.1f}" '
            f'height="{self.height - BOTTOM - TOP:.1f}"/>'
        )

    def level(self, value: float, text: str) -> str:
        """A threshold across the chart, with its name."""
        y = self.y(value)
        return (
            f'<line class="level" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="level-text" x="{LEFT + 6}" y="{y - 5:.1f}">{escape(text)}</text>'
        )

    def mark(self, at: float, text: str) -> str:
        """A moment, with its name beside it."""
        x = self.x(at)
        return (
            f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{self.height - BOTTOM}"/>'
            + (
                f'<text class="mark-text" transform="translate({x + 4:.1f},{TOP + 4}) rotate(90)">'
                f"{escape(text)}</text>"
                if text
                else ""
            )
        )

    def axes(self, unit: str, x_unit: str = "s") -> str:
        """Grid and numbers."""
        bottom = self.height - BOTTOM
        parts = []
        for tick in self.y.ticks(4):
            y = self.y(tick)
            parts.append(
                f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{number(tick)}</text>"
            )
        parts += [
            f'<text class="tick" x="{self.x(tick):.1f}" y="{bottom + 16}" '
            f'text-anchor="middle">{number(tick)}{x_unit}</text>'
            for tick in self.x.ticks(10)
        ]
        parts.append(f'<text class="unit" x="2" y="{TOP + 8}">{escape(unit)}</text>')
        parts.append(
            f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        )
        return "".join(parts)


def chart(height: float, label: str, parts: Iterable[str]) -> str:
    """The picture of these parts."""
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:g}" role="img" aria-label="{escape(label)}">'
        + "".join(parts)
        + "</svg>"
    )


def number(value: float) -> str:
    """A number as people write it."""
    if value and abs(value) < 1:
        return f"{value:.2g}"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"
