"""The evidence of a rollout, `fleets/<fleet>/rollouts/<run>.json`: what was planned, done and found.

While a rollout runs, its events are lines of a local file, so that a controller that is killed leaves
them behind. At its end the whole document is written beside them and to the bucket.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from skfleet import documents
from skfleet.documents import Document

Outcome = Literal["rolled-out", "rolled-back", "refused", "failed"]


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One step of one VM, or of the controller (`host` null). `seconds`: how long it took."""

    at: str  # RFC 3339, UTC
    host: str | None
    step: str
    ok: bool
    seconds: float
    words: str = ""


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """How a VM came through. `state`: ok, failed, recreated, untouched, or left (a canary that went)."""

    zone: str = ""
    before: str = ""  # release it served
    after: str = ""
    state: str = "untouched"
    hot: bool = False
    words: str = ""
    gate: dict[str, Any] = {}


class Predecessor(msgspec.Struct, frozen=True, kw_only=True):
    """A run that died before this one: its last step, and how many `events` it had written (0: unknown)."""

    run: str
    events: int = 0
    host: str | None = None
    step: str = ""


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`options` of an evidence: `rollout_options` of playbooks/group_vars/all.yml, and nothing else."""

    rollout_batches: list[int | str] | int | str | msgspec.UnsetType = msgspec.UNSET
    rollout_capacity: float | msgspec.UnsetType = msgspec.UNSET
    rollout_tolerance: int | msgspec.UnsetType = msgspec.UNSET
    rollout_override: list[str] | str | msgspec.UnsetType = msgspec.UNSET
    rollout_answers_may_change: bool | msgspec.UnsetType = msgspec.UNSET
    rollout_ready_s: float | msgspec.UnsetType = msgspec.UNSET
    rollout_soak_s: float | msgspec.UnsetType = msgspec.UNSET
    rollout_settle_s: float | msgspec.UnsetType = msgspec.UNSET
    replace_canary: int | str | msgspec.UnsetType = msgspec.UNSET


class Evidence(Document, frozen=True, kw_only=True):
    """The document."""

    id: str
    fleet: str
    by: str
    started_at: str
    ended_at: str
    release: str
    before: str
    verdict: Outcome
    words: list[str]
    reason: str = ""  # of whoever started it
    plan: dict[str, Any] = {}
    hosts: dict[str, Host] = {}
    events: list[Event] = []
    seed: int = 0
    options: dict[str, Any] = {}  # variables that an operator may choose, as they were
    predecessors: list[Predecessor] = []


def uri(bucket: str, fleet: str, run: str) -> str:
    """Address of a rollout's evidence."""
    return f"{bucket}/fleets/{fleet}/rollouts/{run}.json"


def predecessors(directory: Path, left_by: str) -> list[Predecessor]:
    """How far dead runs came, as far as their events are on this machine. `left_by`: ids, with commas."""
    found = []
    for run in filter(None, left_by.split(",")):
        raw = _lines(directory / f"{run}.events")
        last = raw[-1] if raw else None
        found.append(
            Predecessor(
                run=run,
                events=len(raw),
                host=last.host if last else None,
                step=last.step if last else "",
            )
        )
    return found


def read_events(path: Path) -> list[Event]:
    """The lines so far, one event for each step of a host; a line that was cut off is left out."""
    return merged(_lines(path))


def _lines(path: Path) -> list[Event]:
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return []
    events: list[Event] = []
    for line in lines:
        try:
            event = msgspec.json.decode(line.encode(), type=Event)
        except msgspec.MsgspecError:
            continue
        events.append(event)
    return events


def merged(events: Iterable[Event]) -> list[Event]:
    """Tasks of one step of one host, as one event; in the order in which the steps began."""
    result: list[Event] = []
    last: dict[str | None, int] = {}
    for event in events:
        place = last.get(event.host)
        if place is not None and result[place].step == event.step and result[place].ok:
            former = result[place]
            result[place] = msgspec.structs.replace(
                former,
                ok=event.ok,
                seconds=round(former.seconds + event.seconds, 2),
                words=event.words or former.words,
            )
            continue
        last[event.host] = len(result)
        result.append(event)
    return result


def placed(name: str, host: Host, events: Iterable[Event]) -> Host:
    """The host with its words behind the step that they came from: the first that failed there."""
    step = next((event.step for event in events if event.host == name and not event.ok), "")
    if not host.words or not step:
        return host
    return msgspec.structs.replace(host, words=f"{step}: {host.words}")


def words(verdict: Outcome, what: str, back: str, hosts: Mapping[str, Host]) -> list[str]:
    """What happened, in sentences for a person. `what`: that moved; `back`: what was there before."""
    moved = [name for name, host in hosts.items() if host.state == "ok"]
    failed = {name: host for name, host in hosts.items() if host.words}
    said = [f"{name}: {host.words}" for name, host in failed.items()]
    recreated = [name for name, host in hosts.items() if host.state == "recreated"]
    if recreated:
        said.append(f"{', '.join(recreated)} could not be brought back and was recreated.")
    first = {
        "rolled-out": f"{what} is on {len(moved)} VMs, and is the desired one.",
        "rolled-back": f"{what} did not pass, and the fleet is back at {back}.",
        "refused": f"{what} was not begun with; nothing has changed.",
        "failed": f"{what} did not get through, and the fleet needs a look: "
        "playbooks/status.yml says what is where.",
    }[verdict]
    return [first, *said]


def write(path: Path, evidence: Evidence) -> bytes:
    """The document as a local file; returns its bytes."""
    data = documents.write(evidence)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return data


def append(path: Path, event: Event) -> None:
    """One more line, whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(msgspec.to_builtins(event)) + "\n")
