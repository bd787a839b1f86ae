"""A callback that makes a record's mishaps happen again, at the same boundaries.

SKFLEET_INJECT is JSON: `lose` (VMs, each with step, seconds and the file that cuts it off) and `kill_after`
(so many events of steps, after which this controller ends by SIGKILL; 0 for never).
"""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
    name: skfleet_inject
    type: aggregate
    short_description: mishaps of a recorded rollout
    description: For `skfleet-local replay`.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "skfleet_inject"

    def __init__(self) -> None:
        super().__init__()
        asked = json.loads(os.environ.get("SKFLEET_INJECT") or "{}")
        self._lose = {(item["vm"], item["step"]): item for item in asked.get("lose", [])}
        self._kill_after = int(asked.get("kill_after", 0))
        self._events = 0

    def v2_runner_on_start(self, host: Any, task: Any) -> None:
        """A task begins on a host."""
        item = self._lose.pop((host.name, task.get_vars().get("rollout_step")), None)
        if item is None:
            return
        if item["after_s"]:
            threading.Timer(item["after_s"], Path(item["file"]).touch).start()
        else:
            Path(item["file"]).touch()

    def _ended(self, result: Any, **_: Any) -> None:
        if not result._task.get_vars().get("rollout_step"):
            return
        self._events += 1
        if self._events == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_unreachable = _ended
