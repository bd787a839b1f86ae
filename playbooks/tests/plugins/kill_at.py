"""A callback that ends its own controller by SIGKILL, at a task or in the middle of a step.

SKFLEET_KILL_AT=N       when the Nth task begins
SKFLEET_KILL_STEP=NAME  when the first task of that step has begun, a little later
SKFLEET_TASKS=FILE      writes the tasks that begin, separated by tabs: number, play, name, and whether
                        anything outside the controller's memory was asked since the last began (1 or 0)
"""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: kill_at
    type: aggregate
    short_description: ends the controller
    description: For tests of what a dead controller leaves behind.
"""
LATER_S = 1.0
# Before and after these a dead controller leaves the same behind.
IN_MEMORY = frozenset(
    [
        "set_fact",
        "include_tasks",
        "import_tasks",
        "include_vars",
        "assert",
        "debug",
        "fail",
        "add_host",
        "group_by",
        "meta",
    ]
)


class CallbackModule(CallbackBase):
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "kill_at"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._play = ""
        self._at = int(os.environ.get("SKFLEET_KILL_AT") or 0)
        self._step = os.environ.get("SKFLEET_KILL_STEP")
        self._log = os.environ.get("SKFLEET_TASKS")
        self._acted = False

    def v2_playbook_on_play_start(self, play: Any) -> None:
        """A play is about to begin."""
        self._play = play.get_name()

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        """A task is about to begin."""
        self._count += 1
        if self._log:
            with Path(self._log).open("a") as file:
                file.write(f"{self._count}\t{self._play}\t{task.get_name()}\t{self._acted:d}\n")
        self._acted = False
        if self._count == self._at:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._step and task.get_vars().get("rollout_step") == self._step:
            self._step = None
            threading.Timer(LATER_S, os.kill, (os.getpid(), signal.SIGKILL)).start()

    v2_playbook_on_handler_task_start = v2_playbook_on_task_start

    def v2_runner_on_ok(self, result: Any) -> None:
        """A host has done a task; skipped ones are not told here."""
        self._acted = self._acted or result.task.action.rsplit(".", 1)[-1] not in IN_MEMORY

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """A host has not."""
        self.v2_runner_on_ok(result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """A host was not there."""
        self.v2_runner_on_ok(result)
