"""Health probes answered where they arrive: a busy event loop has them wait for one turn, not for five.

A new connection is a task, a transport, a reader, a request's task and a write, each in a turn of its own.
A probe that is there when its connection is accepted is answered before all that; the connection goes on.
Whatever is not plainly a probe goes gunicorn's way, as in whole.py.
"""

from __future__ import annotations

import logging
import socket

from skfleet.serving.fast import FastLane
from skfleet.serving.plain import LONGEST_HEAD, PlainRequest
from skfleet.serving.whole import common_headers

log = logging.getLogger("skfleet.probes")


class Probes:
    """Answers for the health listener of one worker."""

    def __init__(self, lane: FastLane) -> None:
        self._lane = lane
        self._request = PlainRequest()

    def answer(self, data: bytes) -> bytes | None:
        """The response to what has come, if that is one whole probe; None: gunicorn's way."""
        if data[:5] != b"GET /" or len(data) > LONGEST_HEAD:
            return None
        request = self._request
        request.feed(data)
        whole = (
            request.plain
            and request.begun == request.complete == 1
            and b"host" in request.found
            and b"content-length" not in request.found
            and data.find(b"\r\n\r\n") == len(data) - 4
        )
        response = None
        try:
            if whole:
                response = self._lane.health_at_once(request.target)
        except Exception:  # the long way meets the same failure, and answers it as it should
            log.debug("left to gunicorn", exc_info=True)
        request.forget()
        if response is None:
            request.start_again()
            return None
        headers, body = response
        return b"".join((headers, common_headers(), b"\r\n", body))

    def greet(self, connection: socket.socket) -> None:
        """Answer the probe that came with a connection. What is no probe stays in the socket."""
        try:
            data = connection.recv(LONGEST_HEAD + 1, socket.MSG_PEEK)
            response = self.answer(data)
            if response is not None:
                connection.recv(len(data))
                connection.send(response)
        except OSError:  # nothing has come yet, or the caller is gone: the event loop will see
            return
