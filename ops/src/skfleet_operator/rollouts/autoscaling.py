"""The autoscaler's settings that a run changes and restores. Pure."""

from __future__ import annotations

import msgspec

# The mode that every run sets, and its former name.
RUN_MODES = ("ONLY_SCALE_OUT", "ONLY_UP")


class Autoscaling(msgspec.Struct, frozen=True, kw_only=True):
    """An autoscaler's settings before a rollout touched them. `minimum`: VMs.

    `raised_to`: what runs set the minimum to since; another one that is found is an operator's.
    """

    mode: str
    minimum: int
    raised_to: list[int] = []


def to_restore(owed: Autoscaling, found: Autoscaling) -> Autoscaling:
    """What a run changed, as it was before; what somebody else changed since, as it is found."""
    ours = (owed.minimum, *owed.raised_to)
    return Autoscaling(
        mode=owed.mode if found.mode in RUN_MODES else found.mode,
        minimum=owed.minimum if found.minimum in ours else found.minimum,
        raised_to=owed.raised_to,
    )
