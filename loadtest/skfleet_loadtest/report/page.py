"""The page: verdict first, then why, then the run over time, then tables."""

from __future__ import annotations

from datetime import UTC, datetime
from html import escape
from pathlib import Path

from skfleet_loadtest import events as happenings
from skfleet_loadtest.figures import NO_RELEASE
from skfleet_loadtest.record import Record
from skfleet_loadtest.report import charts
from skfleet_loadtest.report.charts import hundredths, legend
from skfleet_loadtest.report.series import Bin, bins
from skfleet_loadtest.verdict import Comparison, Objective, Verdict, Word

_HERE = Path(__file__).parent
_SAID = {
    Word.PASS: "The fleet kept its objectives at this load.",
    Word.FAIL: "The fleet missed its objectives at this load.",
    Word.INVALID: "This run cannot tell whether the fleet keeps its objectives.",
}


def render(record: Record, verdict: Verdict, events_file: Path | None = None) -> str:
    """One HTML document that loads nothing."""
    parts = bins(record)
    events = happenings.read(events_file, record.started_at, record.end)
    body = [
        _head(record, verdict),
        "" if verdict.steps else _tiles(verdict),
        _reasons(verdict),
        _timeline(record, parts, events) if parts else "<p>Nothing was measured.</p>",
        _steps(record, verdict),
        _comparison("Against the baseline", "this run", verdict.comparison),
        _comparison("Canary against the rest", record.plan.canary, verdict.canary),
        _releases(verdict),
        _workers(record, verdict),
        _wrong(record),
    ]
    style = (_HERE / "style.css").read_text()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{verdict.verdict} {escape(verdict.run)}</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _head(record: Record, verdict: Verdict) -> str:
    plan = record.plan
    started = datetime.fromtimestamp(record.started_at, UTC)
    return (
        f'<header class="{verdict.verdict.lower()}"><p class="word">{verdict.verdict}</p><div>'
        f"<h1>{_sentence(verdict)}</h1><p>{escape(verdict.run)} · profile "
        f"{escape(verdict.profile)} · {started:%Y-%m-%d %H:%M:%S} UTC · {verdict.seconds} s after "
        f"{plan.warm_up} s of warm-up · {escape(plan.url)}</p></div></header>"
    )


def _sentence(verdict: Verdict) -> str:
    if verdict.steps and verdict.verdict is Word.PASS:
        held = f"{verdict.capacity} requests a second keep the objectives"
        return f"{held}; more do not." if verdict.capacity != verdict.steps[-1].rate else f"{held}."
    return _SAID[verdict.verdict]


def _tiles(verdict: Verdict) -> str:
    tiles = [_objective(objective) for objective in verdict.objectives if not objective.release]
    budget = verdict.budget
    share = min(budget.spent_share, 1.0)
    tiles.append(
        f'<div class="tile {"ok" if budget.spent_share <= 1 else "miss"}"><h3>error budget</h3>'
        f"<p>{budget.spent_share:.0%} spent</p>"
        f'<div class="meter"><i style="width:{share:.1%}"></i></div>'
        f"<small>{budget.spent} bad, {budget.allowed:.1f} allowed in {verdict.requests} requests"
        "</small></div>"
    )
    asked = verdict.rate_asked
    tiles.append(
        '<div class="tile"><h3>load</h3>'
        f"<p>{verdict.rate_held:.1f}/s</p><small>"
        + (f"{asked:.1f}/s asked for" if asked is not None else "closed loop: no rate asked for")
        + f"; {verdict.dropped} dropped</small></div>"
    )
    return f'<section class="tiles">{"".join(tiles)}</section>'


def _objective(objective: Objective) -> str:
    figure, target = objective.figure, f"{objective.target:.2%}"
    if objective.name == "answers":
        shown, target = f"{figure or 0:.0f} wrong", "none"
    elif objective.name == "latency":
        shown, target = "–" if figure is None else f"{figure:.1%}", f"{objective.target:.1%}"
    else:
        shown = "–" if figure is None else f"{figure:.3%}"
    return (
        f'<div class="tile {"ok" if objective.ok else "miss"}"><h3>{objective.name}</h3>'
        f"<p>{shown}</p><small>target {target} · {escape(objective.meaning)}</small></div>"
    )


def _reasons(verdict: Verdict) -> str:
    if not verdict.reasons:
        return ""
    items = "".join(f"<li>{escape(reason)}</li>" for reason in verdict.reasons)
    return f'<section><h2>Why</h2><ul class="why">{items}</ul></section>'


def _timeline(record: Record, parts: list[Bin], events: happenings.Events) -> str:
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
    shown = [
        "<section><h2>Latency from the intended start</h2>",
        legend([("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("max", "largest")]),
        charts.latency(parts, latency.threshold_ms, latency.percentile, events, zero),
        "<h2>Throughput</h2>",
        legend([("asked", "asked for"), ("sent", "answered"), ("right", "answered rightly")]),
        charts.throughput(parts, events, zero),
        "<h2>Errors</h2>",
    ]
    if kinds:
        shown.append(legend([(f"kind{i % 6}", kind) for i, kind in enumerate(kinds)]))
        shown.append(charts.errors(parts, kinds, events, zero))
    else:
        shown.append('<p class="none">None.</p>')
    if names:
        shown.append("<h2>Releases</h2>")
        shown.append(legend([(f"release{i % 6}", name) for i, name in enumerate(names)]))
        shown.append(charts.releases(parts, names, events, zero))
    if events.spans:
        shown += ["<h2>VMs</h2>", charts.vms(parts, events, zero)]
    warm = f"The grey part is the warm-up of {record.plan.warm_up} s, which no figure counts."
    return "".join(shown) + f'<p class="note">{warm}</p></section>'


def _steps(record: Record, verdict: Verdict) -> str:
    if not verdict.steps:
        return ""
    rows = [
        [
            ("✓" if step.keeps_slo else "✗"),
            f"{step.rate}/s",
            hundredths(step.held, "/s"),
            hundredths(step.p50_ms),
            hundredths(step.p90_ms),
            hundredths(step.p99_ms),
            hundredths(step.in_flight),
            step.why,
        ]
        for step in verdict.steps
    ]
    fleet = f" for {verdict.vms} VMs" if verdict.vms else ""
    found = f"{verdict.capacity} requests a second" if verdict.capacity else "no step"
    return (
        f"<section><h2>Capacity{fleet}: {found}</h2>"
        + legend(
            [
                ("p50", "p50"),
                ("p90", "p90"),
                ("p99", "p99"),
                ("good", "p90 of a step that keeps the SLO"),
                ("miss", "that misses it"),
            ]
        )
        + charts.steps(verdict.steps, record.slo.objectives.latency.threshold_ms)
        + _table(["", "asked", "held", "p50 ms", "p90 ms", "p99 ms", "in flight", ""], rows)
        + "</section>"
    )


def _comparison(title: str, name: str, found: Comparison | None) -> str:
    if found is None:
        return ""
    columns = [
        ("requests", "requests"),
        ("p50_ms", "p50 ms"),
        ("p90_ms", "p90 ms"),
        ("p99_ms", "p99 ms"),
        ("wrong", "wrong"),
    ]
    rows = [
        [
            who,
            *(hundredths(side.get(key)) for key, _ in columns),
            f"{side.get('bad_share') or 0:.3%}",
        ]
        for who, side in ((name, found.this), (found.run, found.baseline))
    ]
    worse = "; ".join(found.worse) or "Nothing is worse beyond chance."
    return (
        f"<section><h2>{title}</h2><p>{escape(worse)}</p>"
        + _table(["", *(label for _, label in columns), "bad"], rows)
        + "</section>"
    )


def _releases(verdict: Verdict) -> str:
    if not verdict.by_release:
        return ""
    rows = [
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
    header = [
        "release",
        "requests",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "largest ms",
        "wrong",
        "failures",
    ]
    return f"<section><h2>By release</h2>{_table(header, rows)}</section>"


def _workers(record: Record, verdict: Verdict) -> str:
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
    lag = hundredths(verdict.workers.lag_p99_ms, " ms")
    return (
        f"<section><h2>Generators: {verdict.workers.finished} of {verdict.workers.expected}</h2>"
        f"<p>99 % of requests were sent within {lag} of their time.</p>"
        + _table(["worker", "took part", "requests", "of a core", "token renewals"], rows)
        + "</section>"
    )


def _wrong(record: Record) -> str:
    if not record.wrong:
        return ""
    rows = [
        [
            f"{wrong.at - record.start:.2f} s",
            wrong.release,
            wrong.question[:120],
            wrong.answer[:200],
        ]
        for wrong in record.wrong[:10]
    ]
    return (
        "<section><h2>Wrong answers</h2>"
        + _table(["at", "release", "asked", "answered"], rows)
        + "</section>"
    )


def _table(header: list[str], rows: list[list[str]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>'
