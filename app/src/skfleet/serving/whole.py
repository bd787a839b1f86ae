"""Requests answered where they arrive, before gunicorn makes a task of them.

Parsing in C, no task switch, no scope: half of what a small prediction costs otherwise. Only what is
plainly one POST and nothing else is looked at, whole in one read or an array's body in several; the same
bytes go gunicorn's way in every other case, so that everything it refuses is refused by it, and framing is
never a matter of two opinions.

What this turn of the event loop has no time for waits, whole, for one of the next (turns.py).
"""

from __future__ import annotations

import logging
import time

from gunicorn.asgi.protocol import _CACHED_SERVER_HEADER, _get_cached_date_header

from skfleet.serving.fast import LATER, FastLane
from skfleet.serving.listeners import Listener
from skfleet.serving.plain import LONGEST_HEAD, PlainRequest

log = logging.getLogger("skfleet.whole")


class WholeRequests:
    """Reads and answers the whole requests of one connection."""

    def __init__(self, lane: FastLane, listener: Listener) -> None:
        self._lane = lane
        self._listener = listener
        self._request = PlainRequest()
        self._head = b""  # of the request that is held
        self._arrived = 0.0  # when it was whole

    @property
    def holds(self) -> bool:
        """Whether the rest of a body is awaited, or a turn."""
        return bool(self._head)

    @property
    def waits(self) -> bool:
        """Whether what is held is whole, and a turn is awaited."""
        return self.holds and self._request.complete > 0

    @property
    def size(self) -> int:
        """Bytes of the body that have come."""
        return self._request.received

    def answer(self, data: bytes) -> bytes | None:
        """The response to what has come; empty while it is held; None: gunicorn's way.

        Gunicorn gets what was held of the request from `release`, then `data`.
        """
        if not self._head:
            if data[:6] != b"POST /":
                return None
            self._request.forget()
        elif self.waits:
            return None  # a caller that does not await its answer
        request = self._request
        kept, received = len(request.parts), request.received
        request.feed(data)
        answer = self._judge(data, received)
        if answer is None:
            del request.parts[kept:]
            request.start_again()
        return answer

    def turn(self) -> bytes | None:
        """The response to the request that has waited; None: gunicorn's way, as above."""
        return self._respond(waited=True)

    def release(self) -> bytes:
        """What is held, which is gunicorn's from now on."""
        if not self._head:
            return b""
        held = b"".join((self._head, *self._request.parts))
        self._head = b""
        self._request.start_again()
        return held

    def _judge(self, data: bytes, received: int) -> bytes | None:
        request = self._request
        end = 0
        if not self._head:
            end = data.find(b"\r\n\r\n") + 4
            if not 4 <= end <= LONGEST_HEAD or b"host" not in request.found:
                return None
        # To the byte: parsers forgive line breaks around a request.
        if (
            not request.plain
            or request.begun != 1
            or request.received - received != len(data) - end
        ):
            return None
        length = request.found.get(b"content-length", b"")
        if request.complete:
            if length != b"%d" % request.received:
                return None
            self._arrived = time.perf_counter()
            response = self._respond()
            if response == b"":
                self._head = self._head or data[:end]
            return response
        if not length.isdigit() or not self._lane.expects(
            self._listener, request.target, request.found, int(length)
        ):
            return None
        self._head = self._head or data[:end]
        return b""

    def _respond(self, *, waited: bool = False) -> bytes | None:
        """As `answer`; empty where there is no time in this turn."""
        request = self._request
        parts = request.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        try:
            answer = self._lane.at_once(
                self._listener, request.target, request.found, body, self._arrived, waited=waited
            )
        except Exception:  # the long way meets the same failure, and answers it as it should
            log.debug("left to gunicorn", exc_info=True)
            return None
        if answer is None:
            return None
        if answer is LATER:
            return b""
        self._head = b""
        headers, body = answer
        return b"".join((headers, common_headers(), b"\r\n", body))


def common_headers() -> bytes:
    """The headers that gunicorn adds to every answer."""
    headers: bytes = _CACHED_SERVER_HEADER + _get_cached_date_header()
    return headers
