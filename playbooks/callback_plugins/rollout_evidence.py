"""Writes the events of a rollout as they happen: one line for each task that belongs to a step.

A step is the task variable `rollout_step`. The lines go to the file that the fact `rollout_events` names,
so that a controller that is killed leaves a record of how far it came.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

from skfleet.documents import now
from skfleet_operator.rollouts.evidence import Event, append

DOCUMENTATION = """
    name: rollout_evidence
    type: aggregate
    short_description: events of a rollout
    description: Writes a line for each step of each host of a rollout.
"""


class CallbackModule(CallbackBase):
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "rollout_evidence"

    def __init__(self) -> None:
        super().__init__()
        self._file: Path | None = None
        self._began: dict[tuple[str, str], float] = {}

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        self._began[host.name, task._uuid] = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        """It went well; the first one says where the record is."""
        facts = result._result.get("ansible_facts") or {}
        # Only the controller says where: a VM's answer may hold facts too.
        if result._host.name == "localhost" and facts.get("rollout_events"):
            self._file = Path(facts["rollout_events"])
        self._write(result, ok=True)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:  # noqa: ARG002
        """It failed."""
        self._write(result, ok=False)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """The host could not be reached."""
        self._write(result, ok=False)

    def _write(self, result: Any, *, ok: bool) -> None:
        task = result._task
        began = self._began.pop((result._host.name, task._uuid), time.monotonic())
        step = task.get_vars().get("rollout_step")
        if self._file is None or not step:
            return
        said = "" if ok else str(result._result.get("stderr") or result._result.get("msg") or "")
        append(
            self._file,
            Event(
                at=now(),
                host=None if result._host.name == "localhost" else result._host.name,
                step=str(step),
                ok=ok,
                seconds=round(time.monotonic() - began, 2),
                words=said.strip()[:500],
            ),
        )
