"""What the Compute stand-in knows, and keeps across its own restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from skfleet_local.compute.faults import Faults
from skfleet_local.processes import Process

# Where a VM is on its way, which is finer than what Google's API says about it.
Phase = Literal["build", "run", "drain", "stop"]
# Published: `currentAction` of managed instances.
Action = Literal["NONE", "CREATING", "VERIFYING", "RECREATING", "DELETING"]


class Instance(msgspec.Struct, kw_only=True):
    """One managed instance. Times are Unix seconds."""

    name: str
    id: int
    zone: str
    address: str
    group: str
    template: str
    action: Action = "CREATING"
    phase: Phase = "build"
    due: float = 0.0  # when the phase may end: creation time, drain deadline
    created: float = 0.0
    booted: float = 0.0
    init: Process | None = None
    reason: str = ""  # why the group last did something to it
    recreated: int = 0
    attempts: int = 0  # to make it, that have failed since the last one that did not
    error: str = ""  # Google's code for the last one
    guest_attributes: dict[str, str] = {}  # path → value, as the VM wrote it


class Resources(msgspec.Struct, kw_only=True):
    """Everything of the project. Templates and groups are kept in their published form."""

    templates: dict[str, dict[str, Any]] = {}
    groups: dict[str, dict[str, Any]] = {}
    instances: dict[str, Instance] = {}
    autoscalers: dict[str, dict[str, Any]] = {}
    last_id: int = 1000
    faults: Faults = msgspec.field(default_factory=Faults)

    @classmethod
    def load(cls, path: Path) -> Resources:
        """What was written last, or nothing."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError:
            return cls()

    def encode(self) -> bytes:
        """For the file that `load` reads."""
        return msgspec.json.encode(self)

    def of_group(self, group: str) -> list[Instance]:
        """The group's instances, in the order in which they were created."""
        found = [item for item in self.instances.values() if item.group == group]
        return sorted(found, key=lambda item: (item.created, item.name))
