"""The whole service as a Flask application: every route, protocol, check and error.

It runs by itself on gunicorn's threads; the fast lane hands it whatever it does not answer.
"""

from __future__ import annotations

import io
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from flask import Flask, Request, Response, g, request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import HTTPException
from werkzeug.formparser import FormDataParser
from werkzeug.routing import MapAdapter

from skfleet.serving import errors, health, listeners
from skfleet.serving import metrics as serving_metrics
from skfleet.serving.identity import bearer, reason_of
from skfleet.serving.listeners import Listener
from skfleet.serving.protocols import form, v1
from skfleet.serving.service import Service

log = logging.getLogger("skfleet.app")

JSON = "application/json"
MULTIPART = "multipart/form-data"
RELEASE_HEADER = "X-Skfleet-Release"
# The fast lane leaves these in the ASGI scope of a request that it hands over.
STARTED = "skfleet.started"
ADMITTED = "skfleet.admitted"


class Application(Flask):
    """Flask without what reads the Host header: no route depends on it."""

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """Match by method and path alone."""
        if request is None:
            return None
        environ = request.environ
        return self.url_map.bind(
            "", path_info=environ["PATH_INFO"], default_method=environ["REQUEST_METHOD"]
        )


def create_app(service: Service) -> Flask:
    """The Flask application that answers from this service."""
    app = Application("skfleet", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False  # a path is what it says; no redirects
    views = Views(service)
    routes: tuple[tuple[str, str, Callable[..., Response]], ...] = (
        ("POST", "/", views.predict_form),
        ("POST", "/predict", views.predict_form),
        ("GET", "/v1/models/<name>", views.model_status),
        ("POST", "/v1/models/<name>:predict", views.predict_v1),
        ("GET", "/livez", views.live),
        ("GET", "/readyz", views.ready),
        ("GET", "/version", views.version),
        ("GET", listeners.METRICS_PATH, views.metrics),
    )
    for method, rule, view in routes:
        app.add_url_rule(rule, f"{method} {rule}", view, methods=[method])
    app.before_request(views.admit)
    app.after_request(views.finish)
    app.teardown_request(views.leave)
    app.register_error_handler(errors.ServiceError, service_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected_error)
    return app


class Views:
    """The routes and what surrounds them, over one service."""

    def __init__(self, service: Service) -> None:
        self.service = service

    # Around every request

    def admit(self) -> None:
        """Listener, admission and identity, before anything else is looked at."""
        environ = request.environ
        scope: Mapping[str, Any] = environ.get("asgi.scope", {})
        g.started = scope.get(STARTED) or time.perf_counter()
        g.caller = ""
        g.holds_place = False
        port = environ.get("SERVER_PORT", "")
        g.listener = listener = self.service.ports.get(int(port) if port.isdecimal() else 0)
        if listener is None:
            raise _not_found()
        if listeners.needs_identity(listener):
            if not scope.get(ADMITTED):
                if not self.service.admission.enter():
                    self.service.metrics.shed.inc()
                    raise errors.Overloaded
                g.holds_place = True
            g.caller = self._identify(listener)
        if not listeners.serves(listener, environ["PATH_INFO"]):
            raise _not_found()

    def finish(self, response: Response) -> Response:
        """The release on every answer, and its trace in metrics and log."""
        service = self.service
        response.headers[RELEASE_HEADER] = service.content.release_header
        listener: Listener | None = g.get("listener")
        name = listener.value if listener else "unknown"
        seconds = time.perf_counter() - g.get("started", time.perf_counter())
        route = request.url_rule.rule if request.url_rule else "other"
        service.metrics.observe(route, response.status_code, name, seconds)
        if listener not in listeners.OPEN_PATHS:
            log_line = service.access_log.line(
                request.method, request.path, response.status_code, seconds, name, g.caller
            )
            service.access_log.now(log_line)
        return response

    def leave(self, _: BaseException | None) -> None:
        """Give the place back."""
        if g.get("holds_place"):
            self.service.admission.leave()

    def _identify(self, listener: Listener) -> str:
        headers = request.headers
        if listener is Listener.IAP:
            token = headers.get("X-Goog-IAP-JWT-Assertion")
        else:
            # A caller whose Authorization header belongs to the application uses the other one.
            token = bearer(headers.get("Proxy-Authorization", headers.get("Authorization")))
        try:
            return self.service.identity.verify(listener, token).email
        except errors.ServiceError as error:
            self.service.metrics.rejected.labels(listener.value, reason_of(error)).inc()
            raise

    # Predictions

    def predict_form(self) -> Response:
        """`POST /` and `/predict`: the original form."""
        served = self.service.content.models.get()
        body = self._body(form.CONTENT_TYPE, MULTIPART)
        parse = _multipart_fields if request.mimetype == MULTIPART else form.parse_fields
        fields = parse(body)
        row = form.parse_row(fields, served.rows)
        label = served.model.backend.predict([row])[0]
        return _json(form.answer(label, fields))

    def predict_v1(self, name: str) -> Response:
        """`POST /v1/models/{name}:predict`."""
        served = self.service.content.models.get(name)
        asked = v1.parse(self._body(v1.CONTENT_TYPE, ""), served.rows)
        backend = served.model.backend
        wants_probabilities = asked.parameters is not None and asked.parameters.probabilities
        probabilities = backend.predict_proba(asked.instances) if wants_probabilities else None
        return _json(v1.answer(backend.predict(asked.instances), probabilities))

    def model_status(self, name: str) -> Response:
        """`GET /v1/models/{name}`."""
        served = self.service.content.models.get(name)
        body = {
            "name": served.name,
            "ready": True,
            "digest": served.model.digest,
            "backend": served.model.backend.name,
        }
        return _json(msgspec.json.encode(body) + b"\n")

    def _body(self, *mimetypes: str) -> bytes:
        """The whole body, of one of these types and within the limit."""
        if request.mimetype not in mimetypes:
            raise errors.UnsupportedMediaType(
                f"This route does not read '{request.mimetype}'.",
                where="Content-Type",
                hint=f"Send {mimetypes[0]}.",
            )
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise errors.UnsupportedMediaType(
                "Compressed bodies are not read.",
                where="Content-Encoding",
                hint="Send the body as it is.",
            )
        return read_body(request.environ, self.service.settings.max_body_bytes)

    # Operations

    def live(self) -> Response:
        """The process answers."""
        return _json(health.LIVE_BODY)

    def ready(self) -> Response:
        """Whether this VM should get traffic, and which check says no."""
        readiness = self.service.health.readiness()
        return _json(readiness.body, readiness.status)

    def version(self) -> Response:
        """What runs here."""
        return _json(self.service.version())

    def metrics(self) -> Response:
        """Prometheus metrics of all workers."""
        body = self.service.metrics.render(self.service.local_metrics)
        return Response(body, content_type=serving_metrics.CONTENT_TYPE)


def read_body(environ: Mapping[str, Any], limit: int) -> bytes:
    """The request's body; raises BodyTooLarge without reading past the limit, chunked or not."""
    length_text = environ.get("CONTENT_LENGTH") or ""
    length = int(length_text) if length_text.isdecimal() else None
    if length is not None and length > limit:
        raise errors.BodyTooLarge(limit)
    if length is None and not environ.get("wsgi.input_terminated"):
        return b""
    try:
        body: bytes = environ["wsgi.input"].read(limit + 1 if length is None else length)
    except (OSError, ParseException):
        body, length = b"", -1
    if length is not None and len(body) != length:
        raise errors.BadRequest(
            "The body ended before its end.", where="body", hint="Send the request again."
        )
    if len(body) > limit:
        raise errors.BodyTooLarge(limit)
    return body


def service_error(error: errors.ServiceError) -> Response:
    """A typed error in the one shape."""
    response = _json(error.body(), error.status)
    response.headers.extend(error.headers)
    return response


def http_error(error: HTTPException) -> Response:
    """Werkzeug's own refusals in the one shape."""
    if error.code == 404:
        return service_error(_not_found())
    if error.code == 405:
        allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
        return service_error(
            errors.MethodNotAllowed(
                f"This path does not take {request.method}.",
                where="method",
                hint=f"Allowed: {allowed}.",
                headers=(("Allow", allowed),),
            )
        )
    status = error.code or 500
    name = error.name.lower().replace(" ", "_").replace("-", "_")
    return _json(errors.render(f"The request was refused: {error.name}.", name), status)


def unexpected_error(error: Exception) -> Response:
    """A bug: logged with an id, of which alone the caller learns."""
    identifier = uuid.uuid4().hex[:12]
    log.error("request failed, id %s", identifier, exc_info=error)
    body = errors.render(
        "The service failed on this request.",
        errors.ServiceError.code,
        where=identifier,
        hint="Report the id in 'where'; the service's log has the details.",
    )
    return _json(body, 500)


def _not_found() -> errors.NotFound:
    return errors.NotFound(
        "This listener serves no such path.", where="path", hint="Check the path and the port."
    )


def _json(body: bytes, status: int = 200) -> Response:
    return Response(body, status, content_type=JSON)


def _multipart_fields(body: bytes) -> list[tuple[str, str]]:
    parser = FormDataParser(silent=False, max_form_parts=form.MAX_FIELDS)
    try:
        _, fields, _ = parser.parse(
            io.BytesIO(body), request.mimetype, len(body), request.mimetype_params
        )
    except ValueError:
        raise errors.BadRequest(
            "The body is not a multipart form.", where="body", hint=form.HINT
        ) from None
    return list(fields.items(multi=True))
