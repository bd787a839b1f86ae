"""The `skfleet` command: models, builds, releases, predictions."""

from skfleet.cli.command import main

__all__ = ["main"]
