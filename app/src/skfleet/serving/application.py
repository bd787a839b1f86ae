"""The callable gunicorn loads before it forks: `skfleet.serving.application:application`."""

from __future__ import annotations

from typing import Any

from skfleet.serving import gunicorn
from skfleet.serving.fast import FastLane
from skfleet.serving.service import Service


def build() -> tuple[Service, Any]:
    """The service, and the application that answers from it."""
    settings = gunicorn.settings
    service = Service.start(settings, gunicorn.finish_loading())
    return service, FastLane(service)


service, application = build()
