"""PROFILE=steps: what each step of load did to the fleet, and the highest that keeps the SLO.

A step is judged by what was seen in it, without a proof of the availability: that would take minutes a
step. The run that confirms the found load by PROFILE=constant is the proof.
"""

from __future__ import annotations

from skfleet_loadtest.figures import Figures
from skfleet_loadtest.profiles import SETTLE_S, Phase
from skfleet_loadtest.record import Record
from skfleet_loadtest.verdict import Step

# As in gate.py; a step is shorter, so chance moves its rate more.
_RATE_TOLERANCE = 0.05
_CPU_LIMIT = 0.8
_QUANTILES = (1, *range(5, 100, 5), 98, 99)


def judge_steps(record: Record, figures: Figures) -> list[Step]:
    """The steps that the run reached, in order; nothing for other profiles."""
    reached = record.end - record.start
    return [
        _judge(record, figures, phase)
        for phase in record.plan.profile.phases
        if phase.end - record.offset <= reached + 1
    ]


def highest(steps: list[Step]) -> int | None:
    """The last step before the first that misses the SLO: load above a miss proves nothing."""
    found = None
    for step in steps:
        if not step.keeps_slo:
            break
        found = step.rate
    return found


def _judge(record: Record, figures: Figures, phase: Phase) -> Step:
    zero = record.start - record.offset
    start, end = int(zero + phase.start + SETTLE_S) + 1, int(zero + phase.end)
    seconds = max(end - start, 1)
    total = figures.total(start, end)
    objectives = record.slo.objectives
    offered = (total.requests + total.dropped) / seconds
    histogram = total.histogram
    cpu = [
        sum(values) / len(values)
        for worker in record.workers.values()
        if (values := [v for s, v in worker.figures.cpu.items() if start <= s < end])
    ]
    generator = ""
    if abs(offered - phase.rate) > _RATE_TOLERANCE * phase.rate:
        generator = f"the generator held {offered:.0f}/s"
    elif max(cpu, default=0) >= _CPU_LIMIT:
        generator = f"a worker used {max(cpu):.0%} of its core"
    fleet = ""
    if total.valid and total.right < objectives.availability.target * total.valid:
        fleet = f"{total.bad} of {total.valid} not answered rightly"
    elif total.fast < objectives.latency.fast_share * total.timed <= total.prompt:
        generator = generator or "the generator was late"
    elif total.fast < objectives.latency.fast_share * total.timed:
        p = objectives.latency.percentile
        fleet = f"p{p:g} is {histogram.percentile(p) or 0:.0f} ms"
    return Step(
        rate=phase.rate,
        held=total.requests / seconds,
        right=total.right / seconds,
        p50_ms=histogram.percentile(50),
        p90_ms=histogram.percentile(90),
        p99_ms=histogram.percentile(99),
        bad=total.bad,
        in_flight=total.requests / seconds * (histogram.mean() or 0) / 1000,
        keeps_slo=not fleet and not generator and total.valid > 0,
        generator_ok=not generator,
        why=fleet or generator,
        start=start,
        end=end,
        quantiles_ms={
            str(percent): value
            for percent in _QUANTILES
            if (value := histogram.percentile(percent)) is not None
        },
    )
