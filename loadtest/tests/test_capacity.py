"""The Universal Scalability Law: found again from its own points, and read for a fleet's size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skfleet_loadtest.capacity import Law, fit, grown, vms_for


@settings(deadline=None, max_examples=40)
@given(st.floats(20, 5000), st.floats(0, 0.3), st.floats(0, 0.01))
def test_the_law_is_found_from_fleets_that_obey_it(
    one: float, contention: float, crosstalk: float
) -> None:
    law = Law(one=one, contention=contention, crosstalk=crosstalk)
    found = fit({size: law.rate(size) for size in (1, 2, 3, 4, 6, 8)})
    for size in range(1, 13):
        assert found.rate(size) == pytest.approx(law.rate(size), rel=0.02)


def test_one_size_of_fleet_tells_one_unknown() -> None:
    assert fit({2: 300.0}) == Law(one=150.0, contention=0.0, crosstalk=0.0)


def test_a_fleet_holds_its_target_with_one_vm_lost() -> None:
    linear = Law(one=100.0, contention=0.0, crosstalk=0.0)
    assert vms_for(linear, 250) == 4
    assert vms_for(linear, 300) == 4
    assert vms_for(linear, 301) == 5


def test_a_load_beyond_the_laws_peak_is_refused() -> None:
    law = Law(one=100.0, contention=0.05, crosstalk=0.01)
    assert law.best == pytest.approx(9.75, abs=0.1)
    assert vms_for(law, 10_000) is None


def test_what_must_be_held_grows_while_a_vm_boots() -> None:
    assert grown(1000, 0.1, 0) == 1000
    assert grown(1000, 0.1, 120) == pytest.approx(1210)
