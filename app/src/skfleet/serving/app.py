"""The whole service as a Flask application: every route, protocol, check and error.

It runs by itself on gunicorn's threads; the fast lane hands it whatever it does not answer.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from flask import Flask, Request, Response, g, request
from werkzeug.routing import BaseConverter, MapAdapter

from skfleet.serving import bodies, errors, health, listeners, openapi, refusals
from skfleet.serving import metrics as serving_metrics
from skfleet.serving.identity import bearer, reason_of
from skfleet.serving.listeners import Listener
from skfleet.serving.models import Served
from skfleet.serving.protocols import form, mlflow, npy, v1, v2
from skfleet.serving.protocols.predictions import predict
from skfleet.serving.routes import HTML, JSON, MULTIPART, ROUTES, TAKES
from skfleet.serving.service import Service, app_version

log = logging.getLogger("skfleet.app")

RELEASE_HEADER = "X-Skfleet-Release"
# The fast lane leaves these in the ASGI scope of a request that it hands over.
STARTED = "skfleet.started"
ADMITTED = "skfleet.admitted"


class ModelName(BaseConverter):
    """A part of a path without a colon: `:predict` is what is done with a model, and not of its name."""

    regex = "[^/:]+"


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
    app.url_map.converters["default"] = ModelName
    app.url_map.merge_slashes = False  # a path is what it says; no redirects
    views = Views(service)
    for route in ROUTES:
        app.add_url_rule(
            route.path,
            f"{route.method} {route.path}",
            getattr(views, route.view),
            methods=[route.method],
        )
    app.before_request(views.admit)
    app.after_request(views.finish)
    app.teardown_request(views.leave)
    refusals.register(app)
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
        g.holds_place = g.counted = False
        port = environ.get("SERVER_PORT", "")
        g.listener = listener = self.service.ports.get(int(port) if port.isdecimal() else 0)
        if listener is None:
            raise refusals.not_found()
        if listeners.needs_identity(listener):
            if not scope.get(ADMITTED):
                if not self.service.admission.enter():
                    self.service.metrics.shed.inc()
                    raise errors.Overloaded
                g.holds_place = True
            self.service.metrics.in_flight.inc()
            g.counted = True
            g.caller = self._identify(listener)
        if not listeners.serves(listener, environ["PATH_INFO"]):
            raise refusals.not_found()

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
        if g.get("counted"):
            self.service.metrics.in_flight.dec()

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
        body = self._body("predict_form")
        with _reading():
            if request.mimetype == MULTIPART:
                fields = bodies.multipart_fields(body, request.mimetype_params)
            else:
                fields = form.parse_fields(body)
            row = form.parse_row(fields, served.rows)
        labels, _ = predict(served.model, [row], path=form.FIELD)
        return refusals.json_response(form.answer(labels[0], fields))

    def predict_v1(self, name: str) -> Response:
        """`POST /v1/models/{name}:predict`."""
        served = self.service.content.models.get(name)
        body = self._body("predict_v1")
        if request.mimetype == npy.CONTENT_TYPE:
            with _reading():
                rows = npy.parse(body, served.rows)
            labels, _ = predict(served.model, rows, path="[{row}]")
            return Response(npy.answer(labels), content_type=npy.CONTENT_TYPE)
        with _reading():
            asked = v1.parse(body, served.rows)
        wanted = asked.parameters is not None and asked.parameters.probabilities
        return refusals.json_response(
            v1.answer(
                *predict(
                    served.model, asked.instances, probabilities=wanted, path="instances[{row}]"
                )
            )
        )

    def model_status(self, name: str) -> Response:
        """`GET /v1/models/{name}`."""
        served = self.service.content.models.get(name)
        body = {
            "name": served.name,
            "ready": True,
            "digest": served.model.digest,
            "backend": served.model.backend.name,
        }
        return refusals.json_response(msgspec.json.encode(body) + b"\n")

    # The Open Inference Protocol V2

    def server_v2(self) -> Response:
        """`GET /v2`."""
        return refusals.json_response(v2.server_metadata(app_version()))

    def live_v2(self) -> Response:
        """`GET /v2/health/live`: as /livez."""
        return refusals.json_response(v2.live())

    def ready_v2(self) -> Response:
        """`GET /v2/health/ready`: as /readyz, which also says why."""
        status = self.service.health.readiness().status
        return refusals.json_response(v2.ready(status == 200), status)

    def model_v2(self, name: str, version: str | None = None) -> Response:
        """`GET /v2/models/{name}[/versions/{version}]`."""
        served, its_version = self._versioned(name, version)
        body = v2.model_metadata(served.name, its_version, served.model.manifest)
        return refusals.json_response(body)

    def model_ready_v2(self, name: str, version: str | None = None) -> Response:
        """`GET …/ready`: a model that is served has proven itself; others are refused."""
        served, _ = self._versioned(name, version)
        return refusals.json_response(v2.model_ready(served.name))

    def infer_v2(self, name: str, version: str | None = None) -> Response:
        """`POST …/infer`."""
        served, its_version = self._versioned(name, version)
        header = request.headers.get(v2.BINARY_HEADER)
        body = self._body("infer_v2", binary=header is not None)
        with _reading():
            asked = v2.parse(body, served.rows, header)
        model = served.model
        labels, probabilities = predict(
            model,
            asked.rows,
            labels=v2.PREDICT in asked.outputs,
            probabilities=v2.PREDICT_PROBA in asked.outputs,
            where="outputs",
        )
        answer = v2.answer(served.name, its_version, asked, labels, probabilities, model.manifest)
        response = refusals.json_response(answer.body)
        if answer.json_length is not None:
            response.content_type = v2.BINARY_TYPE
            response.headers[v2.BINARY_HEADER] = str(answer.json_length)
        return response

    def invocations(self) -> Response:
        """`POST /invocations`: mlflow's forms."""
        served = self.service.content.models.get()
        body = self._body("invocations")
        with _reading():
            rows, wanted = mlflow.parse(body, served.rows)
        return refusals.json_response(
            v1.answer(*predict(served.model, rows, probabilities=wanted, where="params"))
        )

    def _versioned(self, name: str, version: str | None) -> tuple[Served, str]:
        """The model and its version; raises ModelNotFound where another version is asked for."""
        served = self.service.content.models.get(name)
        its_version = v2.version_of(served.model.digest)
        if version not in (None, its_version):
            raise errors.ModelNotFound(
                f"No version '{version}' of model '{name}' is served here.",
                where="path",
                hint=f"Served: {its_version}.",
            )
        return served, its_version

    def _body(self, view: str, binary: bool = False) -> bytes:
        """The whole body, of a type that the route takes, and within the limit."""
        takes = TAKES[view]
        mimetype = request.mimetype
        # JSON needs no name; what comes with binary data behind it has another.
        if not (
            (mimetype in takes and (binary or mimetype != v2.BINARY_TYPE))
            or (mimetype == "" and (takes[0] == JSON or binary))
        ):
            raise errors.UnsupportedMediaType(
                f"This route does not read '{mimetype}'.",
                where="Content-Type",
                hint=f"Send {takes[0]}.",
            )
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise errors.UnsupportedMediaType(
                "Compressed bodies are not read.",
                where="Content-Encoding",
                hint="Send the body as it is.",
            )
        return bodies.read_wsgi(request.environ, self.service.settings.max_body_bytes)

    # Operations

    def live(self) -> Response:
        """The process answers."""
        return refusals.json_response(health.LIVE_BODY)

    def ready(self) -> Response:
        """Whether this VM should get traffic, and which check says no."""
        readiness = self.service.health.readiness()
        return refusals.json_response(readiness.body, readiness.status)

    def version(self) -> Response:
        """What runs here."""
        return refusals.json_response(self.service.version())

    def openapi(self) -> Response:
        """The documented API of the models now served."""
        return refusals.json_response(msgspec.json.encode(self._document()) + b"\n")

    def docs(self) -> Response:
        """The same as a page."""
        response = Response(openapi.page(self._document()), content_type=HTML)
        response.headers.extend(openapi.PAGE_HEADERS)
        return response

    def _document(self) -> dict[str, Any]:
        return openapi.document(self.service.content.models, app_version())

    def metrics(self) -> Response:
        """Prometheus metrics of all workers."""
        body = self.service.metrics.render(self.service.local_metrics)
        return Response(body, content_type=serving_metrics.CONTENT_TYPE)


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Read a body: it is the caller's, so whatever a parser stumbles over is a 400 and never our failure."""
    try:
        yield
    except errors.ServiceError:
        raise
    except Exception as error:
        log.warning("a parser stumbled", exc_info=error)
        raise errors.BadRequest(
            "The body cannot be read.",
            where="body",
            hint="/openapi.json shows what this route reads.",
        ) from None
