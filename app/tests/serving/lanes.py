"""The two ways into the service, called alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from skfleet.serving.app import create_app
from skfleet.serving.fast import FastLane

from .calls import Answer, Call, asgi, wsgi

Ask = Callable[[Call], Answer]


def flask_lane(service: Any) -> Ask:
    app = create_app(service)
    return lambda request: wsgi(app, request)


def fast_lane(service: Any) -> Ask:
    app = FastLane(service)
    return lambda request: asgi(app, request)[0]


LANES = {"flask": flask_lane, "fast": fast_lane}
