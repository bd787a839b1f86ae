"""`plan --measure`: a load test by steps on the local fleet, and the VMs' CPU beside it.

The load test is the one that users run (`python -m skfleet_loadtest`), in a process of its own. The
autoscaler is off meanwhile, so that the number of VMs stays what it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from skfleet import documents
from skfleet.errors import ConfigurationError, SkfleetError
from skfleet.files import replace_file
from skfleet.polling import repeat_every
from skfleet_local import client, processes, status
from skfleet_local.accounts import ACCOUNTS
from skfleet_local.compute.cpu import TICKS, cpu_ticks
from skfleet_local.compute.project import AUTOSCALER
from skfleet_local.processes import Process
from skfleet_local.run import Run
from skfleet_operator.instance_group.autoscaler import VCPUS
from skfleet_operator.planner.evidence import CPU, VmCpu

RESULTS = Path("loadtest/results")
_SAMPLE_S = 0.5
_TOLD = (0, 1, 3)  # the load test's exit codes for PASS, FAIL and INVALID: it ran, and left steps


def measure(run: Run, repository: Path, rate: int, seconds: int) -> Path:
    """Steps up to `rate` requests a second for so many seconds; returns the run's directory.

    Raises ConfigurationError where no VM serves, SkfleetError where the load test fails.
    """
    vms = _serving(run)
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-plan"
    directory = repository / RESULTS / name
    arguments = ["--profile", "steps", "--rate", str(rate), "--duration", str(seconds)]
    arguments += ["--vms", str(len(vms)), "--target", "internal", "--run", name]
    arguments += ["--results", str(directory.parent)]
    with _autoscaler_off(run):
        load = subprocess.Popen(
            [sys.executable, "-m", "skfleet_loadtest", "run", *arguments],
            cwd=repository,
            env=_environment(run, repository),
            stdout=sys.stderr,  # stdout is the plan's
        )
        try:
            running = processes.by_vm(run.root)
            cpu = _sample(load, [process for vm in vms for process in running.get(vm, [])])
        finally:
            if load.poll() is None:
                load.terminate()
                load.wait()
    if load.returncode not in _TOLD:
        raise SkfleetError(
            f"The load test ended with {load.returncode}.", where=str(directory), hint="See above."
        )
    if _serving(run) != vms:
        raise SkfleetError(
            "VMs came or went while the load test ran, so it tells nothing about one VM.",
            where=str(run.root),
            hint="`skfleet-local logs events` says why; measure again.",
        )
    replace_file(directory / CPU, documents.write(cpu), mode=0o644)
    return directory


def _serving(run: Run) -> list[str]:
    vms = status.fleet(run)["vms"]
    serving = sorted(vm["name"] for vm in vms if vm["readyz"] == "200" and vm["release"])
    if not serving:
        raise ConfigurationError(
            "No VM serves, so there is nothing to measure.",
            where=str(run.root),
            hint="`skfleet release desire ID`, then wait until `skfleet-local status` shows ready VMs.",
        )
    return serving


def _environment(run: Run, repository: Path) -> dict[str, str]:
    return {**os.environ, **run.client_environment(), "PYTHONPATH": str(repository / "loadtest")}


def _sample(load: subprocess.Popen[bytes], vms: Sequence[Process]) -> VmCpu:
    """CPU time of the VMs' processes until the load test ends."""
    samples: list[tuple[float, float]] = []
    for _ in repeat_every(_SAMPLE_S):
        if load.poll() is not None:
            break
        samples.append((time.time(), sum(map(cpu_ticks, vms)) / TICKS))
    return VmCpu(vcpus=VCPUS, samples=samples)


@contextmanager
def _autoscaler_off(run: Run) -> Iterator[None]:
    addresses = run.require_state().addresses
    compute = client.Compute(addresses, client.access_token(run, ACCOUNTS["operator"]))
    before = compute.policy(AUTOSCALER).get("mode", "ON")
    compute.set_policy(AUTOSCALER, {"mode": "OFF"})
    try:
        yield
    finally:
        compute.set_policy(AUTOSCALER, {"mode": before})
