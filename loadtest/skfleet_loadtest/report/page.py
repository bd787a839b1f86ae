"""The page: what `page.html.j2` shows of a run, as rows, sentences and charts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from skfleet_loadtest import events as happenings
from skfleet_loadtest.figures import NO_RELEASE
from skfleet_loadtest.record import Record
from skfleet_loadtest.report import charts
from skfleet_loadtest.report.charts import hundredths
from skfleet_loadtest.report.series import Bin, bins
from skfleet_loadtest.verdict import Comparison, Objective, Verdict, Word

_HERE = Path(__file__).parent
_SAID = {
    Word.PASS: "The fleet kept its objectives at this load.",
    Word.FAIL: "The fleet missed its objectives at this load.",
    Word.INVALID: "This run cannot tell whether the fleet keeps its objectives.",
}
# Title, the legend's (CSS class, text), and the chart; no chart where there is nothing to show.
Chart = tuple[str, list[tuple[str, str]], str]
Rows = list[list[str]]


def render(record: Record, verdict: Verdict, events_file: Path | None = None) -> str:
    """One HTML document that loads nothing."""
    parts = bins(record)
    events = happenings.read(events_file, record.started_at, record.end)
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["hundredths"] = hundredths
    comparisons = [
        ("Against the baseline", "this run", verdict.comparison),
        ("Canary against the rest", record.plan.canary, verdict.canary),
    ]
    return environment.get_template(
        "page.html.j2"
    ).render(
        record=record,
        verdict=verdict,
        style=Markup((_HERE / "style.css").read_text()),  # noqa: S704 - our own file
        sentence=_sentence(verdict),
        started=datetime.fromtimestamp(record.started_at, UTC),
        objectives=[_objective(found) for found in verdict.objectives if not found.release],
        timeline=[
            (title, entries, Markup(chart))  # noqa: S704 - the charts escape what they are given
            for title, entries, chart in (_timeline(record, parts, events) if parts else [])
        ],
        steps_chart=Markup(  # noqa: S704 - likewise
            charts.steps(verdict.steps, record.slo.objectives.latency.threshold_ms)
            if verdict.steps
            else ""
        ),
        steps=_steps(verdict),
        comparisons=[
            (
                title,
                "; ".join(found.worse) or "Nothing is worse beyond chance.",
                _sides(name, found),
            )
            for title, name, found in comparisons
            if found is not None
        ],
        releases=_releases(verdict),
        workers=_workers(record),
        wrong=[
            [
                f"{wrong.at - record.start:.2f} s",
                wrong.release,
                wrong.question[:120],
                wrong.answer[:200],
            ]
            for wrong in record.wrong[:10]
        ],
    )


def _sentence(verdict: Verdict) -> str:
    if verdict.steps and verdict.verdict is Word.PASS:
        held = f"{verdict.capacity} requests a second keep the objectives"
        return f"{held}; more do not." if verdict.capacity != verdict.steps[-1].rate else f"{held}."
    return _SAID[verdict.verdict]


def _objective(objective: Objective) -> dict[str, str | bool]:
    figure, target = objective.figure, f"{objective.target:.2%}"
    if objective.name == "answers":
        shown, target = f"{figure or 0:.0f} wrong", "none"
    elif objective.name == "latency":
        shown, target = "–" if figure is None else f"{figure:.1%}", f"{objective.target:.1%}"
    else:
        shown = "–" if figure is None else f"{figure:.3%}"
    return {
        "name": objective.name, "figure": shown, "target": target, "meaning": objective.meaning,
        "ok": objective.ok,
    }  # fmt: skip


def _timeline(record: Record, parts: list[Bin], events: happenings.Events) -> list[Chart]:
    zero = float(record.start)
    latency = record.slo.objectives.latency
    names = [
        name for name in dict.fromkeys(r for b in parts for r in b.by_release) if name != NO_RELEASE
    ]
    kinds = [*dict.fromkeys(kind for b in parts for kind in sorted(b.total.failures))]
    kinds += [
        kind
        for kind in ("wrong answer", "refused token", "dropped")
        if any(charts.count_of(b, kind) for b in parts)
    ]
    shown: list[Chart] = [
        (
            "Latency from the intended start",
            [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "largest")],
            charts.latency(parts, latency.threshold_ms, latency.percentile, events, zero),
        ),
        (
            "Throughput",
            [("asked", "asked for"), ("sent", "answered"), ("right", "answered rightly")],
            charts.throughput(parts, events, zero),
        ),
        (
            "Errors",
            [(f"kind{i % 6}", kind) for i, kind in enumerate(kinds)],
            charts.errors(parts, kinds, events, zero) if kinds else "",
        ),
    ]
    if names:
        colours = [(f"release{i % 6}", name) for i, name in enumerate(names)]
        shown.append(("Releases", colours, charts.releases(parts, names, events, zero)))
    if events.spans:
        shown.append(("VMs", [], charts.vms(parts, events, zero)))
    return shown


def _steps(verdict: Verdict) -> Rows:
    return [
        [
            ("✓" if step.keeps_slo else "✗"),
            f"{step.rate}/s",
            hundredths(step.held, "/s"),
            *map(hundredths, (step.p50_ms, step.p90_ms, step.p99_ms, step.in_flight)),
            step.why,
        ]
        for step in verdict.steps
    ]


def _sides(name: str, found: Comparison) -> Rows:
    return [
        [
            who,
            *(
                hundredths(side.get(key))
                for key in ("requests", "p50_ms", "p90_ms", "p99_ms", "wrong")
            ),
            f"{side.get('bad_share') or 0:.3%}",
        ]
        for who, side in ((name, found.this), (found.run, found.baseline))
    ]


def _releases(verdict: Verdict) -> Rows:
    return [
        [
            release,
            *(
                hundredths(side[key])
                for key in ("requests", "p50_ms", "p90_ms", "p99_ms", "max_ms")
            ),
            str(side["wrong"]),
            ", ".join(f"{count} × {kind}" for kind, count in side["failures"].items()) or "–",
        ]
        for release, side in verdict.by_release.items()
    ]


def _workers(record: Record) -> Rows:
    rows = []
    for name, worker in sorted(record.workers.items()):
        cpu = [v for s, v in worker.figures.cpu.items() if record.start <= s < record.end]
        total = worker.figures.total(record.start, record.end)
        rows.append(
            [
                name[:24],
                "to the end" if worker.finished else "went missing",
                f"{total.requests:,}",
                f"{sum(cpu) / len(cpu):.0%}" if cpu else "–",
                str(worker.renewals),
            ]
        )
    return rows
