"""What a rollout's evidence says went wrong, which local VM stands for which, and what came out differently.

Pure: documents in, values out.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skfleet.errors import SkfleetError
from skfleet_operator.rollouts.evidence import Event, Evidence, Options, Predecessor

# Steps that change something; how often the lease was looked at is not what a rollout did.
STEPS = "stage surge drain activate gate undrain soak keep-out desire recreate give-back".split()
_UNREACHABLE = re.compile(r"cannot be reached|unreachable", re.IGNORECASE)
LATEST_S = 0.2  # after a step begins, for what strikes in its middle


class NotReplayable(SkfleetError):
    """The record does not hold what a replay needs, or this fleet cannot play it."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Mishap:
    """A local VM that cannot be reached any more from a step on. `after_s`: since the step began."""

    vm: str
    step: str
    after_s: float


def readable(record: Evidence) -> None:
    """Raise NotReplayable for a record without plan or batches."""
    if record.verdict == "refused":
        raise NotReplayable(
            "The rollout was refused: nothing happened that could happen again.",
            where=record.id,
            hint="`ansible-playbook playbooks/rollout.yml --check` makes its plan again.",
        )
    if not record.plan.get("batches") or not record.plan.get("target"):
        raise NotReplayable("The record holds no plan.", where=record.id)
    if record.plan.get("image"):
        raise NotReplayable(
            "It is the record of a new image, not of a rollout.",
            where=record.id,
            hint="`skfleet-local image NAME`, then playbooks/replace.yml.",
        )
    if not record.before:
        raise NotReplayable(
            "It was the fleet's first rollout; this fleet has a release already.", where=record.id
        )


def options(record: Evidence) -> dict[str, Any]:
    """The variables that an operator had chosen; NotReplayable where the record holds others.

    A record comes from elsewhere: any other variable of a playbook may be a command.
    """
    try:
        chosen = msgspec.convert(record.options, Options)
    except msgspec.ValidationError as error:
        raise NotReplayable(
            f"Invalid options: {error}.",
            where=record.id,
            hint="Replay a record that a rollout wrote.",
        ) from None
    return dict(msgspec.to_builtins(chosen))


def cast(record: Evidence, local: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Recorded VM → local VM: zone by zone in the order of their names, as plans take them.

    First those that dead controllers had in hand: since then VMs may have come whose names are before theirs.
    """
    touched = [dead.host for dead in record.predecessors]

    def turn(vm: str) -> tuple[int, str]:
        return (touched.index(vm) if vm in touched else len(touched), vm)

    planned = [vm for batch in record.plan["batches"] for vm in batch["vms"]]
    theirs: dict[str, list[str]] = defaultdict(list)
    for vm in planned:
        theirs[record.hosts[vm].zone].append(vm)
    ours: dict[str, list[str]] = defaultdict(list)
    for item in local:
        ours[item["zone"]].append(item["name"])
    if len(theirs) > len(ours) or len(planned) > len(local):
        raise NotReplayable(
            f"The record has {len(planned)} VMs in {len(theirs)} zones, this fleet {len(local)} in "
            f"{len(ours)}.",
            where=record.id,
            hint=f"`skfleet-local scale {len(planned)}`",
        )
    found: dict[str, str] = {}
    for zone, place in zip(sorted(theirs), sorted(ours), strict=False):
        if len(theirs[zone]) != len(ours[place]):
            raise NotReplayable(
                f"The record has {len(theirs[zone])} VMs in {zone}, this fleet {len(ours[place])} "
                f"in {place}.",
                where=record.id,
                hint="A fleet of as many VMs has as many in each zone, once it is at rest.",
            )
        found |= dict(zip(sorted(theirs[zone], key=turn), sorted(ours[place]), strict=True))
    return found


def mishaps(record: Evidence, names: Mapping[str, str], seed: int) -> list[Mishap]:
    """VMs that were lost on the way, and at which step. The moment in it is the seed's."""
    chance = random.Random(seed)  # noqa: S311
    found: dict[str, Mishap] = {}
    for event in record.events:
        if (
            event.ok
            or event.host is None
            or event.host not in names
            or not _UNREACHABLE.search(event.words)
        ):
            continue
        vm = names[event.host]
        step = event.step if event.step in STEPS else "stage"
        found.setdefault(vm, Mishap(vm, step, round(chance.uniform(0, LATEST_S), 3)))
    return list(found.values())


def went_on(record: Evidence, dead: Predecessor) -> bool:
    """Whether what a dead controller had begun on a VM was done without it: nobody had to begin again."""
    way = {step for step, _ in path(record.events, dead.host)}
    return dead.step == "activate" and "gate" in way and "activate" not in way


def differences(record: Evidence, replay: Evidence, names: Mapping[str, str]) -> list[str]:
    """What came out differently, in sentences; nothing where the replay is the record."""
    said = []
    if record.verdict != replay.verdict:
        said.append(f"The verdict was {record.verdict}, and is {replay.verdict}.")
    back = {ours: theirs for theirs, ours in names.items()}
    for name in [*names, None]:
        before = path(record.events, name)
        after = path(replay.events, None if name is None else names[name])
        if before != after:
            who = "The controller" if name is None else f"{name} ({names[name]})"
            said.append(f"{who} went {_way(before)}, and goes {_way(after)}.")
    for theirs, ours in names.items():
        was = record.hosts[theirs].state
        now = replay.hosts[ours].state if ours in replay.hosts else "gone"
        if was != now:
            said.append(f"{theirs} ({ours}) was {was}, and is {now}.")
    batches = [[back.get(vm, vm) for vm in b["vms"]] for b in replay.plan.get("batches", [])]
    planned = [list(batch["vms"]) for batch in record.plan["batches"]]
    # Who of a zone is first is a matter of names, and names do not come again.
    if _zones(record, batches) != _zones(record, planned):
        said.append(f"The batches were {planned}, and are {batches}.")
    return said


def _zones(record: Evidence, batches: Sequence[Sequence[str]]) -> list[list[str]]:
    """The zone of each VM; a VM that the record does not know is its name."""
    return [
        [record.hosts[vm].zone if vm in record.hosts else vm for vm in batch] for batch in batches
    ]


def path(events: Sequence[Event], host: str | None) -> list[tuple[str, bool]]:
    """The steps of one VM (None: the controller), each with whether it went well."""
    way: list[tuple[str, bool]] = []
    for event in events:
        if event.host == host and event.step in STEPS:
            if way and way[-1][0] == event.step:
                way[-1] = (event.step, way[-1][1] and event.ok)
            else:
                way.append((event.step, event.ok))
    return way


def _way(steps: Sequence[tuple[str, bool]]) -> str:
    return " → ".join(step if ok else f"{step} (failed)" for step, ok in steps) or "nowhere"


def settings_between(record: Evidence) -> dict[str, Any]:
    """The settings that the recorded release changes; NotReplayable where anything else differs."""
    old, new = record.plan.get("desired"), record.plan["target"]
    if not old:
        raise NotReplayable("The record does not hold the release before.", where=record.id)
    for field in ("app", "bundle", "models", "default_model"):
        if old.get(field) != new.get(field):
            raise NotReplayable(
                f"The release changes {field}, which is not in this bucket.",
                where=record.release,
                hint=f"Publish its like here, and say --as {record.release}=ID.",
            )
    gone = old["settings"].keys() - new["settings"].keys()
    if gone:
        raise NotReplayable(
            f"The release takes settings away: {', '.join(sorted(gone))}.",
            where=record.release,
            hint=f"Create its like here, and say --as {record.release}=ID.",
        )
    return {k: v for k, v in new["settings"].items() if old["settings"].get(k) != v}
