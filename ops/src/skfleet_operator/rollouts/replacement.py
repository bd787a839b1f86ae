"""The plan of a replacement: the same release on VMs of another image (instance template).

VMs of the new image come first, as many as the canary is, beside all others; once they pass the gate,
the old ones are recreated batch by batch; at last the group has the size again that it had. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from skfleet_operator.compute.model import short_template
from skfleet_operator.rollouts import plan
from skfleet_operator.rollouts.plan import Group, Options, Refusal


class Vm(plan.Vm, frozen=True, kw_only=True):
    """A VM and what it was made from. `template`: a link, however it is written."""

    template: str

    @property
    def image(self) -> str:
        """Its template as `projects/…`."""
        return short_template(self.template)


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A template of the group, and the VMs that it is for; without a size, for the rest."""

    template: str
    fixed: int | None = None
    percent: int | None = None


class Plan(plan.Planned, frozen=True, kw_only=True):
    """The whole of a replacement. `canary`: VMs of the new image that come first."""

    image: str
    image_before: str
    size: int  # of the group, before and after
    canary: int
    canary_versions: list[Version]


def make(
    *,
    image: str,
    versions: Sequence[Version],
    vms: Sequence[Vm],
    members: Iterable[str],
    group: Group,
    canary: int | str,
    options: Options,
    left_by: str = "",
) -> Plan:
    """The plan; raises ConfigurationError for options that mean nothing.

    `canary`: VMs, or a share of the target size. `left_by`: the run of a controller that died.
    """
    plan.check(options)
    image = short_template(image)
    moving = plan.order([vm for vm in vms if vm.image != image])
    first = plan.size_of(canary, group.target_size, "replace_canary") if moving else 0
    before = _before(image, versions, [vm.image for vm in vms])
    there = sum(vm.image == image for vm in vms)
    batches = plan.batches_of(moving, vms, [], group, options, plan.runs_of(left_by), first)
    found = plan.unsafe(vms, set(members), group, left_by, first=False)
    refusals = plan.refusals_of(found, options)
    if first and group.autoscaler_mode and not group.can_surge(first):
        # No override: without them there is nothing to take traffic meanwhile, and nothing to judge by.
        words = (
            f"{first} VMs of the new image come beside the {group.target_size} there are, and the "
            f"autoscaler's maximum is {group.maximum}: raise it."
        )
        refusals.append(Refusal(code="surge", words=words))
    reached = [(short_template(version.template), version.fixed) for version in versions]
    each = sum(options.seconds.values())
    return Plan(
        image=image,
        image_before=before,
        size=group.target_size,
        canary=first,
        canary_versions=[
            Version(template=before),
            Version(template=image, fixed=there + first),
        ]
        if first
        else [],
        batches=batches,
        nothing_to_do=not moving and reached == [(image, None)] and not left_by,
        refusals=refusals,
        minutes=round(each * (len(batches) + bool(first)) / 60, 1),
    )


def lines(made: Plan) -> list[str]:
    """The plan for a person."""
    if made.nothing_to_do:
        return [f"Every VM is of '{short(made.image)}', and so is the group: nothing to do."]
    said = [f"Image '{short(made.image)}' instead of '{short(made.image_before)}'."]
    if made.canary:
        said.append(
            f"{made.canary} VMs of it come beside the {made.size} there are: gate, soak. "
            f"Then {len(made.batches)} batches, about {made.minutes:g} minutes in all:"
        )
    for number, batch in enumerate(made.batches, start=1):
        said.append(
            f"  {number}. {', '.join(batch.vms)} ({batch.zone}): drain, recreate; "
            f"{batch.serving_meanwhile} VMs serve meanwhile"
        )
    if made.canary:
        said.append(f"At last the {made.canary} VMs beside them go, and the group has {made.size}.")
    return [*said, *map(str, made.refusals)]


def short(template: str) -> str:
    """Its name, for people."""
    return template.rpartition("/")[2]


def _before(image: str, versions: Sequence[Version], templates: Sequence[str]) -> str:
    """Where the way back leads: what the group makes VMs from, or else what most VMs are of."""
    rest = [short_template(v.template) for v in versions if v.fixed is None and v.percent is None]
    others = Counter(template for template in templates if template != image)
    known = [template for template in rest if template != image]
    return (known or [template for template, _ in others.most_common(1)] or [image])[0]
