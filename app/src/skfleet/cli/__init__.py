"""The `skfleet` command: models, builds, releases, predictions."""

from skfleet.cli.main import main

__all__ = ["main"]
