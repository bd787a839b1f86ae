"""Our Ansible modules, run by the controller's own process.

A module is a process for each task, and Google's libraries take most of a second to import: half of the
time of a small fleet's rollout. An action plugin is imported once, before Ansible forks for a task.
"""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import Any, NoReturn

# Ansible publishes no types: what is imported is Any to mypy, and so is a class that is derived from it.
from ansible.errors import AnsibleError  # type: ignore[import-untyped]
from ansible.plugins.action import ActionBase  # type: ignore[import-untyped]
from ansible.plugins.loader import module_loader  # type: ignore[import-untyped]

from skfleet.ansible_data import plain


class _Ended(BaseException):
    """What a module ends itself with; no `except Exception` on its way may take it."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__()
        self.result = result


class Here:
    """As much of AnsibleModule as our modules use, for one task."""

    def __init__(self, params: dict[str, Any], check_mode: bool) -> None:
        self.params = params
        self.check_mode = check_mode

    def exit_json(self, **result: Any) -> NoReturn:
        """End well."""
        raise _Ended({"changed": False, **result})

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        """End badly; `msg` says why."""
        raise _Ended({"changed": False, "failed": True, "msg": msg, **result})


class InController(ActionBase):  # type: ignore[misc]  # ActionBase has no types
    """Runs the module of its own name: its `SPECIFICATION` checks the arguments, its `run` does the work."""

    _requires_connection = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """The task's result."""
        super().run(tmp, task_vars)
        module = _load(self._task.action)
        _, params = self.validate_argument_spec(**module.SPECIFICATION)
        try:
            module.run(Here(plain(params), self._task.check_mode))
        except _Ended as ended:
            return ended.result
        raise AnsibleError(f"{self._task.action} ended without a result.")


def _load(name: str) -> ModuleType:
    path = module_loader.find_plugin(name)
    spec = importlib.util.spec_from_file_location(name, path or "")
    if spec is None or spec.loader is None:
        raise AnsibleError(f"There is no module {name}.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
