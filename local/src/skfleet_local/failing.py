"""How a command of ours fails: one message, and an exit code that says whose turn it is."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

import click

from skfleet.errors import SkfleetError

P = ParamSpec("P")


def failing_well(command: Callable[P, None]) -> Callable[P, None]:
    """Print a SkfleetError and end with its exit code."""

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except SkfleetError as error:
            click.echo(f"skfleet-local: {error}", err=True)
            sys.exit(error.exit_code)

    return wrapped
