"""gunicorn's ASGI worker, made to end without a caller noticing.

The stock worker decides twice whether a connection goes on: when it writes the headers, and again after
the answer. A signal between the two closes a connection that was promised to stay, and a caller that
sends its next request at that moment sees a reset: 20 of 32 busy connections at a reload. Here what was
announced is kept. A stopping worker accepts nothing more, says `Connection: close` with each next
answer, and closes connections that stay idle for as long as it may linger:

- at a reload for `SKFLEET_RELOAD_LINGER_S`, since callers and load balancers know nothing of it;
- at a stop for a moment only, since whoever stops a VM has drained it.
"""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.workers.gasgi import ASGIWorker

from skfleet.serving.accepting import Acceptor, Share
from skfleet.serving.probes import Probes
from skfleet.serving.whole import WholeRequests

# What is on its way when a drained service is told to stop arrives within this; seconds.
STOP_LINGER_S = 1.0
POLL_S = 0.05
# Longest that the rest of a body is awaited here; seconds.
HELD_S = 1.0
# Longest that is kept for a connection whose last request gunicorn has not put away yet; bytes.
EARLY_BYTES = 64 * 1024


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
    _let_go_handle: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        self.worker.connections.add(self)
        super().connection_made(transport)
        port = transport.get_extra_info("sockname")[1]
        listener = self.app.listener_of(port)
        if self._keepalive <= 0:
            return
        if listener is not None:
            self._whole = WholeRequests(self.app, listener)
        elif self.app.is_health(port):
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
                    self._cancel_let_go()
                    self.app.turns.put_off(self._turn, whole.size)
                elif self._let_go_handle is None:
                    self._let_go_handle = self.worker.loop.call_later(HELD_S, self._let_go)
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
        self._cancel_let_go()
        self._safe_write(answer)
        self.worker.nr += 1
        self._answered_at = self.worker.loop.time()
        if self._keepalive_handle is None:
            self._arm_keepalive_timer()

    def _let_go(self) -> None:
        """What was held is gunicorn's, which knows how long a body may take."""
        self._cancel_let_go()
        held = self._whole.release() if self._whole is not None else b""
        if held and not self._closed:
            super().data_received(held)

    def _cancel_let_go(self) -> None:
        if self._let_go_handle is not None:
            self._let_go_handle.cancel()
            self._let_go_handle = None

    def connection_lost(self, exc: BaseException | None) -> None:
        self.worker.connections.discard(self)
        self.worker.share.closed()
        self._cancel_let_go()
        self._whole, self._early = None, b""
        super().connection_lost(exc)

    @property
    def idle(self) -> bool:
        """Between two requests, or before the first."""
        return self._awaits and not (self._early or (self._whole and self._whole.holds))

    def end(self) -> None:
        """Close a connection that is idle."""
        super()._keepalive_timeout()

    def _unused(self) -> bool:
        """Whether gunicorn holds nothing of a request, and the connection goes on after this one."""
        parser, flow, worker = self._callback_parser, self._flow_control, self.worker
        return (
            self._current_request is None
            and not self._closed
            and parser is not None
            and parser._state == "request_line"
            and not parser._buffer
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
        if self._whole is not None and self._whole.holds:
            left = HELD_S  # a request has begun, and gunicorn has not seen it
        if left > 0:
            self._keepalive_handle = self.worker.loop.call_later(left, self._keepalive_timeout)
        else:
            super()._keepalive_timeout()

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        closes: bool = super()._will_close(request, response_requires_close)
        return closes or self.worker.stopping


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
