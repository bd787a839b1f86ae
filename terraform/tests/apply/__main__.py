"""python -m apply [JOURNEY …]: run journeys and write their plan summaries."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from .driver import REPOSITORY, JourneyFailed, Unavailable, initialise, run_journey
from .journeys import JOURNEYS


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m apply",
        description="Apply the tree with the real provider, journey by journey.",
        epilog="example: PYTHONPATH=terraform/tests python -m apply dev prod",
    )
    parser.add_argument("journeys", nargs="*", metavar="JOURNEY", help="names; all without one")
    parser.add_argument("--list", action="store_true", help="list the journeys")
    parser.add_argument(
        "--report", type=Path, default=REPOSITORY / ".skfleet" / "apply.jsonl",
        help="file to write plan summaries to (default: %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.list:
        for journey in JOURNEYS:
            print(f"{journey.name}: {', '.join(step.name for step in journey.steps)}")
        return 0
    names = [journey.name for journey in JOURNEYS]
    for name in arguments.journeys:
        if name not in names:
            parser.error(f"Invalid journey '{name}': expected one of {', '.join(names)}.")
    failed = 0
    arguments.report.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as base, arguments.report.open("w") as report:
        try:
            initialised = initialise(Path(base) / "initialised")
        except Unavailable as reason:
            print(f"Nothing was applied: {reason}.", file=sys.stderr)
            return 2
        for journey in JOURNEYS:
            if arguments.journeys and journey.name not in arguments.journeys:
                continue
            try:
                for line in run_journey(journey, initialised, Path(base) / journey.name):
                    report.write(json.dumps(line) + "\n")
            except JourneyFailed as failure:
                failed += 1
                print(failure, file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
