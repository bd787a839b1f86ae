"""The callable gunicorn loads before it forks: `skfleet.serving.application:application`."""

from __future__ import annotations

from typing import Any

from skfleet.serving.app import create_app
from skfleet.serving.fast import FastLane
from skfleet.serving.service import Service
from skfleet.settings import Settings


def build(settings: Settings) -> tuple[Service, Any]:
    """The service, and the application of the lane these settings ask for."""
    service = Service.start(settings)
    return service, FastLane(service) if settings.fast_lane else create_app(service)


service, application = build(Settings.from_environ())
