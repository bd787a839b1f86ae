"""The demo's exit code is 0 only if every promise it printed held."""

from __future__ import annotations

import io

import pytest

from skfleet_local.demo.report import Report


def report() -> Report:
    return Report(phases=1, out=io.StringIO())


def test_all_promises_kept_is_success() -> None:
    made = report()
    made.promise("it works", True)
    assert made.close() == 0


def test_one_broken_promise_is_failure_and_is_named() -> None:
    made = report()
    made.promise("it works", True)
    made.promise("it lasts", False, "it did not")
    assert made.close() == 1
    assert "it lasts" in made.out.getvalue().split("BROKEN")[1]


def test_a_phase_that_raises_is_still_timed() -> None:
    made = report()
    with pytest.raises(RuntimeError), made.phase("breaks"):
        raise RuntimeError
    assert [title for title, _ in made.seconds] == ["breaks"]
