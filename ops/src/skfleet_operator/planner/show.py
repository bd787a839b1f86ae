"""A plan in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from skfleet_operator.planner.plan import FittedStep, Plan


def lines(plan: Plan) -> list[str]:
    """The table."""
    rows = list(_rows(plan))
    width = max(len(name) for name, _ in rows)
    table = [f"{name:<{width}}  {text}".rstrip() for name, text in rows]
    return [*table, *(f"doubt: {doubt}." for doubt in plan.doubts)]


def _rows(plan: Plan) -> Iterator[tuple[str, str]]:
    fleet, day, seen = plan.fleet, plan.day, plan.evidence
    scaler = fleet.autoscaler
    yield (
        "asked",
        f"{plan.rps:g} requests/s at the peak, p90 within {plan.p90_ms:g} ms, "
        + {"nothing": "nothing may be lost"}.get(plan.survive, f"a {plan.survive} may be lost"),
    )
    yield "VMs", f"{fleet.vms} at the peak, of {seen.vcpus} vCPUs"
    yield "zones", f"{fleet.zones}"
    yield "autoscaler", f"min {scaler.min}, max {scaler.max}, cpu_target {scaler.cpu_target:.4f}"
    yield (
        "",
        f"measured_boot_s {scaler.measured_boot_s:g}, cooldown_s {scaler.cooldown_s:g}, "
        f"stabilization_s {scaler.stabilization_s:g}, "
        f"scale_in {scaler.scale_in_percent} % in {scaler.scale_in_window_s:g} s",
    )
    yield (
        "a VM",
        f"{fleet.rate_a_vm_normally:.1f} requests/s, {fleet.rate_a_vm:.1f} at most",
    )
    yield (
        "p90",
        f"{fleet.p90_ms:.1f} ms at the peak"
        + (
            ""
            if plan.survive == "nothing"
            else f", {fleet.p90_lost_ms:.1f} ms with a {plan.survive} lost"
        ),
    )
    cost = plan.cost
    yield (
        "cost",
        f"{cost.per_million:.4g} {cost.currency} per million predictions, {cost.day:.2f} a day "
        f"({cost.machine_type})"
        if cost
        else "unknown: give a price table with --prices",
    )
    worst = (
        "more than the fleet takes" if day.worst_p90_ms is None else f"{day.worst_p90_ms:.1f} ms"
    )
    yield (
        "a day",
        f"{'holds' if plan.holds else 'DOES NOT HOLD'}: p90 as asked in {day.good:.2%} of minutes "
        f"({plan.good_asked:.1%} asked), the worst {worst}",
    )
    yield (
        "",
        f"{day.fewest_vms} to {day.most_vms} VMs served, {day.vm_hours:.0f} VM hours, "
        f"{day.requests / 1e6:.4g} million predictions, {day.decisions} decisions of the autoscaler",
    )
    if day.lost_good is not None:
        yield (
            "",
            f"a {day.lost} lost for an hour at the peak: {day.lost_good:.2%} of its minutes as asked",
        )
    yield "", f"seed {day.seed}, simulated in {day.seconds:.1f} s"
    yield (
        "measured",
        f"{seen.run}: {seen.vms} VMs, a request takes {seen.service_ms:.2f} ms of a vCPU as it queues, "
        f"{seen.cpu_ms:.2f} ms of CPU{'' if seen.cpu_measured else ' (not measured)'}",
    )
    yield from _steps("", seen.steps)
    yield from _steps("against", plan.against)


def _steps(name: str, steps: Sequence[FittedStep]) -> Iterator[tuple[str, str]]:
    for number, step in enumerate(steps):
        yield (
            name if number == 0 else "",
            f"{step.rate:7.1f}/s of a VM  p90 {step.p90_ms:7.1f} ms, the queue says "
            f"{step.fitted_p90_ms:7.1f} ({step.fitted_p90_ms / step.p90_ms - 1:+.0%})",
        )
