"""How Flask answers what it does not serve: typed errors, Werkzeug's own, and bugs, in one shape."""

from __future__ import annotations

import logging
import uuid

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from skfleet.serving import errors

log = logging.getLogger("skfleet.app")

JSON = "application/json"


def register(app: Flask) -> None:
    """Let the application answer every failure in the one shape."""
    app.register_error_handler(errors.ServiceError, service_error)
    app.register_error_handler(HTTPException, http_error)
    app.register_error_handler(Exception, unexpected_error)


def service_error(error: errors.ServiceError) -> Response:
    """A typed error in the one shape."""
    response = json_response(error.body(), error.status)
    response.headers.extend(error.headers)
    return response


def http_error(error: HTTPException) -> Response:
    """Werkzeug's own refusals in the one shape."""
    if error.code == 404:
        return service_error(not_found())
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
    body = errors.render(
        f"The request was refused: {error.name}.", name, "request", "Compare it with /openapi.json."
    )
    return json_response(body, status)


def unexpected_error(error: Exception) -> Response:
    """A bug: logged with an id, of which alone the caller learns."""
    identifier = uuid.uuid4().hex[:12]
    log.error("request failed, id %s", identifier, exc_info=error)
    return service_error(errors.InternalError(identifier))


def not_found() -> errors.NotFound:
    """The same words whatever is asked for."""
    return errors.NotFound(
        "This listener serves no such path.", where="path", hint="Check the path and the port."
    )


def json_response(body: bytes, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(body, status, content_type=JSON)
