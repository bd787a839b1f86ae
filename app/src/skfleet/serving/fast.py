"""The fast lane: a raw ASGI application that answers the well-formed common request.

It answers exactly what Flask would, byte for byte, or nothing: whatever is not plainly an admitted
caller's well-formed prediction or a health probe goes to Flask in a thread, body and all. So it
holds no error texts but those of overload, of a body over the limit or too slow, and of bytes that are not a
request, none of which must wait for a thread. With SKFLEET_FAST_LANE=false everything goes to Flask.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from a2wsgi import WSGIMiddleware
from prometheus_client import Gauge

from skfleet.serving import bodies, health, listeners
from skfleet.serving.app import ADMITTED, STARTED, create_app
from skfleet.serving.batching import Batcher
from skfleet.serving.bodies import Body, BodyReader, Message, Receive
from skfleet.serving.errors import BodyTooLarge, Overloaded, ServiceError
from skfleet.serving.fast_answers import V1_BYTES, Asked, read_form, read_npy, read_v1, read_v2
from skfleet.serving.identity import Caller
from skfleet.serving.listeners import Listener
from skfleet.serving.models import Served
from skfleet.serving.protocols import form, npy, v1, v2
from skfleet.serving.protocols.predictions import require_finite_labels
from skfleet.serving.service import Content, Service
from skfleet.serving.turns import Turns

log = logging.getLogger("skfleet.fast")

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = dict[bytes, bytes]  # lower-case name to value
Read = Callable[[Served, bytes, str], Asked | None]

# Backends that answer in microseconds. The others would hold up the event loop, and go to threads.
LOOP_BACKENDS = frozenset({"linear", "onnx"})
# As measured when the model was published: some graphs take milliseconds.
LOOP_ROW_US = 200.0
# Larger bodies take milliseconds to parse, for the same reason; or to answer, where a row takes longer.
LOOP_BODY_BYTES = {"linear": V1_BYTES, "onnx": 8 * 1024, "sklearn": 8 * 1024}
# Rows of one request that may share a batch with others; more are a batch of their own, in Flask.
BATCHED_ROWS = 16
# Bodies that are arrays already: a megabyte costs a linear model half a millisecond.
LOOP_ARRAY_BYTES = 1024 * 1024
# Rows of single digits are nearly that.
LOOP_DIGITS_BYTES = 256 * 1024

FORM_TYPE = form.CONTENT_TYPE.encode()
JSON_TYPE = v1.CONTENT_TYPE.encode()
NPY_TYPE = npy.CONTENT_TYPE.encode()
BINARY_TYPE = v2.BINARY_TYPE.encode()
BINARY_HEADER = v2.BINARY_HEADER.lower().encode()
WANTED_HEADERS = frozenset(
    {
        b"content-type",
        b"content-length",
        b"content-encoding",
        b"expect",
        BINARY_HEADER,
        b"x-goog-iap-jwt-assertion",
        b"authorization",
        b"proxy-authorization",
    }
)

HEAD = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\ncontent-length: %d\r\nx-skfleet-release: %b\r\n"
# What `at_once` gives in place of an answer.
LATER = (b"", b"")
OVERLOADED_BODY = Overloaded().body()
OVERLOADED = (
    b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: %b\r\ncontent-length: %d\r\nretry-after: %b\r\n"
    % (JSON_TYPE, len(OVERLOADED_BODY), dict(Overloaded().headers)["Retry-After"].encode())
) + b"x-skfleet-release: %b\r\n"


@dataclass(frozen=True, slots=True)
class Route:
    """One prediction route of one model."""

    label: str
    limit: int  # bytes of a body that is answered here
    served: Served
    read: Read
    batcher: Batcher | None  # of models that do not answer at once
    path: str
    kind: bytes  # content type of the answer


class FastLane:
    """The ASGI application: gunicorn's `asgi` worker calls it."""

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service = service
        self._fast = settings.fast_lane
        self.head_timeout_s = settings.head_timeout_s
        self.body_timeout_s = settings.body_timeout_s
        self._bodies = BodyReader(
            settings.max_body_bytes,
            settings.body_timeout_s,
            # Never more than as many requests in flight would hold.
            settings.max_in_flight * settings.max_body_bytes,
            service.metrics.in_flight,
        )
        self._flask = WSGIMiddleware(
            _terminated(create_app(service).wsgi_app), workers=settings.threads
        )
        self._content: Content | None = None
        self._routes: dict[tuple[str, bytes], Route] = {}
        self._at_once: dict[tuple[bytes, bytes], Route] = {}
        self._release = b""
        self.turns = Turns(settings.workers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        service = self._service
        self._keep_up()
        listener = service.ports.get((scope.get("server") or ("", 0))[1])
        if listener is Listener.HEALTH and scope["method"] == "GET":
            readiness = self._probed(scope["path"], started)
            if readiness is not None:
                await self._send(send, readiness.status, readiness.body)
                return
        found, plain = _read_headers(scope["headers"])
        try:
            body = await self._bodies.read(
                receive,
                found.get(b"content-length", b""),
                lambda: self._caller(listener, found) is not None,
                expects_continue=b"expect" in found,
            )
            if listener is None or not listeners.needs_identity(listener):
                await self._hand_over(scope, body, receive, send, started)
                return
            if not service.admission.enter():
                raise Overloaded
        except ServiceError as error:
            if isinstance(error, Overloaded):
                service.metrics.shed.inc()
            await self._refuse(scope, send, started, listener, error)
            return
        try:
            headers = found if plain and scope["method"] == "POST" else {}
            await self._admitted(scope, headers, body, receive, send, started, listener)
        finally:
            service.admission.leave()

    async def finish(self) -> None:
        """Until every thread has ended that answers a request: each sends through the event loop.

        To be awaited when no request comes any more; none is handed over after it.
        """
        threads = self._flask.executor
        await asyncio.get_running_loop().run_in_executor(None, threads.shutdown)

    def listener_of(self, port: int) -> Listener | None:
        """The listener of a port; None where no prediction is served on it."""
        listener = self._service.ports.get(port)
        predicts = listener is not None and listeners.needs_identity(listener)
        return listener if self._fast and predicts else None

    def is_health(self, port: int) -> bool:
        """Whether probes come to this port, and are answered here."""
        return self._fast and self._service.ports.get(port) is Listener.HEALTH

    def health_at_once(self, target: bytes) -> tuple[bytes, bytes] | None:
        """(status line and headers, body) for a probe on the health listener; None for any other path."""
        readiness = self._probed(target.decode("latin-1"), time.perf_counter())
        if readiness is None:
            return None
        self._keep_up()
        status, body = HTTPStatus(readiness.status), readiness.body
        return HEAD % (status, status.phrase.encode(), JSON_TYPE, len(body), self._release), body

    def _probed(self, path: str, started: float) -> health.Readiness | None:
        """The answer to a probe on the health listener, counted; None for any other path."""
        readiness = _probe(self._service, path) if self._fast else None
        if readiness is not None:
            self._service.metrics.observe(
                path, readiness.status, Listener.HEALTH.value, time.perf_counter() - started
            )
        return readiness

    def expects(self, listener: Listener, target: bytes, found: Headers, length: int) -> bool:
        """Whether `at_once` may answer a request with these headers, once its body is there."""
        route = self._route_at_once(target, found, length)
        return route is not None and self._caller(listener, found) is not None

    def refuse_at_once(self, port: int, error: ServiceError) -> tuple[bytes, bytes]:
        """(status line and headers, body) for bytes that are not a request, counted."""
        self._keep_up()
        listener = self._service.ports.get(port)
        self._service.metrics.observe_soon("other", error.status, _name(listener), 0.0)
        status, body = HTTPStatus(error.status), error.body()
        extra = "".join(f"{name}: {value}\r\n" for name, value in error.headers).encode()
        head = HEAD % (status, status.phrase.encode(), JSON_TYPE, len(body), self._release)
        return head + extra, body

    def at_once(
        self,
        listener: Listener,
        target: bytes,
        found: Headers,
        body: bytes,
        arrived: float,
        *,
        waited: bool = False,
    ) -> tuple[bytes, bytes] | None:
        """(status line and headers, body) for an admitted caller and a well-formed row; None: the long way.

        LATER where this turn of the event loop has no time left: to be asked again with `waited`. `found` are
        the request's WANTED_HEADERS, `arrived` is when it was whole, by `time.perf_counter`. Nothing is
        counted where the answer is None or LATER.
        """
        service = self._service
        admission = service.admission
        route = self._route_at_once(target, found, len(body))
        if route is None or admission.full:
            return None
        if not waited and not self.turns.has_time(arrived):
            if self.turns.has_room(admission.waiting_cap, len(body)):
                return LATER
            admission.shed()
            service.metrics.shed.inc()
            self._record("POST", route.path, 429, arrived, listener, route.label, "")
            return OVERLOADED % self._release, OVERLOADED_BODY
        caller = self._caller(listener, found)
        if caller is None:
            return None
        header = found.get(BINARY_HEADER, b"").decode("ascii")
        asked = route.read(route.served, body, header)
        answer = asked.answer(route.served) if asked is not None else None
        if answer is None:
            return None
        admission.passed()
        self._record("POST", route.path, 200, arrived, listener, route.label, caller.email)
        return HEAD % (200, b"OK", route.kind, len(answer), self._release), answer

    def _caller(self, listener: Listener | None, found: Headers) -> Caller | None:
        """Who sends this, if that is somebody who may."""
        if listener is None:
            return None
        return self._service.identity.admitted(listener, _token(found, listener))

    def _route_at_once(self, target: bytes, found: Headers, length: int) -> Route | None:
        self._keep_up()
        route = self._at_once.get((target, found.get(b"content-type", b"")))
        return route if route is not None and length <= route.limit else None

    async def _admitted(
        self,
        scope: Scope,
        found: Headers,
        body: Body,
        receive: Receive,
        send: Send,
        started: float,
        listener: Listener,
    ) -> None:
        service = self._service
        scope[ADMITTED] = True
        route = self._routes.get((scope["path"], found.get(b"content-type", b"")))
        caller = self._caller(listener, found) if route is not None else None
        if route is None or caller is None:
            await self._hand_over(scope, body, receive, send, started)
            return
        if body.too_large:
            error = BodyTooLarge(service.settings.max_body_bytes)
            await self._refuse(scope, send, started, listener, error, route.label, caller.email)
            return
        answer = None
        if body.complete and len(body.data) <= route.limit:
            try:
                binary_header = found.get(BINARY_HEADER, b"").decode("ascii")
                answer = await _answer(route, body.data, binary_header, service.metrics.in_flight)
            except Exception:  # Flask meets the same failure, and answers it as it should
                log.debug("left to Flask", exc_info=True)
        if answer is None:
            await self._hand_over(scope, body, receive, send, started)
            return
        await self._send(send, 200, answer, kind=route.kind)
        self._record("POST", route.path, 200, started, listener, route.label, caller.email)

    async def _send(
        self,
        send: Send,
        status: int,
        body: bytes,
        extra: tuple[tuple[str, str], ...] = (),
        kind: bytes = JSON_TYPE,
    ) -> None:
        headers = [
            (b"content-type", kind),
            (b"content-length", b"%d" % len(body)),
        ]
        headers.extend((k.lower().encode(), v.encode()) for k, v in extra)
        headers.append((b"x-skfleet-release", self._release))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        started: float,
        listener: Listener | None,
        error: ServiceError,
        route: str = "other",
        caller: str = "",
    ) -> None:
        await self._send(send, error.status, error.body(), error.headers)
        method, path = scope["method"], scope["path"]
        self._record(method, path, error.status, started, listener, route, caller)

    async def _hand_over(
        self, scope: Scope, body: Body, receive: Receive, send: Send, started: float
    ) -> None:
        scope[STARTED] = started
        scope["query_string"] = b""  # no route reads it, and the adapter ends at bytes beyond ASCII
        if body.complete:
            headers = [h for h in scope["headers"] if h[0] != b"content-length"]
            scope["headers"] = [*headers, (b"content-length", b"%d" % len(body.data))]
        await self._flask(scope, bodies.replay(body, receive), send)

    def _record(
        self,
        method: str,
        path: str,
        status: int,
        started: float,
        listener: Listener | None,
        route: str,
        who: str,
    ) -> None:
        seconds = time.perf_counter() - started
        service = self._service
        name = _name(listener)
        service.metrics.observe_soon(route, status, name, seconds)
        line = service.access_log.line(method, path, status, seconds, name, who)
        service.access_log.soon(line)

    def _keep_up(self) -> None:
        """The routes of the models now served."""
        content = self._service.content
        if self._content is content:
            return
        models = content.models
        self._routes = {
            key: route
            for served in (models.served.values() if self._fast else ())
            for key, route in _routes_of(served, served.name == models.default)
        }
        self._at_once = {
            (path.encode(), kind): route
            for (path, kind), route in self._routes.items()
            if route.batcher is None
        }
        self._release = content.release_header.encode()
        self._content = content


def _routes_of(served: Served, default: bool) -> Iterator[tuple[tuple[str, bytes], Route]]:
    """((path, content type), route) of all that is answered here for one model."""
    backend = served.model.backend
    batcher = None if _answers_at_once(served) else Batcher(backend.predict)

    def route(
        path: str, kind: bytes, label: str, read: Read, limit: int = LOOP_BODY_BYTES[backend.name]
    ) -> tuple[tuple[str, bytes], Route]:
        answers = NPY_TYPE if kind == NPY_TYPE else JSON_TYPE
        return (path, kind), Route(label, limit, served, read, batcher, path, answers)

    v1_path, v1_label = f"/v1/models/{served.name}:predict", "/v1/models/<name>:predict"
    together = backend.name == "linear" and served.rows.digits
    limit = LOOP_DIGITS_BYTES if together else LOOP_BODY_BYTES[backend.name]
    yield route(v1_path, JSON_TYPE, v1_label, read_v1, limit)
    if default:
        for original in ("/", "/predict"):
            yield route(original, FORM_TYPE, original, read_form)
    if backend.name == "linear":
        yield route(v1_path, NPY_TYPE, v1_label, read_npy, LOOP_ARRAY_BYTES)
        v2_path, v2_label = f"/v2/models/{served.name}/infer", "/v2/models/<name>/infer"
        yield route(v2_path, BINARY_TYPE, v2_label, read_v2, LOOP_ARRAY_BYTES)


async def _answer(route: Route, body: bytes, binary_header: str, waiting: Gauge) -> bytes | None:
    asked = route.read(route.served, body, binary_header)
    if asked is None:
        return None
    if route.batcher is None:
        return asked.answer(route.served)
    if asked.probabilities or len(asked.rows) > BATCHED_ROWS:
        return None
    with waiting.track_inprogress():
        labels = await route.batcher.predict(asked.rows)
    require_finite_labels(route.served.model, labels)
    return asked.write(labels, None)


def _answers_at_once(served: Served) -> bool:
    """Whether a prediction of this model does not hold up the event loop."""
    model = served.model
    measured = [p.us_per_row for p in model.manifest.proofs if p.backend == model.backend.name]
    return model.backend.name in LOOP_BACKENDS and all(us <= LOOP_ROW_US for us in measured)


def _probe(service: Service, path: str) -> health.Readiness | None:
    if path == "/livez":
        return health.Readiness(200, health.LIVE_BODY)
    if path == "/readyz":
        return service.health.readiness()
    return None


def _read_headers(headers: list[tuple[bytes, bytes]]) -> tuple[Headers, bool]:
    """(the headers that matter, whether none is there twice or asks for more than this lane does)."""
    found: Headers = {}
    plain = True
    for name, value in headers:
        if name in WANTED_HEADERS:
            if name in found or name == b"content-encoding":
                plain = False
            found.setdefault(name, value)
    return found, plain


def _name(listener: Listener | None) -> str:
    return listener.value if listener is not None else "unknown"


def _token(found: Headers, listener: Listener) -> bytes | None:
    if listener is Listener.IAP:
        return found.get(b"x-goog-iap-jwt-assertion")
    header = found.get(b"proxy-authorization", found.get(b"authorization", b""))
    return header[7:].strip() if header[:7].lower() == b"bearer " else None


def _terminated(wsgi: Callable[..., Any]) -> Callable[..., Any]:
    """The adapter's input ends by itself; without this mark a chunked body would count as empty."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        environ["wsgi.input_terminated"] = True
        return wsgi(environ, start_response)

    return app
