"""A release whose models do not fit a VM's memory is refused before it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from skfleet_operator.releases import capacity
from skfleet_operator.releases.capacity import MIB, TooLarge, Weight

REPO = Path(__file__).parents[3]


def test_more_workers_and_more_models_weigh_more(artefact: Path) -> None:
    """Real processes; the linear form shares its pages, so a worker costs some megabytes."""
    one = capacity.weigh_directories({"a": artefact}, 1)
    four = capacity.weigh_directories({"a": artefact, "b": artefact}, 4)
    assert one.backends == {"a": "linear"}
    assert four.backends == {"a": "linear", "b": "linear"}
    assert 20 * MIB < one.bytes < four.bytes < 128 * MIB


def test_a_model_that_does_not_load_is_said_to_be_unknown(artefact: Path) -> None:
    (artefact / "linear.json").unlink()
    with pytest.raises(capacity.CannotWeigh, match=r"linear\.json"):
        capacity.weigh_directories({"a": artefact}, 1)


def test_the_limit_is_the_objectives_and_the_units() -> None:
    limit = capacity.limit_mib(REPO)
    role = yaml.safe_load((REPO / "roles/runtime/defaults/main.yml").read_text())
    assert role["runtime_memory_max"] == "{{ _runtime_slo.objectives.memory.max_mib }}M"
    assert (
        limit == yaml.safe_load((REPO / "slo.yml").read_text())["objectives"]["memory"]["max_mib"]
    )


def test_what_does_not_fit_is_refused_with_what_where_and_how_to_mend() -> None:
    weight = Weight(bytes=300 * MIB, backends={"a": "onnx", "b": "linear"})
    capacity.check(weight, 4, limit=300)
    with pytest.raises(TooLarge) as refused:
        capacity.check(weight, 4, limit=256)
    text = str(refused.value)
    for words in ("300 MiB", "256 MiB", "4 workers", "a by onnx", "[models]", "--set workers=3"):
        assert words in text
    assert refused.value.exit_code == 4
