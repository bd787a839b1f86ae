"""A callback that ends its own controller by SIGKILL when the SKFLEET_KILL_AT-th task begins.

Without the number it counts: the last line of SKFLEET_TASKS is what there is to kill at.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: kill_at
    type: aggregate
    short_description: ends the controller at a task boundary
    description: For tests of what a dead controller leaves behind.
"""


class CallbackModule(CallbackBase):
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._at = int(os.environ.get("SKFLEET_KILL_AT") or 0)
        self._log = os.environ.get("SKFLEET_TASKS")

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task is about to begin."""
        self._count += 1
        if self._log:
            with Path(self._log).open("a") as file:
                file.write(f"{self._count} {task.get_name()}\n")
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start
