"""The gate's verdict on a VM that has a new release: what it served during the soak, beside the old.

Pure. Counters come from the VM's own `/metrics` before and after the soak, so all its traffic is judged;
answers come from the witness, which asks golden rows at the VM's internal listener.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from skfleet_operator.binomial import is_above_chance

# A share is called worse than allowed when chance alone would give it this rarely.
CONFIDENCE = 0.99
# An old VM's p90 is no yardstick below this many requests.
ENOUGH = 100
# Slower than the old release: by half again and by more than a bucket's blur.
SLOWER, BLUR_MS = 1.5, 25.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The counters of one VM at one moment. `buckets`: upper bound in seconds → requests up to it."""

    requests: int = 0
    errors: int = 0  # answered 5xx
    buckets: dict[str, int] = {}
    process: str = ""  # whoever counts; another one counts from 0


class Witnessed(msgspec.Struct, frozen=True, kw_only=True):
    """What the witness saw. `latencies_ms`: from the intended start of each request."""

    requests: int = 0
    failed: int = 0
    wrong: int = 0
    p90_ms: float = 0.0
    words: list[str] = []  # the first failures


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """One VM's soak."""

    before: Sample
    after: Sample
    witness: Witnessed = Witnessed()
    seconds: float = 0.0


class Objectives(msgspec.Struct, frozen=True, kw_only=True):
    """From slo.yml: `availability` a share; of each VM's requests `percentile` % take less than `p90_ms`."""

    availability: float
    p90_ms: float
    percentile: float = 90.0


class Traffic(msgspec.Struct, frozen=True, kw_only=True):
    """What a VM did between two samples."""

    requests: int
    errors: int
    p90_ms: float | None  # at the objective's percentile; None without requests


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """`reasons` is empty for a VM that passed; `figures` for the record."""

    passed: bool
    reasons: list[str]
    figures: dict[str, Any]


def objectives(slo: Mapping[str, Any]) -> Objectives:
    """The objectives of a parsed slo.yml (its `objectives`)."""
    return Objectives(
        availability=float(slo["availability"]["target"]),
        p90_ms=float(slo["latency"]["threshold_ms"]),
        percentile=float(slo["latency"]["percentile"]),
    )


def judge(new: Soak, old: Soak | None, wanted: Objectives) -> Verdict:
    """Within the objectives, and no worse than a VM with the old release at the same time."""
    reasons: list[str] = []
    if restarted(new):
        reasons.append("The service restarted during the soak.")
    here = traffic(new, wanted.percentile)
    there = traffic(old, wanted.percentile) if old is not None else None
    allowed = 1 - wanted.availability
    if is_above_chance(here.errors, here.requests, allowed, CONFIDENCE):
        reasons.append(
            f"{here.errors} of {here.requests} requests were answered 5xx, "
            f"where the objective allows {allowed:.2%}."
        )
    elif there is not None and there.requests >= ENOUGH:
        share = max(allowed, there.errors / there.requests)
        if is_above_chance(here.errors, here.requests, share, CONFIDENCE):
            reasons.append(
                f"{here.errors} of {here.requests} requests were answered 5xx, "
                f"{there.errors} of {there.requests} with the old release."
            )
    reasons += _slow(here, there, new.witness, wanted)
    if new.witness.wrong:
        reasons.append(
            f"{new.witness.wrong} of {new.witness.requests} golden rows were answered wrong. "
            + " ".join(new.witness.words[:1])
        )
    if new.witness.failed:
        reasons.append(
            f"{new.witness.failed} of the witness's {new.witness.requests} requests failed: "
            + "; ".join(new.witness.words[:2])
        )
    figures: dict[str, Any] = {
        "seconds": round(new.seconds, 1),
        "new": msgspec.to_builtins(here),
        "old": msgspec.to_builtins(there) if there is not None else None,
        "witness": msgspec.to_builtins(new.witness),
    }
    return Verdict(passed=not reasons, reasons=reasons, figures=figures)


def _slow(
    here: Traffic, there: Traffic | None, witness: Witnessed, wanted: Objectives
) -> list[str]:
    p90, name = here.p90_ms, f"p{wanted.percentile:g}"
    if p90 is not None and here.requests >= 10 and p90 >= wanted.p90_ms:
        return [f"{name} is {p90:.0f} ms, where the objective is {wanted.p90_ms:.0f} ms."]
    if witness.requests >= 10 and witness.p90_ms >= wanted.p90_ms:
        return [f"The witness's {name} is {witness.p90_ms:.0f} ms, above {wanted.p90_ms:.0f} ms."]
    if (
        p90 is not None
        and there is not None
        and there.p90_ms is not None
        and min(here.requests, there.requests) >= ENOUGH
        and p90 > max(there.p90_ms * SLOWER, there.p90_ms + BLUR_MS)
    ):
        return [f"{name} is {p90:.0f} ms, and {there.p90_ms:.0f} ms with the old release."]
    return []


def traffic(soak: Soak, percentile: float = 90.0) -> Traffic:
    """The difference of two samples; the later one alone where the service restarted between."""
    before = Sample() if restarted(soak) else soak.before
    buckets = {
        bound: count - before.buckets.get(bound, 0) for bound, count in soak.after.buckets.items()
    }
    return Traffic(
        requests=soak.after.requests - before.requests,
        errors=soak.after.errors - before.errors,
        p90_ms=percentile_ms(buckets, percentile / 100),
    )


def restarted(soak: Soak) -> bool:
    """Whether another process counts than before: it says so, or counts less."""
    before, after = soak.before, soak.after
    return before.process != after.process or after.requests < before.requests


def percentile_ms(buckets: Mapping[str, int], share: float) -> float | None:
    """The percentile from cumulative buckets, linear within one, as Prometheus does; None for none."""
    bounds = sorted((float(bound), count) for bound, count in buckets.items())
    total = bounds[-1][1] if bounds else 0
    if total <= 0:
        return None
    wanted = share * total
    low, below = 0.0, 0
    for bound, count in bounds:
        if count >= wanted:
            if math.isinf(bound):
                return low * 1000
            inside = (wanted - below) / max(count - below, 1)
            return (low + (bound - low) * inside) * 1000
        low, below = bound, count
    return low * 1000
