"""The service, whose Flask application returns a moment after its last byte was sent.

A thread that gets no processor does the same by chance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from skfleet.serving.application import application

AFTER_S = 0.5

flask = application._flask
answers: Callable[..., Any] = flask.app


def late(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """What Flask answers, and then a pause."""
    yield from answers(environ, start_response)
    time.sleep(AFTER_S)


flask.app = late
