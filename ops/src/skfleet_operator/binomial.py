"""What a count of failures says about a share: exact one-sided binomial tests, no approximation."""

from __future__ import annotations

import math
from collections.abc import Iterable

CONFIDENCE = 0.95


def requests_to_prove(target: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Fewest requests that, with so many failures among them, prove a good share ≥ target.

    `requests_to_prove(0.9995)` is 5,990: 99.95 % at 95 % confidence without a failure.
    """
    low, high = failures, max(1024, failures)
    while not proves_target(target, high, failures, confidence):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if proves_target(target, middle, failures, confidence):
            high = middle
        else:
            low = middle
    return high


def proves_target(
    target: float, requests: int, failures: int, confidence: float = CONFIDENCE
) -> bool:
    """Whether a service just at the target would have shown so few failures only by rare luck."""
    if requests <= failures:
        return False
    return probability_at_most(failures, requests, 1 - target) <= 1 - confidence


def is_above_chance(
    failures: int, requests: int, share: float, confidence: float = CONFIDENCE
) -> bool:
    """Whether so many failures are too many to be chance where `share` of requests fail."""
    if not requests or failures <= 0:
        return False
    return 1 - probability_at_most(failures - 1, requests, share) <= 1 - confidence


def probability_at_most(count: int, trials: int, share: float) -> float:
    """Probability of at most `count` successes in `trials` of this share."""
    if share <= 0 or count >= trials:
        return 1.0
    if share >= 1:
        return 0.0
    # Outwards from the mean the terms only get smaller, so few of them matter.
    if count < trials * share:
        return _sum(range(count, -1, -1), trials, share)
    return 1 - _sum(range(count + 1, trials + 1), trials, share)


def _sum(numbers: Iterable[int], trials: int, share: float) -> float:
    logs = (math.log(share), math.log1p(-share))
    total = 0.0
    for number in numbers:
        ways = math.lgamma(trials + 1) - math.lgamma(number + 1) - math.lgamma(trials - number + 1)
        term = math.exp(ways + number * logs[0] + (trials - number) * logs[1])
        total += term
        if term <= total * 1e-17:
            break
    return min(total, 1.0)
