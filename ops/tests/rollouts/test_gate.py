"""The gate lets a good release through and stops one that errs, is slow, is wrong or restarts."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from skfleet_operator.rollouts import gate
from skfleet_operator.rollouts.gate import Objectives, Sample, Soak, Witnessed

REPOSITORY = Path(__file__).resolve().parents[3]
SLO = Objectives(availability=0.9995, p90_ms=400)
FAST = {"0.01": 0.95, "0.1": 1.0, "0.4": 1.0, "inf": 1.0}
SLOW = {"0.01": 0.0, "0.1": 0.2, "0.4": 0.6, "0.8": 1.0, "inf": 1.0}


def soak(
    requests: int,
    errors: int = 0,
    shares: dict[str, float] = FAST,
    process: str = "p",
    witness: Witnessed = Witnessed(),  # noqa: B008 - frozen
) -> Soak:
    before = Sample(requests=1000, buckets=dict.fromkeys(shares, 1000), process="p")
    after = Sample(
        requests=1000 + requests,
        errors=errors,
        buckets={bound: 1000 + round(share * requests) for bound, share in shares.items()},
        process=process,
    )
    return Soak(before=before, after=after, witness=witness)


def test_the_objectives_are_those_of_slo_yml() -> None:
    slo = yaml.safe_load((REPOSITORY / "slo.yml").read_text())["objectives"]
    wanted = gate.objectives(slo)
    assert wanted.availability == slo["availability"]["target"]
    assert wanted.p90_ms == slo["latency"]["threshold_ms"]


def test_good_traffic_passes() -> None:
    verdict = gate.judge(soak(2000), soak(2000), SLO)
    assert verdict.passed, verdict.reasons
    assert verdict.figures["new"]["requests"] == 2000


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (soak(2000, errors=40), "5xx"),
        (soak(20, errors=1), "5xx"),
        (soak(2000, shares=SLOW), "p90"),
        (soak(20, witness=Witnessed(requests=20, wrong=1)), "wrong"),
        (soak(20, witness=Witnessed(requests=20, failed=1, words=["timeout"])), "timeout"),
        (soak(0, witness=Witnessed(requests=20, p90_ms=900)), "p90"),
        (soak(2000, process="q"), "restarted"),
    ],
)
def test_bad_traffic_is_stopped_with_the_reason(new: Soak, words: str) -> None:
    verdict = gate.judge(new, None, SLO)
    assert not verdict.passed
    assert words in " ".join(verdict.reasons)


def test_slower_than_the_old_release_is_stopped_though_within_the_objective() -> None:
    slower = {"0.1": 0.0, "0.2": 1.0, "0.4": 1.0, "inf": 1.0}
    assert gate.judge(soak(500, shares=slower), None, SLO).passed
    verdict = gate.judge(soak(500, shares=slower), soak(500), SLO)
    assert "old release" in verdict.reasons[0]
    assert gate.judge(soak(500, shares=slower), soak(20), SLO).passed, "too few to compare with"


def test_errors_that_chance_gives_are_no_reason() -> None:
    assert gate.judge(soak(1000, errors=1), None, SLO).passed
    assert not gate.judge(soak(1000, errors=5), None, SLO).passed


def test_a_percentile_is_read_off_the_buckets_as_prometheus_does() -> None:
    assert gate.percentile_ms({"0.1": 0, "0.2": 100, "inf": 100}, 0.9) == pytest.approx(190)
    assert gate.percentile_ms({"0.1": 50, "inf": 100}, 0.9) == pytest.approx(100)
    assert gate.percentile_ms({}, 0.9) is None
    assert gate.percentile_ms({"0.1": 0, "inf": 0}, 0.9) is None
