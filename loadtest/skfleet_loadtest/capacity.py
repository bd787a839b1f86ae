"""How many VMs a load needs: the Universal Scalability Law, fitted to measured fleets.

    X(N) = one · N / (1 + contention · (N − 1) + crosstalk · N(N − 1))

`one` is what one VM does; contention is what VMs share (a load balancer, an identity provider). A fit
needs as many fleet sizes as it has unknowns: with two, crosstalk is 0; with one, both are, and the
answer says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from scipy.optimize import least_squares

from skfleet import documents
from skfleet.documents import Document
from skfleet.errors import DocumentError
from skfleet_loadtest.verdict import Verdict

MOST_VMS = 1000


class Law(msgspec.Struct, frozen=True, kw_only=True):
    """The fitted law."""

    one: float  # requests a second of one VM
    contention: float
    crosstalk: float

    def rate(self, vms: float) -> float:
        """X(N), requests a second."""
        return self.one * vms / (1 + self.contention * (vms - 1) + self.crosstalk * vms * (vms - 1))

    @property
    def best(self) -> float:
        """The size beyond which more VMs do less; infinity without crosstalk."""
        if self.crosstalk <= 0:
            return math.inf
        return math.sqrt(max(1 - self.contention, 0) / self.crosstalk)


class Capacity(Document, frozen=True, kw_only=True):
    """capacity.json."""

    measured: dict[int, float]  # VMs → highest rate that kept the SLO
    law: Law
    target_rate: float
    growth_per_minute: float
    boot_s: float
    needed_rate: float  # what must be held: the target, grown while a VM boots
    vms: int | None  # None: no size of fleet holds it
    doubts: list[str]


def fit(measured: Mapping[int, float]) -> Law:
    """The law through the measured fleets, as many of its unknowns as they can tell."""
    sizes = sorted(measured)
    vms = np.array(sizes, dtype=float)
    rates = np.array([measured[size] for size in sizes], dtype=float)
    one = float(np.max(rates / vms))
    if len(sizes) == 1:
        return Law(one=one, contention=0.0, crosstalk=0.0)
    unknowns = 3 if len(sizes) > 2 else 2

    def law(x: Sequence[float]) -> Law:
        return Law(one=x[0], contention=x[1], crosstalk=x[2] if unknowns == 3 else 0.0)

    found = least_squares(
        # Relative: a large fleet's noise must not drown a small one's figure.
        lambda x: np.array([law(x).rate(size) for size in vms]) / rates - 1,
        x0=[one, 0.01, 0.0001][:unknowns],
        bounds=([0, 0, 0][:unknowns], [np.inf, 1, 1][:unknowns]),
        x_scale=[one, 0.1, 0.01][:unknowns],
        xtol=1e-14,
        ftol=1e-14,
    )
    return law([float(value) for value in found.x])


def vms_for(law: Law, needed: float) -> int | None:
    """Smallest fleet that holds the rate after it lost one VM."""
    for size in range(1, MOST_VMS):
        if size > law.best:
            return None
        if law.rate(size) >= needed:
            return size + 1
    return None


def grown(target: float, growth_per_minute: float, boot_s: float) -> float:
    """The load at the moment a VM that was asked for now begins to serve."""
    return float(target * (1 + growth_per_minute) ** (boot_s / 60))


def of_runs(
    verdicts: Sequence[Verdict], target_rate: float, growth_per_minute: float, boot_s: float
) -> Capacity:
    """The answer from runs of PROFILE=steps, each with the number of VMs it was made with."""
    measured: dict[int, float] = {}
    doubts: list[str] = []
    for verdict in verdicts:
        if not verdict.vms or verdict.capacity is None:
            raise DocumentError(
                "This run has no capacity to learn from.",
                where=verdict.run,
                hint="Run PROFILE=steps with VMS=, starting below what the fleet holds.",
            )
        best = next(step for step in verdict.steps if step.rate == verdict.capacity)
        measured[verdict.vms] = max(measured.get(verdict.vms, 0.0), best.held)
        if verdict.steps[-1].keeps_slo:
            doubts.append(
                f"{verdict.run}: every step held; the limit is above {verdict.capacity}/s"
            )
        elif not verdict.steps[verdict.steps.index(best) + 1].generator_ok:
            doubts.append(f"{verdict.run}: the generator gave out first, not the fleet")
    if len(measured) < 3:
        doubts.append(
            f"{len(measured)} size(s) of fleet measured: "
            + ("crosstalk" if len(measured) == 2 else "contention and crosstalk")
            + " taken as none; three sizes tell"
        )
    law = fit(measured)
    needed = grown(target_rate, growth_per_minute, boot_s)
    vms = vms_for(law, needed)
    if vms is not None and vms - 1 > 2 * max(measured):
        doubts.append(f"{vms} VMs is far beyond the {max(measured)} that were measured")
    return Capacity(
        measured=measured,
        law=law,
        target_rate=target_rate,
        growth_per_minute=growth_per_minute,
        boot_s=boot_s,
        needed_rate=needed,
        vms=vms,
        doubts=doubts,
    )


def write(capacity: Capacity, path: Path) -> None:
    """Keep it."""
    path.write_bytes(documents.write(capacity))
