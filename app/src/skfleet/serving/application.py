"""The callable gunicorn loads before it forks: `skfleet.serving.application:application`."""

from __future__ import annotations

from typing import Any

from skfleet.serving import gunicorn
from skfleet.serving.app import create_app
from skfleet.serving.fast import FastLane
from skfleet.serving.service import Service


def build() -> tuple[Service, Any]:
    """The service, and the application of the lane that the settings ask for."""
    settings = gunicorn.settings
    service = Service.start(settings, gunicorn.finish_loading())
    return service, FastLane(service) if settings.fast_lane else create_app(service)


service, application = build()
