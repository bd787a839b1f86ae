"""A whole run: rounds over contenders, interleaved, so that a busy moment of the machine hits all alike."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from skfleet_bench import environments, measure, models, results, wrk
from skfleet_bench.cases import CASES, Case
from skfleet_bench.contenders import CONTENDERS, Contender
from skfleet_bench.protocols import choose, protocols


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is asked for."""

    contenders: Sequence[str]
    cases: Sequence[str]
    rounds: int
    seconds: float
    cache: Path
    lock: Path | None = None  # held while the contenders of one model are measured


def run(options: Options) -> dict[str, Any]:
    """The document of `bench/results/latest.json`."""
    wrk.find()
    trained = models.prepare(options.cache / "models")
    chosen = [CONTENDERS[name] for name in options.contenders]
    bins, versions, failures = _environments(chosen, options.cache / "environments")
    samples: dict[results.Key, list[measure.Sample]] = {}
    asked = [case for case in CASES if case.name in options.cases]
    for number in range(1, options.rounds + 1):
        for model in trained.values():
            with _held(options.lock if any(c.model == model.name for c in asked) else None):
                for contender in chosen:
                    cases = cases_of(contender, model.name, options.cases)
                    if contender.name not in bins:
                        reason = failures[contender.name, ""]
                        failures.update({(contender.name, case.name): reason for case in cases})
                        continue
                    if not cases:
                        continue
                    say(f"round {number}/{options.rounds}: {contender.name}, {model.name}")
                    directory = options.cache / "servers" / contender.name / model.name
                    _one(
                        contender, model, cases, bins[contender.name], directory, options.seconds,
                        samples, failures,
                    )  # fmt: skip
    failures = {key: reason for key, reason in failures.items() if key[1]}
    return {
        "schema_version": 1,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command(options),
        "rounds": options.rounds,
        "duration_s": options.seconds,
        "workers": 2,
        "machine": machine(),
        "rows": results.rows(samples, failures, versions),
    }


def cases_of(contender: Contender, model: str, names: Sequence[str]) -> list[Case]:
    """The cases of one model that this contender can be asked."""
    ways = protocols(contender.server, model)
    if contender.models and model not in contender.models:
        return []
    return [
        case
        for case in CASES
        if case.model == model
        and case.name in names
        and (case.rows == 1 or not contender.single_only)
        and not (contender.inside and case.name.endswith("-190"))
        and choose(ways, case.encoding, case.rows) is not None
    ]


def _environments(
    chosen: Sequence[Contender], cache: Path
) -> tuple[dict[str, Path], dict[str, dict[str, str]], dict[results.Key, str]]:
    """(bin, versions) by contender; and why some have none."""
    bins: dict[str, Path] = {}
    versions: dict[str, dict[str, str]] = {}
    failures: dict[results.Key, str] = {}
    for contender in chosen:
        say(f"environment of {contender.name}")
        try:
            bins[contender.name] = environments.make(contender.environment, cache)
            versions[contender.name] = environments.versions(
                bins[contender.name], contender.packages
            )
        except subprocess.CalledProcessError as error:
            bins.pop(contender.name, None)
            said = (error.stderr or "").strip().splitlines() or [str(error)]
            failures[contender.name, ""] = f"its environment cannot be made: {said[-1][-300:]}"
    return bins, versions, failures


def _one(
    contender: Contender, model: models.Trained, cases: Sequence[Case], bin_directory: Path,
    directory: Path, seconds: float, samples: dict[results.Key, list[measure.Sample]],
    failures: dict[results.Key, str],
) -> None:  # fmt: skip
    waiting = {case.name for case in cases}
    try:
        for case, sample in measure.round_of(
            contender, model, cases, bin_directory, directory, seconds
        ):
            waiting.discard(case.name)
            samples.setdefault((contender.name, case.name), []).append(sample)
            say(
                f"  {case.name}: {sample.rps:,.0f}/s, p50 {sample.p50_ms:.2f} p99 {sample.p99_ms:.1f} ms, "
                f"CPU {sample.cpu_us:.0f} µs, errors {sample.errors}"
            )
    except (measure.Failed, OSError, ValueError, subprocess.SubprocessError) as error:
        say(f"  failed: {error}")
        for name in waiting:
            failures[contender.name, name] = str(error)


@contextlib.contextmanager
def _held(lock: Path | None) -> Iterator[None]:
    """Others who measure on this machine wait meanwhile, if they hold the same file."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def command(options: Options) -> str:
    """The run as a user would type it."""
    only = "" if options.contenders == defaults() else f" ONLY={','.join(options.contenders)}"
    cases = "" if len(options.cases) == len(CASES) else f" CASES={','.join(options.cases)}"
    return f"make bench ROUNDS={options.rounds} DURATION={options.seconds:g}{only}{cases}"


def defaults() -> list[str]:
    """The contenders of a run that names none."""
    return [contender.name for contender in CONTENDERS.values() if contender.default]


def machine() -> dict[str, Any]:
    """Cores, processor and kernel."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.partition(":")[2].strip() for line in lines if "model name" in line), "")
    return {
        "cores": os.cpu_count(),
        "processor": name,
        "kernel": platform.release(),
    }


def say(text: str) -> None:
    """Progress, beside the table on standard output."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def write(document: dict[str, Any], path: Path) -> None:
    """The document, indented for diffs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
