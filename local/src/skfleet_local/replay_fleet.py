"""The local fleet, as a replay sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skfleet_local import status
from skfleet_local.compute.project import BUCKET, FLEET
from skfleet_local.run import Run


class ReplayFleet:
    """Implements `skfleet_operator.replay.run.Fleet` by a run of the emulator."""

    bucket = f"gs://{BUCKET}"
    name = FLEET

    def __init__(self, run: Run) -> None:
        self._run = run
        self.directory = run.root
        self.environment: Mapping[str, str] = run.client_environment()

    def vms(self) -> list[dict[str, Any]]:
        """What the status shows of them."""
        return status.vms(self._run)
