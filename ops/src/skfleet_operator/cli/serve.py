"""`skfleet serve`: the service in the foreground, as gunicorn runs it on a VM."""

from __future__ import annotations

import os
import sys

import click

from skfleet.settings import Settings

CONFIG = "python:skfleet.serving.gunicorn"
APPLICATION = "skfleet.serving.application:application"


@click.command()
@click.option(
    "--models", "SKFLEET_MODELS", help="name=directory by commas; the first is the default."
)
@click.option("--model-uri", "MODEL_URI", help="One model: a directory, or gs://…/manifest.json.")
@click.option("--release", "SKFLEET_RELEASE", help="Id of the release this process belongs to.")
@click.option("--bind", "SKFLEET_BIND_ADDRESS", help="Address of the three listeners.")
@click.option("--port-iap", "SKFLEET_PORT_IAP", help="Port of the listener behind IAP.")
@click.option("--port-internal", "SKFLEET_PORT_INTERNAL", help="Port for callers in the VPC.")
@click.option("--port-health", "SKFLEET_PORT_HEALTH", help="Port of /livez, /readyz, /version.")
@click.option("--port-metrics", "SKFLEET_PORT_METRICS", help="Port of /metrics, on loopback.")
@click.option("--identity-dir", "SKFLEET_IDENTITY_DIR", help="environment.json and the keys.")
@click.option("--run-dir", "SKFLEET_RUN_DIR", help="Converge state and drain mark.")
@click.option("--workers", "SKFLEET_WORKERS", help="Worker processes.")
@click.option("--threads", "SKFLEET_THREADS", help="Flask threads a worker.")
@click.option("--log-level", "SKFLEET_LOG_LEVEL", help="debug, info, warning or error.")
@click.option(
    "--fast-lane/--no-fast-lane", "SKFLEET_FAST_LANE", default=None, help="Or Flask alone."
)
def serve(**options: object) -> None:
    """Serve models over HTTP until interrupted.

    What is not given comes from the environment (`skfleet settings` lists it), then the default.
    """
    for variable, value in options.items():
        if value is not None:
            os.environ[variable.upper()] = str(value)
    Settings.from_environ()  # a bad value is one message here, not gunicorn's traceback
    os.execv(  # noqa: S606 - in place of this process, so that signals reach gunicorn
        sys.executable, [sys.executable, "-m", "gunicorn", "--config", CONFIG, APPLICATION]
    )
