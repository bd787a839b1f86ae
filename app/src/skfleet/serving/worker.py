"""gunicorn's ASGI worker, made to end without a caller noticing.

The stock worker decides twice whether a connection goes on: when it writes the headers, and again after
the answer. A signal between the two closes a connection that was promised to stay, and a caller that
sends its next request at that moment sees a reset: 20 of 32 busy connections at a reload. Here what was
announced is kept. A stopping worker accepts nothing more, says `Connection: close` with each next
answer, and closes connections that stay idle for as long as it may linger:

- at a reload for `SKFLEET_RELOAD_LINGER_S`, since callers and load balancers know nothing of it;
- at a stop for a moment only, since whoever stops a VM has drained it.

No connection is kept by a client that does not finish its request: head and body have time limits, which
start with a request's first byte, and idle connections have theirs. An answer that leaves a part of its
request unread announces the close, and the rest is read and dropped for a moment, so that the client gets to
read the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers.gasgi import ASGIWorker

from skfleet.serving.accepting import Acceptor, Share
from skfleet.serving.errors import (
    InternalError,
    MalformedRequest,
    RequestTimeout,
    ServiceError,
)
from skfleet.serving.probes import Probes
from skfleet.serving.whole import WholeRequests, common_headers

log = logging.getLogger("skfleet.worker")

# What is on its way when a drained service is told to stop arrives within this; seconds.
STOP_LINGER_S = 1.0
POLL_S = 0.05
# Longest that the rest of a body is awaited here; seconds.
HELD_S = 1.0
# Longest that is kept for a connection whose last request gunicorn has not put away yet; bytes.
EARLY_BYTES = 64 * 1024
# Longest that a client which still sends is given to read the answer and close; seconds.
LINGER_S = 5.0


class Protocol(ASGIProtocol):  # type: ignore[misc]
    """One connection.

    A prediction that arrives whole between two others is answered here and now; for all else gunicorn's
    own parser gets the bytes, and its task calls the application.
    """

    _whole: WholeRequests | None = None
    _probes: Probes | None = None
    _early = b""
    _awaits = False
    _answered_at = 0.0
    _is_malformed = False
    _closed: bool  # gunicorn's: no answer is sent any more

    def _start_timer(self, name: str, seconds: float, call: Callable[[], None]) -> None:
        """Call it then, unless a timer of this name is running already."""
        if name not in self._timers:
            self._timers[name] = self.worker.loop.call_later(seconds, call)

    def _stop_timer(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def connection_made(self, transport: Any) -> None:
        self.worker.connections.add(self)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        super().connection_made(transport)
        self._port = transport.get_extra_info("sockname")[1]
        listener = self.app.listener_of(self._port)
        if self._keepalive <= 0:
            return
        self._arm_keepalive_timer()
        if listener is not None:
            self._whole = WholeRequests(self.app, listener)
        elif self.app.is_health(self._port):
            self._probes = self.worker.probes

    @property
    def _awaiting_request(self) -> bool:
        """gunicorn's: its task waits for the next request."""
        return self._awaits

    @_awaiting_request.setter
    def _awaiting_request(self, value: bool) -> None:
        self._awaits = value
        if value and self._early:
            self.worker.loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        """What came too early is looked at."""
        if self._early and not self._closed:
            self.data_received(b"")

    def data_received(self, data: bytes) -> None:
        if self._closed:
            return  # the rest of a request that is answered
        whole = self._whole
        if self._early:
            data, self._early = self._early + data, b""
        if whole is not None and (whole.holds or self._unused()):
            answer = None if self.worker.stopping else whole.answer(data)
            if answer:
                self._answered(answer)
                return
            if answer is not None:
                if whole.waits:
                    self._stop_timer("held")
                    self.app.turns.put_off(self._turn, whole.size)
                else:
                    self._start_timer("held", HELD_S, self._let_go)
                return
            self._let_go()
        elif self._probes is not None and self._unused():
            answer = self._probes.answer(data)
            if answer is not None:
                self._answered(answer)
                return
        elif self._finishes(data):
            self._early = data
            return
        super().data_received(data)

    def _feed_callback_parser(self, data: bytes) -> bool:
        """gunicorn's: its parser gets what has come, or what was left over from the request before."""
        try:
            goes_on: bool = super()._feed_callback_parser(data)
        except Exception:  # its parser stumbles over some bytes (a Content-Length of 5,000 digits)
            log.debug("refused", exc_info=True)
            self._refuse(MalformedRequest(400))
            goes_on = False
        self._watch_head()
        return goes_on

    def _watch_head(self) -> None:
        """Limit the time of a head from its first byte on, however much of it comes meanwhile."""
        begun = self._current_request is None and not self._closed and self._holds_bytes()
        if begun:
            self._start_timer("head", self.app.head_timeout_s, self._head_is_late)
        else:
            self._stop_timer("head")

    def _head_is_late(self) -> None:
        self._refuse(RequestTimeout("head", self.app.head_timeout_s))

    def _holds_bytes(self) -> bool:
        """Whether gunicorn's parser has something of a request that it has not put away."""
        parser = self._callback_parser
        return parser is not None and (parser._state != "request_line" or bool(parser._buffer))

    def _refuse(self, error: ServiceError) -> None:
        """Answer what is not a whole request, and end the connection."""
        if self._closed:
            return  # nobody is there to be told
        self._is_malformed = True
        headers, body = self.app.refuse_at_once(self._port, error)
        self._safe_write(b"".join((headers, common_headers(), b"\r\n", body)))
        super()._keepalive_timeout()

    def _send_error_response(self, status: int, message: str, *_: Any) -> None:
        """gunicorn's: what its parser or the application fails on. The message quotes it, and stays here."""
        log.debug("refused: %s", message)
        self._refuse(InternalError() if status == 500 else MalformedRequest(status))

    def _is_websocket_upgrade(self, _: Any) -> bool:
        """gunicorn's: none is served, so that a request for one is answered as any other."""
        return False

    def _turn(self) -> None:
        """Time for what was put off, if it is still here."""
        whole = self._whole
        if whole is None or not whole.waits:
            return
        answer = None if self.worker.stopping else whole.turn()
        if answer is None:
            self._let_go()
        else:
            self._answered(answer)

    def _answered(self, answer: bytes) -> None:
        if self._timers:
            self._stop_timer("held")
        self._safe_write(answer)
        self.worker.nr += 1
        self._answered_at = self.worker.loop.time()
        if self._keepalive_handle is None:
            self._arm_keepalive_timer()

    def _let_go(self) -> None:
        """What was held is gunicorn's, which knows how long a body may take."""
        self._stop_timer("held")
        held = self._whole.release() if self._whole is not None else b""
        if held and not self._closed:
            super().data_received(held)

    def pause_writing(self) -> None:
        """The transport's: the client reads its answers more slowly than it asks, or not at all."""
        super().pause_writing()
        self._start_timer("answer", self.app.body_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The transport's: most of what was written is taken."""
        super().resume_writing()
        self._stop_timer("answer")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.worker.connections.discard(self)
        self.worker.share.closed()
        for name in tuple(self._timers):
            self._stop_timer(name)
        self._whole, self._early = None, b""
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Between two requests, before the first or after the last."""
        return self._closed or (
            self._awaits and not (self._early or (self._whole and self._whole.holds))
        )

    def end(self) -> None:
        """Close a connection that is idle."""
        if self._closed:
            self.transport.close()
        else:
            super()._keepalive_timeout()

    def _unused(self) -> bool:
        """Whether gunicorn holds nothing of a request, and the connection goes on after this one."""
        flow, worker = self._flow_control, self.worker
        return (
            self._current_request is None
            and not self._closed
            and not self._holds_bytes()
            and not (worker.stopping or flow.write_paused)
            and worker.nr + 1 < worker.max_requests
        )

    def _finishes(self, data: bytes) -> bool:
        """Whether gunicorn has a whole request, and nothing of the next, of which this is the beginning.

        Its task puts a request away some turns of the event loop after the caller has the answer. What came
        by then would go its way, which takes longer, and so would the one after it: for ever on a busy loop.
        """
        parser = self._callback_parser
        return (
            self._whole is not None
            and self._current_request is not None
            and not (self._closed or self.worker.stopping)
            and parser is not None
            and parser._state == "complete"
            and not parser._buffer
            and len(data) <= EARLY_BYTES
        )

    def _keepalive_timeout(self) -> None:
        left = self._answered_at + self._keepalive - self.worker.loop.time()
        if "head" in self._timers or (self._whole is not None and self._whole.holds):
            left = HELD_S  # a request has begun
        if left > 0:
            self._keepalive_handle = self.worker.loop.call_later(left, self._keepalive_timeout)
        else:
            super()._keepalive_timeout()

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        """gunicorn's: whether the answer that is sent now says `Connection: close`."""
        closes: bool = super()._will_close(request, response_requires_close)
        # HTTP/1.0 clients that ask for keep-alive would have to be told that they get it.
        return closes or self.worker.stopping or self._is_half_read() or request.version < (1, 1)

    def _is_half_read(self) -> bool:
        """Whether more of the request may come that is answered."""
        parser = self._callback_parser
        return parser is not None and not parser.is_complete

    def _close_transport(self) -> None:
        """gunicorn's: close; where the client may still send, only once it had time to read the answer.

        Bytes that nobody reads make the kernel reset the connection, and the answer is lost with it.
        """
        half_read = self._current_request is not None and self._is_half_read()
        if self._closed or not (self._is_malformed or half_read):
            super()._close_transport()
            return
        self._closed = True
        with contextlib.suppress(OSError, RuntimeError, NotImplementedError):
            self.transport.write_eof()
            self.transport.resume_reading()
        self._start_timer("linger", LINGER_S, self.transport.close)


class Worker(ASGIWorker):  # type: ignore[misc]
    """The worker. `alive` stays true while connections are answered: gunicorn asks it too late."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stopping = False
        self.connections: set[Protocol] = set()
        self._told = asyncio.Event()

    def hear_stop(self) -> None:
        """TERM is heard from now on: the event loop hears only what comes while it runs."""
        signal.signal(signal.SIGTERM, lambda *_: self.handle_exit_signal())

    def init_signals(self) -> None:
        """In gunicorn's order, before the application is loaded; the loop's handlers come when it runs."""
        for number in self.SIGNALS:
            if number != signal.SIGTERM:
                signal.signal(number, signal.SIG_DFL)

    def handle_exit_signal(self) -> None:
        """TERM: of the master for a reload or at its own end."""
        from skfleet.serving.application import service

        self.stopping = service.leaving = True
        self._told.set()

    def handle_quit_signal(self) -> None:
        """INT or QUIT: at once."""
        super().handle_quit_signal()
        self._told.set()

    async def _serve(self) -> None:
        super().init_signals()
        self.share = Share(self.age)
        self.probes = Probes(self.asgi)
        for sock in self.sockets:
            health = self.asgi.is_health(sock.getsockname()[1])
            self.servers.append(
                Acceptor(
                    self.loop,
                    sock.sock,
                    lambda: Protocol(self),
                    self.share,
                    self._get_ssl_context(),
                    self.probes.greet if health else None,
                )
            )
        while self.alive and not self.stopping and self.ppid == os.getppid():
            self.notify()
            try:
                await asyncio.wait_for(self._told.wait(), 1.0)
            except TimeoutError:
                continue
        await self._shutdown()

    async def _shutdown(self) -> None:
        self.stopping = True
        for server in self.servers:
            server.close()
        self.share.leave()
        linger = self._linger_s()
        began = self.loop.time()
        deadline = began + max(linger, float(self.cfg.graceful_timeout))
        self.log.info("worker stops: %d connections, %g s for idle ones", self.nr_conns, linger)
        while self.connections and not self._quick_shutdown:
            self.notify()
            if self.loop.time() > began + linger:
                for connection in [item for item in self.connections if item.idle]:
                    connection.end()
            if self.loop.time() > deadline:
                break
            await asyncio.sleep(POLL_S)
        if self.connections:
            self.log.warning("worker stops: %d connections are cut off", self.nr_conns)
        elif not self._quick_shutdown:
            await self._finish(deadline)

    async def _finish(self, deadline: float) -> None:
        """A caller has its whole answer, and may be gone, before the thread that wrote it has ended."""
        finished = asyncio.ensure_future(self.asgi.finish())
        while not finished.done() and self.loop.time() < deadline:
            self.notify()
            await asyncio.wait([finished], timeout=POLL_S)

    def _linger_s(self) -> float:
        from skfleet.serving import gunicorn as configuration
        from skfleet.serving.application import service

        if configuration.generation() > service.generation:
            return float(service.settings.reload_linger_s)
        return STOP_LINGER_S
