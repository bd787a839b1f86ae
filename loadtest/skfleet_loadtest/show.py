"""A verdict in a terminal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from skfleet_loadtest.verdict import Verdict, Word

if TYPE_CHECKING:  # scipy is only there where capacity is computed
    from skfleet_loadtest.capacity import Capacity

_COLOURS = {Word.PASS: "green", Word.FAIL: "red", Word.INVALID: "yellow"}


def print_verdict(verdict: Verdict, directory: Path) -> None:
    """The word, why, and the figures behind it."""
    click.secho(f"{verdict.verdict} {verdict.run}", fg=_COLOURS[verdict.verdict], bold=True)
    for reason in verdict.reasons:
        click.echo(f"  because {reason}")
    # Steps go beyond what the fleet can do: of the whole run the objectives mean nothing.
    for objective in [] if verdict.steps else verdict.objectives:
        mark = "✓" if objective.ok else "✗"
        whose = f" ({objective.release})" if objective.release else ""
        click.echo(f"  {mark} {objective.name}{whose}: {objective.meaning}")
    asked = "a closed loop" if verdict.rate_asked is None else f"{verdict.rate_asked:.1f}/s asked"
    click.echo(
        f"  {verdict.requests} requests in {verdict.seconds} s: {asked}, {verdict.rate_held:.1f}/s held; "
        f"{verdict.failures} failed, {verdict.wrong} wrong, {verdict.dropped} dropped, "
        f"{verdict.refused} refused"
    )
    latency = ", ".join(
        f"{name.removesuffix('_ms')} {value:.1f}"
        for name, value in verdict.latency.items()
        if value is not None
    )
    click.echo(f"  milliseconds from the intended start: {latency}")
    workers = verdict.workers
    click.echo(
        f"  {workers.finished} of {workers.expected} workers; busiest {workers.cpu_mean or 0:.0%} of a "
        f"core; 99 % of requests sent within {workers.lag_p99_ms or 0:.1f} ms of their time"
    )
    for step in verdict.steps:
        mark = "✓" if step.keeps_slo else "✗"
        click.echo(
            f"  {mark} {step.rate:6d}/s  p50 {step.p50_ms or 0:7.1f}  p90 {step.p90_ms or 0:7.1f}  "
            f"p99 {step.p99_ms or 0:7.1f} ms  {step.why}"
        )
    if verdict.steps:
        click.echo(f"  highest load that keeps the SLO: {verdict.capacity or 'none'}")
    if verdict.comparison:
        worse = "; ".join(verdict.comparison.worse) or "nothing is worse"
        click.echo(f"  against {verdict.comparison.run}: {worse}")
    if verdict.canary:
        worse = "; ".join(verdict.canary.worse) or "nothing is worse"
        click.echo(f"  canary against {verdict.canary.run}: {worse}")
    click.echo(f"  {directory}/report.html")


def print_capacity(capacity: Capacity) -> None:
    """The law, and the size of fleet."""
    law = capacity.law
    for vms, rate in sorted(capacity.measured.items()):
        click.echo(f"  {vms:3d} VMs held {rate:8.1f}/s   law {law.rate(vms):8.1f}/s")
    click.echo(
        f"  one VM {law.one:.1f}/s, contention {law.contention:.4f}, crosstalk {law.crosstalk:.6f}"
    )
    click.echo(
        f"  {capacity.target_rate:g}/s grows to {capacity.needed_rate:.0f}/s while a VM boots "
        f"({capacity.growth_per_minute:.0%} a minute, {capacity.boot_s:g} s)"
    )
    answer = (
        f"{capacity.vms} VMs hold it with one lost" if capacity.vms else "no size of fleet holds it"
    )
    click.secho(f"  {answer}", bold=True)
    for doubt in capacity.doubts:
        click.echo(f"  note: {doubt}")
