"""PASS, FAIL or INVALID: a pure function of a record.

Objectives and their thresholds come from slo.yml. The limits here are the generator's own: they say
when a run's figures are not trusted, never how good a fleet must be. FAIL says that the fleet missed an
objective; INVALID, that this run proves neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise

from skfleet.documents.slo import Slo
from skfleet_loadtest import profiles
from skfleet_loadtest.arrivals import scatter
from skfleet_loadtest.figures import Cell, Figures, summary
from skfleet_loadtest.histogram import Histogram
from skfleet_loadtest.record import Record
from skfleet_loadtest.steps import highest, judge_steps
from skfleet_loadtest.verdict import Budget, Objective, Step, Verdict, Word, Workers
from skfleet_operator.binomial import proves_target, requests_to_prove

# Held load may differ from asked load by this share.
RATE_TOLERANCE = 0.02
# A generator busier than this measures itself.
CPU_LIMIT = 0.8


def judge(record: Record) -> Verdict:
    """The verdict on a run, without comparisons (compare.py adds those)."""
    figures = record.figures()
    total = figures.total(record.start, record.end)
    workers = generator(record, figures)
    held = total.requests / max(record.end - record.start, 1)
    asked = rate_asked(record)
    objectives = list(judge_objectives(record.slo, figures, record.start, record.end))
    if record.plan.canary:
        objectives += judge_objectives(
            record.slo, figures, record.start, record.end, record.plan.canary
        )
    stepped = judge_steps(record, figures)
    doubts = [
        *generator_doubts(workers),
        *rate_doubts(record, asked, held, total),
    ]
    if stepped:
        word, reasons = _verdict_of_steps(doubts, stepped)
    else:
        doubts += [*lag_doubts(record, figures), *sample_doubts(record, figures, total)]
        word, reasons = decide(objectives, doubts, record.aborted, total)
        if record.plan.profile.closed:
            reasons.append(
                "a closed loop sends nothing in a pause: no gate for an SLO, a comparison"
            )
    return Verdict(
        run=record.plan.run,
        profile=record.plan.load_profile,
        verdict=word,
        reasons=reasons,
        objectives=objectives,
        started_at=datetime.fromtimestamp(record.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=record.end - record.start,
        requests=total.requests,
        failures=total.failed,
        failures_by_kind=dict(sorted(total.failures.items())),
        wrong=total.wrong,
        refused=total.refused,
        dropped=total.dropped,
        rate_asked=asked,
        rate_held=held,
        latency={name: value for name, value in summary(total).items() if name.endswith("_ms")},
        workers=workers,
        budget=budget(record.slo, total),
        by_release={
            release: summary(figures.total(record.start, record.end, release))
            for release in sorted(figures.releases(record.start, record.end))
        },
        steps=stepped,
        capacity=highest(stepped),
        vms=record.plan.vms,
    )


def decide(
    objectives: list[Objective], doubts: list[str], aborted: str, total: Cell
) -> tuple[Word, list[str]]:
    """The word and why. A doubt about the generator beats a missed objective: it may have caused it."""
    missed = [_missed(objective) for objective in objectives if not objective.ok]
    if total.failures:
        kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(total.failures.items()))
        missed = [*missed, f"failures: {kinds}"] if missed else missed
    if aborted:
        missed.append(f"ended early: {aborted}")
    if doubts and not (missed and all(doubt.startswith(_SAMPLES) for doubt in doubts)):
        return Word.INVALID, doubts + missed
    if missed:
        return Word.FAIL, missed
    return Word.PASS, []


# Too few requests to prove the target are enough to show that it was missed.
_SAMPLES = "too few requests"


def _missed(objective: Objective) -> str:
    whose = f" of release {objective.release}" if objective.release else ""
    figure = "nothing" if objective.figure is None else f"{objective.figure:.6g}"
    return f"{objective.name}{whose}: {figure}, target {objective.target:g} ({objective.meaning})"


def _verdict_of_steps(doubts: list[str], steps: list[Step]) -> tuple[Word, list[str]]:
    """A search for the limit: it may go beyond it, and a generator that gives out there only ends it."""
    lost = [doubt for doubt in doubts if "worker" in doubt]
    if lost:
        return Word.INVALID, lost
    if steps[0].keeps_slo:
        return Word.PASS, []
    if not steps[0].generator_ok:
        return Word.INVALID, [f"at the lowest step, {steps[0].rate}/s: {steps[0].why}"]
    return Word.FAIL, [f"even the lowest step, {steps[0].rate}/s, misses the SLO: {steps[0].why}"]


def judge_objectives(
    slo: Slo, figures: Figures, start: int, end: int, release: str | None = None
) -> Iterator[Objective]:
    """What slo.yml asks and a caller can see, of all releases or of one."""
    total = figures.total(start, end, release)
    target = slo.objectives.availability.target
    share = total.right / total.valid if total.valid else None
    yield Objective(
        name="availability",
        target=target,
        figure=share,
        ok=share is not None and share >= target,
        release=release or "",
        meaning=f"{total.bad} of {total.valid} not answered rightly and in time",
    )
    latency = slo.objectives.latency
    judged = valid_slices(slo, figures, start, end, release)
    good = [part for part in judged if part.fast >= latency.fast_share * part.timed]
    share = len(good) / len(judged) if judged else None
    p_now = total.histogram.percentile(latency.percentile)
    yield Objective(
        name="latency",
        target=latency.slices_target,
        figure=share,
        ok=share is not None and share >= latency.slices_target,
        release=release or "",
        meaning=(
            f"{len(good)} of {len(judged)} slices with p{latency.percentile:g} < "
            f"{latency.threshold_ms:g} ms; p{latency.percentile:g} of all is {p_now or 0:.1f} ms"
        ),
    )
    # No threshold to choose: an answer that scikit-learn would not give is no answer.
    yield Objective(
        name="answers",
        target=0,
        figure=total.wrong,
        ok=total.wrong == 0,
        release=release or "",
        meaning="wrong answers",
    )


def valid_slices(
    slo: Slo, figures: Figures, start: int, end: int, release: str | None = None
) -> list[Cell]:
    """The run's slices of time that had a request."""
    length = slo.objectives.latency.slice_seconds
    slices = [figures.total(a, b, release) for a, b in slice_bounds(start, end, length)]
    return [part for part in slices if part.timed]


def slice_bounds(start: int, end: int, length: int) -> list[tuple[int, int]]:
    """The run in equal slices nearest to the objective's length, at least one."""
    count = max(1, round((end - start) / length))
    edges = [start + round((end - start) * number / count) for number in range(count + 1)]
    return list(pairwise(edges))


def budget(slo: Slo, total: Cell) -> Budget:
    """What this run's requests may cost, and did."""
    target = slo.objectives.availability.target
    allowed = total.valid * (1 - target)
    return Budget(
        allowed=allowed,
        spent=total.bad,
        spent_share=total.bad / allowed if allowed else 0.0,
        required_requests=requests_to_prove(target, total.bad),
    )


def rate_asked(record: Record) -> float | None:
    """Mean arrivals a second that the profile asked for in the seconds that count."""
    profile = record.plan.profile
    if profile.closed or record.end <= record.start:
        return None
    length = record.end - record.start
    return profiles.asked(profile, record.offset, record.offset + length) / length


def generator(record: Record, figures: Figures) -> Workers:
    """How the generators did."""
    busy = [
        sum(values) / len(values)
        for worker in record.workers.values()
        if (values := [v for s, v in worker.figures.cpu.items() if record.start <= s < record.end])
    ]
    return Workers(
        expected=record.plan.workers,
        seen=len(record.workers),
        finished=sum(worker.finished for worker in record.workers.values()),
        cpu_mean=max(busy, default=None),
        lag_p99_ms=Histogram(figures.lags).percentile(99),
    )


def generator_doubts(workers: Workers) -> Iterator[str]:
    """Why the figures may be the generator's own."""
    if workers.finished < workers.expected:
        yield (
            f"missing workers: {workers.finished} of {workers.expected} took part to the end "
            f"({workers.seen} were seen)"
        )
    if workers.cpu_mean is not None and workers.cpu_mean >= CPU_LIMIT:
        yield (
            f"saturated generator: a worker used {workers.cpu_mean:.0%} of its core "
            f"(limit {CPU_LIMIT:.0%}); more workers or hosts"
        )


def rate_doubts(record: Record, asked: float | None, held: float, total: Cell) -> Iterator[str]:
    """Whether the load was the one that was asked for."""
    if asked is None:
        return
    seconds = max(record.end - record.start, 1)
    chance = scatter(record.plan.workers) / seconds if record.plan.arrivals == "poisson" else 0.0
    # What was dropped was due in time: the fleet held every slot, and answers for it as bad requests.
    offered = held + total.dropped / seconds
    if not abs(offered - asked) <= max(RATE_TOLERANCE * asked, chance):
        yield (
            f"missed rate: {offered:.1f}/s of {asked:.1f}/s asked for "
            f"({(offered - asked) / asked:+.1%}, limit ±{RATE_TOLERANCE:.0%})"
        )


def lag_doubts(record: Record, figures: Figures) -> Iterator[str]:
    """Whether it is the generator that was late. Its delay is in every figure, so it can spoil a good
    latency but never flatter a bad one: what is slow from the actual sending too is the fleet's."""
    share = record.slo.objectives.latency.fast_share
    spoiled = [
        part
        for part in valid_slices(record.slo, figures, record.start, record.end)
        if part.fast < share * part.timed <= part.prompt
    ]
    if spoiled:
        yield (
            f"late generator: {len(spoiled)} slices would be fast enough from the actual sending of "
            "their requests; more cores or hosts"
        )


def sample_doubts(record: Record, figures: Figures, total: Cell) -> Iterator[str]:
    """Whether there is enough to tell."""
    target = record.slo.objectives.availability.target
    groups = [("", total)]
    if record.plan.canary:
        canary = figures.total(record.start, record.end, record.plan.canary)
        groups.append((f" of release {record.plan.canary}", canary))
    for whose, cell in groups:
        if not proves_target(target, cell.valid, cell.bad):
            yield (
                f"{_SAMPLES}{whose}: {cell.valid} with {cell.bad} bad prove no {target:.2%} at 95 % "
                f"confidence; {requests_to_prove(target, cell.bad)} would"
            )
    if total.refused:
        yield f"refused tokens: {total.refused} requests got 401 or 403 and measured nothing"
