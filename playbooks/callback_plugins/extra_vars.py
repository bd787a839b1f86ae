"""Refuses `--extra-vars` that are templates: a value of the command line is data, wherever it came from.

Ansible evaluates them when they are first used, on the controller: no check of a playbook comes before that.
"""

from __future__ import annotations

from typing import Any

from ansible.parsing.dataloader import DataLoader
from ansible.plugins.callback import CallbackBase
from ansible.template import Templar
from ansible.utils.vars import load_extra_vars

DOCUMENTATION = """
    name: extra_vars
    type: aggregate
    short_description: refuses templates of the command line
    description: Ends the run with exit code 2 where C(--extra-vars) hold a template.
"""
CONFIGURATION = 2  # exit code, as of skfleet's own commands


class CallbackModule(CallbackBase):
    """Ansible's interface."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "extra_vars"

    def v2_playbook_on_start(self, playbook: Any) -> None:  # noqa: ARG002
        """Before anything of a playbook is evaluated."""
        templar = Templar()
        for name, value in load_extra_vars(DataLoader()).items():
            if templar.is_template(value):  # it looks, and evaluates nothing
                self._display.error(
                    f"Invalid {name}: expected a value, not a template. "
                    "Set variables that are templates in the inventory.",
                    wrap_text=False,
                )
                raise SystemExit(CONFIGURATION)
