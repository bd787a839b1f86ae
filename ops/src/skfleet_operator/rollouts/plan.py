"""The plan of a rollout: who moves when, what is left to serve meanwhile, and what is unsafe.

Pure: it is made from what was looked up (VMs, group, releases), and printed by `--check` as it is run.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from skfleet.documents.edge import Listeners
from skfleet.documents.release import Release
from skfleet.errors import ConfigurationError

# What may differ for a release to be taken by a reload: nothing but models, and who made it when.
_HOT = ("models", "default_model", "id", "created_at", "created_by", "notes")

Need = Literal["move", "return", "nothing"]


class Vm(msgspec.Struct, frozen=True, kw_only=True):
    """One VM as it was found. `release`: the one that answers, empty where none does."""

    name: str
    zone: str
    reachable: bool = True
    release: str = ""
    ready: bool = False  # all of `/readyz` but the drain
    why_not: str = ""
    drained_by: str = ""  # owner of an unexpired drain mark
    drain_covers: str = ""  # owner of the mark that it covers, which holds again afterwards
    serving: bool = False  # healthy in every load balancer
    stable: bool = True  # the group is not at work on it
    python: str = ""
    platform: str = ""
    image_contracts: list[int] = []
    host_ports: dict[str, int] = {}  # listener → port, whatever its release says
    image_ports: dict[str, int] = {}  # listener → port, where its release says nothing


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an operator chooses; the defaults are in playbooks/group_vars/all.yml."""

    batches: list[int | str]
    capacity: float  # share of the target size that must serve at any time
    overrides: list[str] = []
    seconds: Mapping[str, float] = {}  # expected, per step


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """The managed instance group and its autoscaler, if it has one."""

    target_size: int
    stable: bool = True
    autoscaler_mode: str = ""  # empty: there is none
    minimum: int = 0
    maximum: int = 0
    named_ports: dict[str, int] = {}  # name → where the load balancers send requests

    def can_surge(self, size: int) -> bool:
        """Whether raising the minimum by this many VMs brings as many."""
        return bool(self.autoscaler_mode) and self.target_size + size <= self.maximum


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """VMs of one zone that move at once."""

    vms: list[str]
    zone: str
    serving_meanwhile: int
    surge: int  # VMs that must have come before this batch is drained


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the rollout is unsafe. An operator may override it by `code`, with a reason for the record."""

    code: str
    words: str
    overridden: bool = False

    def __str__(self) -> str:
        return f"{'Overridden' if self.overridden else 'Refused'} ({self.code}): {self.words}"


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """What every plan has, whatever it moves."""

    batches: list[Batch]
    nothing_to_do: bool
    refusals: list[Refusal]
    minutes: float

    @property
    def refused(self) -> list[Refusal]:
        """What stands in the way still."""
        return [refusal for refusal in self.refusals if not refusal.overridden]


class Plan(Planned, frozen=True, kw_only=True):
    """The whole of a rollout. `hot_from`: running releases from which a reload is enough."""

    release: str
    before: str  # the desired release, empty for a fleet's first
    hot_from: list[str]


OVERRIDES = {
    "unreachable": "a VM cannot be reached",
    "unready": "a VM is not ready, and no rollout left it so",
    "unstable": "the group is creating, recreating or deleting VMs",
    "counts": "inventory and group do not have the same VMs",
    "drained": "an operator drains a VM; it gets the release, and stays drained",
    "capacity": "too few VMs would serve meanwhile",
    "answers": "golden predictions change, and the rollout was told that none may",
}


def make(
    *,
    target: Release,
    desired: str,
    running: Mapping[str, Release],
    vms: Sequence[Vm],
    members: Iterable[str],
    group: Group,
    options: Options,
    left_by: str = "",
    answers_changed: int | None = None,
    listeners: Listeners | None = None,
    names: Mapping[str, str] | None = None,
) -> Plan:
    """The plan; raises ConfigurationError for options that mean nothing.

    `running`: the releases that VMs serve, by id. `members`: names of the group's VMs. `left_by`: the
    run of a controller that died. `answers_changed`: golden predictions that differ, None for 'may'.
    `listeners`: what the target's edge.yml declares, None for a release of before. `names`: by listener, its
    named port of the group.
    """
    check(options)
    runs = runs_of(left_by)
    hot = sorted(name for name, release in running.items() if is_hot(release, target))
    moving = order([vm for vm in vms if need(vm, target.id, runs) != "nothing"])
    batches = batches_of(moving, vms, hot, group, options, runs)
    found = [
        *_unfit(target, vms),
        *_deaf(listeners, names or {}, vms, group),
        *unsafe(vms, set(members), group, left_by, first=not desired),
        *_starved(batches, group, options),
    ]
    if answers_changed:
        found.append(("answers", f"{answers_changed} golden predictions change."))
    drained = any(vm.release not in hot for vm in moving)
    each = sum(
        seconds
        for step, seconds in options.seconds.items()
        if drained or step not in ("drain", "undrain")
    )
    return Plan(
        release=target.id,
        before=desired,
        batches=batches,
        # What a dead controller owes is given back even where no VM has to move.
        nothing_to_do=not moving and desired == target.id and not left_by,
        hot_from=hot,
        refusals=refusals_of(found, options),
        minutes=round(each * len(batches) / 60, 1),
    )


def runs_of(left_by: str) -> frozenset[str]:
    """The abandoned runs, whose drain marks a rollout removes."""
    return frozenset(left_by.split(",")) - {""}


def drained_for(vm: Vm, runs: Collection[str]) -> str:
    """Who drained the VM, if none of these runs did: it stays drained. Empty for nobody."""
    owners = (vm.drained_by, vm.drain_covers)
    return next((owner for owner in owners if owner and owner not in runs), "")


def need(vm: Vm, target: str, runs: Collection[str] = ()) -> Need:
    """What a VM needs: the release, only its traffic back, or nothing. `runs`: abandoned ones."""
    if vm.release != target or not vm.reachable:
        return "move"
    return "nothing" if vm.ready and vm.drained_by not in runs else "return"


def order(vms: Sequence[Vm]) -> list[Vm]:
    """Zone by zone. VMs that serve nobody go first in theirs: with them there is least to lose."""
    trouble = {vm.zone for vm in vms if not serves(vm)}
    return sorted(vms, key=lambda vm: (vm.zone not in trouble, vm.zone, serves(vm), vm.name))


def serves(vm: Vm) -> bool:
    """Whether a VM gets traffic: load balancers may not have seen yet that it is drained."""
    return vm.serving and not vm.drained_by


def is_hot(running: Release, target: Release) -> bool:
    """Whether a reload is enough to get from one release to the other: only models differ."""
    before, after = msgspec.structs.asdict(running), msgspec.structs.asdict(target)
    return all(before[field] == after[field] for field in before if field not in _HOT)


def size_of(text: int | str, total: int, where: str = "rollout_batches") -> int:
    """`2` or `"25%"` of `total` as a number of VMs, at least 1; raises ConfigurationError."""
    if isinstance(text, str) and text.endswith("%") and text[:-1].isdecimal():
        share = int(text[:-1])
        if 0 < share <= 100:
            return max(1, total * share // 100)
    elif str(text).isdecimal() and int(text) > 0:
        return int(text)
    raise ConfigurationError(
        f"'{text}' is no number of VMs and no share of them.",
        where=where,
        hint="Write numbers of VMs and percentages, as [1, '25%', '100%'].",
    )


def batches_of(
    moving: Sequence[Vm],
    vms: Sequence[Vm],
    hot: Sequence[str],
    group: Group,
    options: Options,
    runs: Collection[str] = (),
    extra: int = 0,
) -> list[Batch]:
    """Who moves at once, zone by zone. `runs`: abandoned ones; `extra`: VMs that came, and serve."""

    def leaves(vm: Vm) -> bool:
        """A VM that serves nobody, or that only reloads, costs no capacity."""
        return serves(vm) and vm.release not in hot

    required = math.ceil(options.capacity * group.target_size)
    serving = sum(map(serves, vms)) + extra
    spare = max(1, serving - required)
    batches: list[Batch] = []
    rest = list(moving)
    while rest:
        wanted = size_of(options.batches[min(len(batches), len(options.batches) - 1)], len(moving))
        zone = rest[0].zone
        taken: list[Vm] = []
        for vm in [vm for vm in rest if vm.zone == zone]:
            if len(taken) < wanted and sum(map(leaves, taken)) + leaves(vm) <= spare:
                taken.append(vm)
        rest = [vm for vm in rest if vm not in taken]
        left = serving - sum(map(leaves, taken))
        lacking = max(0, min(required, serving) - left)
        batches.append(
            Batch(
                vms=[vm.name for vm in taken],
                zone=zone,
                serving_meanwhile=left,
                surge=lacking,
            )
        )
        # Whoever did not serve does so afterwards, unless an operator drains it.
        serving += sum(not serves(vm) and not drained_for(vm, runs) for vm in taken)
    return batches


def _unfit(target: Release, vms: Sequence[Vm]) -> list[tuple[str, str]]:
    """VMs whose image cannot run the release. No override: it would only fail later."""
    found: list[tuple[str, str]] = []
    for code, what, wanted, has in (
        ("image", "image contract", str(target.image_contract), _contracts),
        ("python", "Python", target.app.python, lambda vm: {vm.python}),
        ("platform", "platform", target.app.platform, lambda vm: {vm.platform}),
    ):
        unfit = [vm.name for vm in vms if vm.reachable and wanted not in has(vm)]
        if unfit:
            found.append(
                (code, f"The release needs {what} {wanted}, which {names_of(unfit)} has not.")
            )
    return found


def _deaf(
    listeners: Listeners | None, names: Mapping[str, str], vms: Sequence[Vm], group: Group
) -> list[tuple[str, str]]:
    """VMs that would not listen where the load balancers send. No override: nobody could reach them."""

    def heard(vm: Vm, listener: str) -> tuple[int, ...]:
        if listener in vm.host_ports:
            return (vm.host_ports[listener],)
        if listeners is not None:
            ports: tuple[int, ...] = getattr(listeners, listener).ports
            return ports
        return (vm.image_ports[listener],) if listener in vm.image_ports else ()

    found: list[tuple[str, str]] = []
    for listener, name in names.items():
        port = group.named_ports.get(name)
        answers = {vm.name: heard(vm, listener) for vm in vms if vm.reachable}
        deaf = [vm for vm, ports in answers.items() if ports and port not in ports]
        if port is not None and deaf:
            there = ", ".join(map(str, answers[deaf[0]]))
            found.append(
                (
                    "ports",
                    f"The load balancers send to port {port} ({name}), and with this release "
                    f"{names_of(deaf)} would listen on {there}. Create a release whose edge.yml has both "
                    f"ports (`also`), or apply Terraform (docs/architecture.md).",
                )
            )
    return found


def _contracts(vm: Vm) -> set[str]:
    return {str(number) for number in vm.image_contracts}


def unsafe(
    vms: Sequence[Vm], members: set[str], group: Group, left_by: str, *, first: bool
) -> list[tuple[str, str]]:
    """What is not as it should be before anything begins, by code."""
    found: list[tuple[str, str]] = []
    known = {vm.name for vm in vms}
    if known != members:
        found.append(
            ("counts", f"Inventory and group differ by {names_of(sorted(known ^ members))}.")
        )
    if not group.stable or any(not vm.stable for vm in vms):
        busy = [vm.name for vm in vms if not vm.stable]
        found.append(("unstable", f"The group is at work: {names_of(busy) or 'VMs are to come'}."))
    away = [vm.name for vm in vms if not vm.reachable]
    if away:
        found.append(("unreachable", f"{names_of(away)} cannot be reached."))
    runs = runs_of(left_by)
    found += [
        ("drained", f"{vm.name} is drained by {owner}, and stays so.")
        for vm in vms
        if (owner := drained_for(vm, runs))
    ]
    for vm in vms:
        # A fleet without a release has nothing ready; what a dead controller left is mended first.
        mended = first or left_by
        if vm.reachable and not vm.ready and not mended:
            found.append(("unready", f"{vm.name} is not ready: {vm.why_not or 'no reason given'}."))
    return found


def refusals_of(found: Iterable[tuple[str, str]], options: Options) -> list[Refusal]:
    """What was found, by code, with what the operator overrides."""
    return [
        Refusal(code=code, words=words, overridden=code in options.overrides)
        for code, words in found
    ]


def _starved(batches: Sequence[Batch], group: Group, options: Options) -> list[tuple[str, str]]:
    for batch in batches:
        if batch.surge and not group.can_surge(batch.surge):
            return [
                (
                    "capacity",
                    f"While {names_of(batch.vms)} moves, {batch.serving_meanwhile} of "
                    f"{group.target_size} VMs serve, where rollout_capacity wants "
                    f"{options.capacity:.0%}, and the autoscaler cannot bring another.",
                )
            ]
    return []


def check(options: Options) -> None:
    """Raises ConfigurationError for options that mean nothing."""
    if not options.batches:
        raise ConfigurationError("No batch has a size.", where="rollout_batches")
    for text in options.batches:
        size_of(text, 100)
    if not 0 <= options.capacity <= 1:
        raise ConfigurationError(
            f"{options.capacity} is no share.", where="rollout_capacity", hint="0 to 1."
        )
    unknown = sorted(set(options.overrides) - OVERRIDES.keys())
    if unknown:
        raise ConfigurationError(
            f"There is nothing to override by {names_of(unknown)}.",
            where="rollout_override",
            hint="Known: " + "; ".join(f"{code} ({what})" for code, what in OVERRIDES.items()),
        )


def names_of(names: Sequence[str]) -> str:
    """For a sentence."""
    return ", ".join(names)
