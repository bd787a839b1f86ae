"""`make test`: the tests that run beside each other, then those that measure load; or those of one area.

Further arguments are pytest's.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from skfleet_testing.areas import FLEET, files_of
from skfleet_testing.plugin import PARTS
from skfleet_testing.progress import recorded

REPOSITORY = Path(__file__).resolve().parents[2]

# Most files wait for what they start more than they count. Every worker needs seconds to start: pytest itself
# uses fewer where an area is small.
JOBS = 3
WORTH_A_WORKER_S = 15.0
INTERRUPTED, NOTHING_COLLECTED = 2, 5  # pytest's exit codes
TITLES = {"beside": "tests beside each other", "alone": "tests under load, alone"}


def pytest_arguments(area: str, part: str, jobs: int) -> list[str]:
    """What pytest is told of one run."""
    spread = ["-n", str(jobs), "--dist", "loadgroup", "--no-loadscope-reorder"]
    return [
        "--progress",
        *(["--area", area] if area else []),
        *(["--part", part] if part else []),
        *(spread if jobs > 1 and part != "alone" else []),
    ]


def read_testpaths() -> list[str]:
    """Where pytest looks for tests."""
    settings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    found: list[str] = settings["tool"]["pytest"]["ini_options"]["testpaths"]
    return found


def jobs_for(area: str, most: int) -> int:
    """How many workers an area is worth; what boots a fleet, or judges answers' times, has one."""
    if not area:
        return most
    try:
        files = files_of(area, REPOSITORY, read_testpaths())
    except ValueError:
        return 1  # pytest rejects it, and names the known ones
    seconds = recorded()
    total = sum(seconds[file] for file in files)
    return 1 if area.endswith(FLEET) else min(most, int(total / WORTH_A_WORKER_S))


@contextmanager
def kept_fleet() -> Iterator[dict[str, str]]:
    """An environment in which a fleet that one run boots is the next run's; it is ended at last."""
    # PYTHONPATH is by which this module was found: no matter of the tests.
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="skfleet-test-") as directory:
        try:
            yield {**usual, "SKFLEET_TEST_KEEP_FLEET": directory}
        finally:
            run = Path(directory) / "run"
            if run.exists():
                subprocess.run(
                    [sys.executable, "-m", "skfleet_local.cli", "down"],
                    env={**usual, "SKFLEET_RUN_DIR": str(run)},
                    check=False,
                )


def main() -> None:
    """Run pytest once or twice; the exit code is that of the first run that failed."""
    parser = argparse.ArgumentParser(prog="make test", description=__doc__)
    parser.add_argument("--area", default="")
    parser.add_argument("--part", choices=PARTS, default="")
    parser.add_argument("--jobs", type=int, default=JOBS)
    options, further = parser.parse_known_args()
    parts = [options.part] if options.area or options.part else PARTS
    jobs = jobs_for(options.area, options.jobs)
    codes: list[int] = []
    with kept_fleet() as environment:
        for number, part in enumerate(parts, start=1):
            if len(parts) > 1:
                print(f"::: {number} of {len(parts)}: {TITLES[part]}", flush=True)  # noqa: T201 - a command's output
            began = time.monotonic()
            arguments = pytest_arguments(options.area, part, jobs)
            command = [sys.executable, "-m", "pytest", *arguments, *further]
            codes.append(subprocess.run(command, env=environment, check=False).returncode)
            if len(parts) > 1:
                print(f"::: {TITLES[part]} took {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
            if codes[-1] == INTERRUPTED:
                break
    ran = [code for code in codes if code != NOTHING_COLLECTED]
    sys.exit(next((code for code in ran if code), 0) if ran else NOTHING_COLLECTED)


if __name__ == "__main__":
    main()
