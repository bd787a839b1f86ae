"""The `skfleet` command: models, builds, releases, predictions."""

from skfleet_operator.cli.command import main

__all__ = ["main"]
