"""A VM killed in the middle of traffic: what callers see, and what takes its place."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from skfleet.errors import SkfleetError
from skfleet_local.demo.fleet import Fleet, serves
from skfleet_local.demo.report import Report
from skfleet_operator.client.predict import Client

_PAUSE_S = 0.02  # about 50 requests/s, one caller


@dataclass
class Traffic:
    """One caller's predictions, counted."""

    sent: int = 0
    failed: int = 0
    wrong: int = 0
    last_failure: str = ""


def kill_and_watch(
    fleet: Fleet,
    report: Report,
    client: Client,
    model: str,
    rows: list[list[float]],
    labels: list[int],
    release: str,
) -> None:
    """Kill the first VM under traffic and wait until a new one serves the same release."""
    victim = fleet.status()[0]
    traffic, stop = Traffic(), threading.Event()
    caller = threading.Thread(target=_call, args=(client, model, rows, labels, traffic, stop))
    caller.start()
    start = time.monotonic()
    try:
        fleet.command("skfleet-local", "break", "kill", victim["name"])
        replaced = fleet.wait(
            "a new VM in its place",
            lambda vms: any(
                vm["name"] == victim["name"] and vm["id"] != victim["id"] and serves(vm, release)
                for vm in vms
            ),
            seconds=90,
        )
        took = time.monotonic() - start
    finally:
        stop.set()
        caller.join()
    report.promise(
        "the group replaces it, and the new VM converges by itself",
        replaced,
        f"{victim['name']} serves {release} again after {took:.0f} s",
    )
    report.promise(
        "callers notice nothing",
        traffic.sent > 0 and traffic.failed == 0 and traffic.wrong == 0,
        f"{traffic.sent} predictions meanwhile, {traffic.failed} failed, {traffic.wrong} wrong"
        + (f"; {traffic.last_failure}" if traffic.last_failure else ""),
    )


def _call(
    client: Client,
    model: str,
    rows: list[list[float]],
    labels: list[int],
    traffic: Traffic,
    stop: threading.Event,
) -> None:
    while not stop.wait(_PAUSE_S):
        index = traffic.sent % len(rows)
        traffic.sent += 1
        try:
            answer = client.instances(model, [rows[index]])
        except SkfleetError as error:
            traffic.failed += 1
            traffic.last_failure = error.message
            continue
        if answer.status != 200:
            traffic.failed += 1
            traffic.last_failure = f"{answer.status} {str(answer.body)[:100]}"
        elif answer.body["predictions"] != [labels[index]]:
            traffic.wrong += 1
