"""Every journey, with the real provider; skipped where `terraform init` finds none that applies."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from apply.driver import REPOSITORY, Unavailable, Workspace, initialise, run_journey
from apply.journeys import JOURNEYS, Journey


@pytest.fixture(scope="session")
def initialised(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    try:
        return initialise(tmp_path_factory.mktemp("apply") / "initialised")
    except Unavailable as reason:
        if os.environ.get("SKFLEET_APPLY_REQUIRED") == "1":
            pytest.fail(f"{reason}")
        pytest.skip(
            f"{reason}"
        )  # even with SKFLEET_NO_SKIP: a machine without a registry cannot run this


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("journey", JOURNEYS, ids=lambda journey: journey.name)
def test_journey_holds(initialised: Workspace, journey: Journey, tmp_path: Path) -> None:
    lines = run_journey(journey, initialised, tmp_path / journey.name)
    report = REPOSITORY / ".skfleet" / "apply" / f"{journey.name}.jsonl"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def test_journeys_cover_every_environment() -> None:
    environments = {path.stem for path in (REPOSITORY / "terraform/environments").glob("*.tfvars")}
    assert {j.environment for j in JOURNEYS} == environments
