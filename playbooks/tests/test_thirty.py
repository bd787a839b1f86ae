"""A fleet of thirty moves by zones, batch by batch, and loses nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from skfleet_testing.fleet import VMS, Fleet, assert_clean, serving

# Two cores boot some VMs at a time; of thirty at once /livez would wait until autohealing took them away.
GROWING = (12, 21, 30)
THIRTY = GROWING[-1]
# Waits as an operator has them, and times nearer to the cloud's than in other tests. Few VMs a batch: of
# seven at once each took four minutes on two cores, and the gate found the fleet too slow.
SCALE = 2
BATCHES = [1, 3]
PATIENT = {"rollout_batches": BATCHES, "rollout_settle_s": 600, "rollout_ready_s": 60}
RATE = 100  # requests a second of the witness
pytestmark = [pytest.mark.fleet, pytest.mark.load, pytest.mark.full, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with serving(tmp_path_factory.mktemp("thirty"), VMS, 300, scale=SCALE) as made:
        for size in GROWING:
            made.command("skfleet-local", "scale", str(size))
            made.wait_until_serving(size, 420)
        yield made


def test_a_rollout_over_thirty_vms_loses_no_request(thirty: Fleet) -> None:
    zone = {vm["name"]: vm["zone"] for vm in thirty.shell.status()}
    with thirty.witnessed(rate=RATE) as record:
        result = thirty.playbook("rollout", release="b", timeout_s=2700, **PATIENT)
    assert result.code == 0, result.output[-3000:]
    batches = [batch["vms"] for batch in result.evidence["plan"]["batches"]]
    assert sorted(vm for batch in batches for vm in batch) == sorted(zone)
    assert len(batches[0]) == BATCHES[0]
    for batch in batches:
        assert len(batch) <= BATCHES[-1]
        assert len({zone[vm] for vm in batch}) == 1
    thirty.assert_at("b", minimum=THIRTY)
    print(f"{result.seconds / 60:.1f} minutes, planned {result.evidence['plan']['minutes']}")  # noqa: T201 - the figure
    assert_clean(record)
