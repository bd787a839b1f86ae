"""`status --watch`: the fleet as a table that is drawn again and again, until Ctrl-C.

Nothing is remembered but the load balancers' counters, whose difference is the traffic. What cannot be
asked is said and asked again: a fleet may go down and come back while somebody watches.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests
from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from skfleet import documents
from skfleet.errors import SkfleetError
from skfleet.polling import repeat_every
from skfleet_local import client, envoy_admin, logs, status
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.addresses import Addresses
from skfleet_local.compute.project import BUCKET, FLEET
from skfleet_local.envoy import EXTERNAL, INTERNAL
from skfleet_local.run import NoRun, Run
from skfleet_operator.rollouts import evidence, lease

_TIMEOUT_S = 2.0
_EVENT_LINES = 200
_PLAIN_WIDTH = 200  # where no terminal says how wide it is
_TOKEN_S = 1800.0
# Whether a column is never broken, in however narrow a terminal.
_COLUMNS = {
    "VM": True,
    "zone": True,
    "release": True,
    "health": False,
    "requests/s": True,
    "rollout": False,
    "why": False,
}


@dataclass(frozen=True, slots=True)
class Rollout:
    """Who moves the fleet. `steps`: VM → its last step; of the controller: empty name."""

    run: str
    by: str
    dead: bool
    steps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """The fleet at one moment. `trouble`: why there is nothing to show."""

    at: float
    fleet: Mapping[str, Any] = field(default_factory=dict)
    traffic: Mapping[str, float] = field(default_factory=dict)  # VM's address → requests/s
    rollout: Rollout | None = None
    scaled: str = ""
    trouble: str = ""


@dataclass(slots=True)
class Watch:
    """Looks at one run. `clock` is the wall's: counters are divided by what passed between looks."""

    run: Run
    _before: tuple[float, dict[str, int]] | None = None
    _token: tuple[float, str] | None = None

    def look(self) -> Look:
        """Ask everything once."""
        now = time.time()
        try:
            fleet = status.fleet(self.run)
            state = self.run.require_state()
        except (NoRun, requests.RequestException, OSError) as error:
            self._before = self._token = None
            return Look(now, trouble=f"The fleet is down: {_sentence(error)}")
        gone = [name for name, process in fleet["processes"].items() if not process["alive"]]
        if "cloud" in gone:
            self._before = self._token = None
            return Look(now, trouble=f"The fleet is down: {', '.join(gone)} ended.")
        return Look(
            now,
            fleet,
            self._traffic(now),
            self._rollout(state.addresses, Path(state.repository)),
            scaled(logs.tail(self.run.events_file, _EVENT_LINES)),
        )

    def _traffic(self, now: float) -> dict[str, float]:
        try:
            answer = envoy_admin.ask_now(self.run.envoy_admin_socket, "/clusters?format=json")
            counted = counters(json.loads(answer))
        except (envoy_admin.AdminUnavailable, ValueError):
            self._before = None
            return {}
        before, self._before = self._before, (now, counted)
        return rates(before, self._before) if before else {}

    def _rollout(self, addresses: Addresses, repository: Path) -> Rollout | None:
        name = quote(f"fleets/{FLEET}/lock.json", safe="")
        url = f"{addresses.storage_url}/storage/v1/b/{BUCKET}/o/{name}?alt=media"
        try:
            headers = {"Authorization": f"Bearer {self._access_token()}"}
            answer = client.session().get(url, headers=headers, timeout=_TIMEOUT_S)
            if answer.status_code != 200:
                return None
            found = documents.read(lease.Lease, answer.content, url)
        except (requests.RequestException, SkfleetError, OSError):
            return None
        if found.holder is None:
            return None
        path = repository / ".skfleet/rollouts" / f"{found.holder.run}.events"
        return rollout(found.holder, evidence.read_events(path), lease.is_dead(found.holder))

    def _access_token(self) -> str:
        now = time.monotonic()
        if self._token is None or now > self._token[0]:
            self._token = now + _TOKEN_S, client.access_token(self.run, ACCOUNTS["operator"])
        return self._token[1]


def counters(clusters: Mapping[str, Any]) -> dict[str, int]:
    """Envoy's `/clusters` → VM's address → requests that both load balancers sent it so far."""
    result: dict[str, int] = {}
    for cluster in clusters.get("cluster_statuses", []):
        if cluster["name"] not in (EXTERNAL, INTERNAL):
            continue
        for host in cluster.get("host_statuses", []):
            address = host["address"]["socket_address"]["address"]
            count = sum(int(s.get("value", 0)) for s in host["stats"] if s["name"] == "rq_total")
            result[address] = result.get(address, 0) + count
    return result


def rates(
    before: tuple[float, Mapping[str, int]], after: tuple[float, Mapping[str, int]]
) -> dict[str, float]:
    """Requests a second between two looks; nothing of a VM whose counter is new or began again."""
    seconds = after[0] - before[0]
    if seconds <= 0:
        return {}
    return {
        address: (count - before[1][address]) / seconds
        for address, count in after[1].items()
        if count >= before[1].get(address, count + 1)
    }


def rollout(holder: lease.Holder, events: Sequence[evidence.Event], dead: bool) -> Rollout:
    """What the lease's holder did last, by VM."""
    steps = {
        event.host or "": event.step if event.ok else f"{event.step} failed" for event in events
    }
    return Rollout(holder.run, holder.by, dead, steps)


def scaled(events: str) -> str:
    """The autoscaler's last decision, with its time and reason, from lines of the events log."""
    for line in reversed(events.splitlines()):
        try:
            event = json.loads(line)
        except ValueError:  # the first of a tail may be half a line
            continue
        if event.get("event") == "autoscale":
            return f"{event['reason']} ({str(event['at'])[11:19]} UTC)"
    return ""


# Drawing


def render(look: Look) -> RenderableType:
    """One look, for a person."""
    head = Text(f"{datetime.fromtimestamp(look.at).astimezone():%H:%M:%S}  ", style="bold")
    if look.trouble:
        return Group(head + Text(look.trouble, style="red"))
    fleet = look.fleet
    serving = sum(_serves(vm) for vm in fleet["vms"])
    head.append(f"{serving} of {fleet['target_size']} VMs serve")
    if look.traffic:
        head.append(f", {sum(look.traffic.values()):.1f} requests/s")
    lines = [head, _moving(look.rollout)]
    lines.append(Text(f"autoscaler: {look.scaled or 'no decision yet'}"))
    gone = [name for name, process in fleet["processes"].items() if not process["alive"]]
    if gone:
        lines.append(Text(f"not running: {', '.join(gone)}", style="red"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name, whole in _COLUMNS.items():
        table.add_column(name, no_wrap=whole, justify="right" if name == "requests/s" else "left")
    for vm in fleet["vms"]:
        table.add_row(*_row(vm, look))
    return Group(*lines, table)


def _moving(found: Rollout | None) -> Text:
    if found is None:
        return Text("rollout: none")
    last = found.steps.get("", "")
    words = f"rollout: {found.run} of {found.by}{f', {last}' if last else ''}"
    if found.dead:
        return Text(f"{words}; its controller died, the next rollout takes over", style="red")
    return Text(words, style="cyan")


def _row(vm: Mapping[str, Any], look: Look) -> tuple[Text, ...]:
    rate = look.traffic.get(vm["address"])
    health, style = _health(vm)
    moved = look.rollout.steps.get(vm["name"], "") if look.rollout else ""
    busy = vm["reason"] if vm["action"] in ("RECREATING", "DELETING", "CREATING") else ""
    # Text, since in a plain string brackets would be taken for markup.
    return (
        Text(vm["name"]),
        Text(vm["zone"]),
        Text(vm["release"] or "-"),
        Text(health, style=style),
        Text("-" if rate is None else f"{rate:.1f}"),
        Text(moved or "-"),
        Text(busy or vm["why_not_ready"]),
    )


def _health(vm: Mapping[str, Any]) -> tuple[str, str]:
    if vm["phase"] != "run":
        return vm["action"].lower(), "yellow"
    if vm["livez"] != "200":
        return "no answer" if vm["livez"] == "no answer" else f"livez {vm['livez']}", "red"
    if vm["readyz"] != "200":
        return "live, not ready", "yellow"
    if _serves(vm):
        return "serves", "green"
    seen = "/".join(str(vm[side] or "unknown").lower() for side in ("external", "internal"))
    return f"ready, load balancers say {seen}", "yellow"


def _serves(vm: Mapping[str, Any]) -> bool:
    return bool(vm["readyz"] == "200" and vm["external"] == vm["internal"] == "HEALTHY")


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, SkfleetError) else type(error).__name__


# Going on


def looks(watch: Watch, interval_s: float) -> Iterator[Look]:
    """One look each interval, for ever; a slow look makes the next one later, never two at once."""
    for _ in repeat_every(interval_s):
        yield watch.look()


def show(run: Run, interval_s: float) -> None:
    """Until Ctrl-C. A terminal shows one table that changes, anything else one after the other.

    Raises NoRun where there is no fleet to begin with.
    """
    run.require_state()
    console = Console()
    try:
        if not console.is_terminal:
            plain = Console(width=_PLAIN_WIDTH, no_color=True)
            for look in looks(Watch(run), interval_s):
                plain.print(render(look))
            return
        with Live(console=console, auto_refresh=False) as live:
            for look in looks(Watch(run), interval_s):
                live.update(render(look), refresh=True)
    except KeyboardInterrupt:
        return
