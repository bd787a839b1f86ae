"""One JSON line for each task that did something: what, how it went, seconds, and why it failed."""

from __future__ import annotations

import json
import time
from typing import Any

from ansible.plugins.callback import CallbackBase  # type: ignore[import-untyped]

DOCUMENTATION = """
name: skfleet_progress
type: stdout
short_description: one JSON line a task
description: Read by skfleet-converge, and by people in the log of a host.
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Called by ansible-playbook in its own process."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "skfleet_progress"

    def __init__(self) -> None:
        super().__init__()
        self._started = 0.0

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        del task, is_conditional
        self._started = time.monotonic()

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        del task
        self._started = time.monotonic()

    def v2_runner_on_ok(self, result: Any) -> None:
        self._line(result, "changed" if result.result.get("changed") else "ok")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            self._line(result, "failed", message=_why(result.result))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._line(result, "failed", message=_why(result.result))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        changed = sum(stats.changed.values())
        self._display.display(json.dumps({"changed": changed, "ok": sum(stats.ok.values())}))

    def _line(self, result: Any, outcome: str, **more: str) -> None:
        seconds = round(time.monotonic() - self._started, 2)
        line = {"task": result.task.get_name(), "result": outcome, "seconds": seconds, **more}
        self._display.display(json.dumps(line))


def _why(result: dict[str, Any]) -> str:
    """What a person needs of a failed task: its programs' own words before Ansible's."""
    for part in (result, *result.get("results", [])):
        if part.get("failed", part is result):
            words = str(part.get("stderr") or part.get("msg") or part.get("stdout") or "").strip()
            if words and words != "One or more items failed":
                return words[-2000:]
    return "no message"
