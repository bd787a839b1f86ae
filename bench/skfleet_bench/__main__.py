"""`make bench`: measure, print the table, write bench/results/latest.json and the README's picture."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_bench import plot, run, table
from skfleet_bench.cases import CASES
from skfleet_bench.contenders import CONTENDERS
from skfleet_bench.environments import REPO

RESULTS = REPO / "bench/results"
PLOTTED = "single-linear"


@click.command()
@click.option("--rounds", default=3, type=click.IntRange(1, 100), help="Rounds; medians are told.")
@click.option("--duration", default=5.0, type=click.FloatRange(1, 600), help="Seconds a case.")
@click.option("--only", default="", help="Contenders by commas; others than the usual ones too.")
@click.option("--cases", "wanted", default="", help="Cases by commas.")
@click.option("--lock", type=click.Path(path_type=Path), help="A file to hold while measuring.")
@click.option("--output", type=click.Path(path_type=Path), default=RESULTS / "latest.json")
def main(
    rounds: int, duration: float, only: str, wanted: str, lock: Path | None, output: Path
) -> None:
    """Measure contenders side by side."""
    names = _names(only, list(CONTENDERS), "ONLY") if only else run.defaults()
    cases = _cases(wanted)
    document = run.run(run.Options(names, cases, rounds, duration, REPO / ".skfleet/bench", lock))
    run.write(document, output)
    text = table.markdown(document["rows"])
    output.with_suffix(".md").write_text(text)
    click.echo(text)
    if PLOTTED in cases:
        cores = document["machine"]["cores"]
        note = f"{document['at'][:10]}, {cores} cores, generator included, 64 callers: {document['command']}"
        picture = plot.svg(
            document["rows"], PLOTTED, "Single predictions a second, logistic regression", note
        )
        output.with_suffix(".svg").write_text(picture)


def _names(given: str, known: list[str], variable: str) -> list[str]:
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise ConfigurationError(
                f"There is no '{name}'.", where=variable, hint="Known: " + ", ".join(known) + "."
            )
    return names


def _cases(given: str) -> list[str]:
    known = [case.name for case in CASES]
    if not given:
        return known
    return _names(given, known, "CASES")


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except SkfleetError as error:
        click.echo(f"error: {error.message} ({error.where}) {error.hint}", err=True)
        sys.exit(2)
