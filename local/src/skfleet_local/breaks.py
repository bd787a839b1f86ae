"""Faults of the Compute API, asked for and ended through the cloud's admin site."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from skfleet.errors import SkfleetError
from skfleet_local import client
from skfleet_local.compute.faults import Faults
from skfleet_local.run import Run

Change = Callable[[Faults], None]


def compute(run: Run, change: Change) -> Faults:
    """Read the faults there are, change them, and give them back; raises SkfleetError if refused."""
    url = f"{run.require_state().addresses.admin_url}/compute/faults"
    session = client.session()
    found = msgspec.convert(_answer(session.get(url, timeout=5)), Faults)
    change(found)
    return msgspec.convert(
        _answer(session.put(url, data=msgspec.json.encode(found), timeout=5)), Faults
    )


def _answer(answer: Any) -> Any:
    if answer.status_code != 200:
        raise SkfleetError(answer.json()["error"], where="skfleet-local break")
    return answer.json()
