"""edge.yml in local time."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from skfleet.declared import read_edge
from skfleet.errors import DocumentError
from skfleet_local.edge import scale_edge

REPOSITORY = Path(__file__).resolve().parents[2]


def test_only_intervals_and_drain_are_faster() -> None:
    real = read_edge(REPOSITORY / "edge.yml")
    local = scale_edge(real, 5)
    assert local.retries == real.retries
    assert local.timeouts.request_s == real.timeouts.request_s
    for name in ("readiness", "liveness"):
        before, after = getattr(real.health_checks, name), getattr(local.health_checks, name)
        assert after.interval_s < before.interval_s
        assert after.timeout_s <= after.interval_s
        assert after.unhealthy_threshold == before.unhealthy_threshold
        assert after.healthy_threshold == before.healthy_threshold
    # A boot takes as long here as there.
    assert (
        local.health_checks.liveness.initial_delay_s == real.health_checks.liveness.initial_delay_s
    )


@pytest.mark.parametrize("factor", [1, 5, 10, 100])
def test_a_release_that_does_not_come_up_goes_back_before_autohealing(factor: float) -> None:
    """Otherwise the group recreates a VM that was about to mend itself."""
    defaults = yaml.safe_load((REPOSITORY / "roles/release/defaults/main.yml").read_text())
    check = scale_edge(read_edge(REPOSITORY / "edge.yml"), factor).health_checks.liveness
    restarts = 10.0  # there and back
    patience = check.interval_s * check.unhealthy_threshold
    assert defaults["release_wait_s"] + restarts < patience


def test_draining_is_never_shorter_than_a_request() -> None:
    real = read_edge(REPOSITORY / "edge.yml")
    assert scale_edge(real, 1000).timeouts.drain_s == real.timeouts.request_s


def test_a_retry_that_google_does_not_offer_is_refused(tmp_path: Path) -> None:
    text = (REPOSITORY / "edge.yml").read_text().replace("refused-stream]", "reset]")
    (tmp_path / "edge.yml").write_text(text)
    with pytest.raises(DocumentError, match="reset"):
        read_edge(tmp_path / "edge.yml")


def test_a_broken_file_names_the_field(tmp_path: Path) -> None:
    (tmp_path / "edge.yml").write_text("listeners: {}\n")
    with pytest.raises(DocumentError, match="iap"):
        read_edge(tmp_path / "edge.yml")
