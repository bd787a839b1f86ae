"""What a count of failures proves about a share: exact binomial bounds, no approximation."""

from __future__ import annotations

import math

CONFIDENCE = 0.95


def required(target: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """Fewest requests that, with so many failures among them, prove a good share ≥ target.

    `required(0.9995)` is 5,990: 99.95 % at 95 % confidence without a failure.
    """
    low, high = failures, max(1024, failures)
    while not proves(target, high, failures, confidence):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if proves(target, middle, failures, confidence):
            high = middle
        else:
            low = middle
    return high


def proves(target: float, requests: int, failures: int, confidence: float = CONFIDENCE) -> bool:
    """Whether a service just at the target would have shown so few failures only by rare luck."""
    if requests <= failures:
        return False
    return _at_most(failures, requests, 1 - target) <= 1 - confidence


def worse(failures: int, requests: int, share: float, confidence: float = CONFIDENCE) -> bool:
    """Whether so many failures are too many to be chance where `share` of requests fail."""
    if not requests or not failures:
        return False
    return 1 - _at_most(failures - 1, requests, share) <= 1 - confidence


def _at_most(count: int, trials: int, share: float) -> float:
    """Probability of at most `count` successes in `trials` of this share."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return 1.0 if count >= trials else 0.0
    logs = (math.log(share), math.log1p(-share))
    total = 0.0
    for number in range(count + 1):
        ways = math.lgamma(trials + 1) - math.lgamma(number + 1) - math.lgamma(trials - number + 1)
        total += math.exp(ways + number * logs[0] + (trials - number) * logs[1])
    return min(total, 1.0)
