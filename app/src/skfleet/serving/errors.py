"""Every answer that is not a success: typed errors that carry their status, and their one shape.

`{"error": "<one sentence>", "code": "<snake_case>", "where": "<field or row>", "hint": "<how to mend it>"}`
"""

from __future__ import annotations

import msgspec

from skfleet.errors import SkfleetError


class ServiceError(SkfleetError):
    """A request that is not answered with a success. Subclasses fix the status and the code."""

    status = 500
    code = "internal"

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        hint: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.headers = headers

    def body(self) -> bytes:
        """The answer's JSON, with a newline at the end as every JSON answer has."""
        return render(self.message, self.code, self.where, self.hint)


class BadRequest(ServiceError):
    """The request cannot be read: not JSON, no such field, cut short."""

    status = 400
    code = "bad_request"


class InvalidRows(ServiceError):
    """The request can be read, and a row is not one the model was trained on."""

    status = 422
    code = "invalid_rows"


class Unauthenticated(ServiceError):
    """No identity, or none that holds. Says the same whatever was wrong; `reason` is for metrics.

    `where` names the audience of a token that IAP did sign, for another backend service.
    """

    status = 401
    code = "unauthenticated"

    def __init__(self, reason: str, hint: str, where: str = "") -> None:
        super().__init__(
            "The request carries no valid identity for this listener.",
            where=where,
            hint=hint,
            headers=(("WWW-Authenticate", "Bearer"),),
        )
        self.reason = reason


class Forbidden(ServiceError):
    """The identity holds, and is not admitted here."""

    status = 403
    code = "forbidden"
    reason = "not_allowed"


class IdentityUnavailable(ServiceError):
    """Who may call is not known on this host yet, so nobody may."""

    status = 503
    code = "identity_unavailable"
    reason = "unavailable"


class NotFound(ServiceError):
    """This listener serves no such path."""

    status = 404
    code = "not_found"


class ModelNotFound(ServiceError):
    """The path names a model that this release does not serve."""

    status = 404
    code = "model_not_found"


class ModelNotLoaded(ServiceError):
    """The service runs without the model; `/readyz` says why."""

    status = 503
    code = "model_not_loaded"


class MethodNotAllowed(ServiceError):
    """The path exists, and does not take this method."""

    status = 405
    code = "method_not_allowed"


class RequestTimeout(ServiceError):
    """The request did not arrive within its limit, however steadily it drips."""

    status = 408
    code = "request_timeout"

    def __init__(self, part: str, seconds: int) -> None:
        super().__init__(
            f"The request {part} did not arrive within {seconds} s.",
            where=part,
            hint="Send the request again, without pauses.",
            headers=(("Connection", "close"),),
        )


class BodyTooLarge(ServiceError):
    """The body is over the limit; the rest of it is not read."""

    status = 413
    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"The request body is larger than {limit} bytes.",
            where="body",
            hint="Send fewer rows in one request.",
            # What is left of the body would be read as the next request.
            headers=(("Connection", "close"),),
        )


class UnsupportedMediaType(ServiceError):
    """The route does not read this Content-Type."""

    status = 415
    code = "unsupported_media_type"


class Overloaded(ServiceError):
    """More requests in flight than this worker takes. 429, which no load balancer retries."""

    status = 429
    code = "overloaded"

    def __init__(self) -> None:
        super().__init__(
            "This worker has as many requests in flight as it takes.",
            hint="Try again after the time in Retry-After.",
            headers=(("Retry-After", "1"),),
        )


# What gunicorn's parser refuses, by the status that it gives; its own texts quote the request.
_MALFORMED = {
    414: ("uri_too_long", "The request line is too long.", "request line", "Send a shorter path."),
    431: (
        "header_fields_too_large",
        "The request has too many headers, or one that is too large.",
        "headers",
        "Send fewer and shorter headers.",
    ),
}


class MalformedRequest(ServiceError):
    """The bytes are not an HTTP/1.1 request, so the connection ends with the answer.

    Always 4xx: load balancers eject a VM for 5xx, and the VM is not what is wrong here.
    """

    def __init__(self, status: int) -> None:
        code, message, where, hint = _MALFORMED.get(
            status,
            (
                BadRequest.code,
                "The bytes are not an HTTP/1.1 request that this service reads.",
                "request",
                "Send a request line, headers, and a body framed by Content-Length or in chunks.",
            ),
        )
        super().__init__(message, where=where, hint=hint, headers=(("Connection", "close"),))
        self.status = status if status in _MALFORMED else BadRequest.status
        self.code = code


class InternalError(ServiceError):
    """A bug. The caller learns an id of it, if anything."""

    def __init__(self, identifier: str = "") -> None:
        super().__init__(
            "The service failed on this request.",
            where=identifier or "service",
            hint="Report the id in 'where'; the service's log has the details."
            if identifier
            else "Report the time of the request; the service's log has the details.",
        )


def render(message: str, code: str, where: str = "", hint: str = "") -> bytes:
    """The one shape of an error, as bytes."""
    return (
        msgspec.json.encode({"error": message, "code": code, "where": where, "hint": hint}) + b"\n"
    )
