"""The verdict: what passes, what fails and for which reason, what proves nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from skfleet_loadtest import gate
from skfleet_loadtest.figures import Cell
from skfleet_loadtest.record import Record
from skfleet_loadtest.verdict import EXIT_CODES, Word

from .conftest import OBJECTIVE_MS, fail, slow

Make = Callable[..., Record]


def test_a_faultless_run_with_enough_requests_passes(make_record: Make) -> None:
    verdict = gate.judge(make_record())
    assert verdict.verdict is Word.PASS
    assert verdict.reasons == []
    assert (verdict.requests, verdict.rate_asked, verdict.rate_held) == (8000, 100.0, 100.0)
    assert EXIT_CODES[verdict.verdict] == 0


def test_too_few_requests_are_no_proof(make_record: Make) -> None:
    verdict = gate.judge(make_record(seconds=59))
    assert verdict.verdict is Word.INVALID
    assert "5990 would" in verdict.reasons[0]


def test_the_warm_up_is_left_out(make_record: Make) -> None:
    def bad_start(second: int, cell: Cell) -> None:
        if second < 0:
            fail(cell, cell.requests)

    assert gate.judge(make_record(change=bad_start)).verdict is Word.PASS


def test_more_failures_than_the_budget_fail(make_record: Make) -> None:
    verdict = gate.judge(
        make_record(change=lambda second, cell: fail(cell, 3) if second == 40 else None)
    )
    assert verdict.verdict is Word.FAIL
    assert "availability" in verdict.reasons[0]
    assert verdict.failures_by_kind == {"status 503": 6}
    assert verdict.budget.spent_share > 1


def test_failures_within_the_budget_need_more_requests(make_record: Make) -> None:
    one = lambda second, cell: fail(cell, 1) if second == 40 else None  # noqa: E731
    assert gate.judge(make_record(change=one)).verdict is Word.INVALID
    assert gate.judge(make_record(change=one, seconds=200)).verdict is Word.PASS


def test_slow_answers_fail_by_latency_alone(make_record: Make) -> None:
    verdict = gate.judge(make_record(change=lambda second, cell: slow(cell, 900)))
    assert verdict.verdict is Word.FAIL
    assert len(verdict.reasons) == 1
    assert verdict.reasons[0].startswith("latency")


def test_one_bad_slice_fails_a_run_that_is_fast_over_all(make_record: Make) -> None:
    def freeze(second: int, cell: Cell) -> None:
        if 0 <= second < 8:
            slow(cell, 3000)

    verdict = gate.judge(make_record(seconds=120, change=freeze))
    assert verdict.latency["p90_ms"] is not None
    assert verdict.latency["p90_ms"] < OBJECTIVE_MS
    assert verdict.verdict is Word.FAIL


def test_a_wrong_answer_fails_whatever_its_status(make_record: Make) -> None:
    def lie(second: int, cell: Cell) -> None:
        if second == 5:
            cell.right -= 1
            cell.fast -= 1
            cell.prompt -= 1
            cell.wrong += 1

    verdict = gate.judge(make_record(seconds=400, change=lie))
    assert verdict.verdict is Word.FAIL
    assert verdict.wrong == 2
    assert [o.name for o in verdict.objectives if not o.ok] == ["answers"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"finished": 1}, "missing workers"),
        ({"cpu": 0.85}, "saturated generator"),
        ({"rate": 97, "plan_rate": 100}, "missed rate"),
    ],
)
def test_a_generator_that_is_not_trusted_is_invalid_even_with_good_figures(
    make_record: Make, change: dict[str, float], reason: str
) -> None:
    rate = change.pop("plan_rate", None)
    record = make_record(**change)
    if rate:
        from dataclasses import replace

        import msgspec

        record = msgspec.structs.replace(record, plan=replace(record.plan, rate=rate))
    verdict = gate.judge(record)
    assert verdict.verdict is Word.INVALID
    assert reason in verdict.reasons[0]
    assert EXIT_CODES[verdict.verdict] == 3


def test_a_late_generator_is_no_slow_fleet(make_record: Make) -> None:
    def late(second: int, cell: Cell) -> None:
        slow(cell, 900)
        cell.prompt = cell.right

    verdict = gate.judge(make_record(change=late))
    assert verdict.verdict is Word.INVALID
    assert "late generator" in verdict.reasons[0]


def test_dropped_arrivals_are_the_fleets_failure_and_no_missed_rate(make_record: Make) -> None:
    def stuck(second: int, cell: Cell) -> None:
        if second >= 40:
            cell.requests = cell.right = cell.fast = cell.prompt = 0
            cell.durations.clear()
            cell.dropped = 50

    verdict = gate.judge(make_record(change=stuck))
    assert verdict.verdict is Word.FAIL
    assert verdict.dropped == 4000
    assert "availability" in verdict.reasons[0]


def test_refused_tokens_are_counted_apart_and_never_pass(make_record: Make) -> None:
    def refuse(second: int, cell: Cell) -> None:
        if second == 3:
            cell.right -= 2
            cell.fast -= 2
            cell.prompt -= 2
            cell.refused += 2

    verdict = gate.judge(make_record(change=refuse))
    assert verdict.verdict is Word.INVALID
    assert (verdict.refused, verdict.failures) == (4, 0)


def test_a_run_that_was_ended_early_fails(make_record: Make) -> None:
    verdict = gate.judge(
        make_record(
            aborted="the error budget burns 40 times too fast",
            change=lambda second, cell: fail(cell, 10),
        )
    )
    assert verdict.verdict is Word.FAIL


def test_a_bad_canary_fails_though_the_fleet_as_a_whole_keeps_its_objectives(
    make_record: Make,
) -> None:
    def release(second: int) -> str:
        return "canary" if second % 50 == 0 else "stable"

    def bad_canary(second: int, cell: Cell) -> None:
        if second % 50 == 0:
            slow(cell, 800)

    record = make_record(seconds=600, release=release, change=bad_canary)
    assert gate.judge(record).verdict is Word.PASS
    judged = gate.judge(
        make_record(seconds=600, release=release, change=bad_canary, canary="canary")
    )
    assert judged.verdict is not Word.PASS
    assert any("latency of release canary" in reason for reason in judged.reasons)
    assert set(judged.by_release) == {"canary", "stable"}


def test_thresholds_are_those_of_slo_yml(make_record: Make) -> None:
    import msgspec

    record = make_record(change=lambda second, cell: fail(cell, 1))
    assert gate.judge(record).verdict is Word.FAIL
    loose = msgspec.structs.replace(record.slo.objectives.availability, target=0.9)
    objectives = msgspec.structs.replace(record.slo.objectives, availability=loose)
    slo = msgspec.structs.replace(record.slo, objectives=objectives)
    assert gate.judge(msgspec.structs.replace(record, slo=slo)).verdict is Word.PASS


def test_steps_find_the_highest_load_before_the_first_miss(make_record: Make) -> None:
    from skfleet_loadtest.steps import highest

    record = make_record(rate=80, seconds=80, load_profile="steps")

    def at_step(second: int, cell: Cell) -> None:
        step = min(max(second, 0) // 10, 7) + 1
        cell.requests = cell.right = cell.fast = cell.prompt = step * 5
        cell.durations = {}
        slow(cell, 20 if step <= 5 else 900)

    record = make_record(rate=80, seconds=80, load_profile="steps", change=at_step)
    verdict = gate.judge(record)
    assert [step.keeps_slo for step in verdict.steps] == [True] * 5 + [False] * 3
    assert verdict.capacity == highest(verdict.steps) == 50
    assert verdict.verdict is Word.PASS
