"""Errors in the one shape of Google's JSON APIs."""

from __future__ import annotations

import json

from aiohttp import web
from aiohttp.typedefs import Handler

_REASONS = {
    400: "invalid",
    401: "authError",
    403: "forbidden",
    404: "notFound",
    409: "alreadyExists",
    412: "conditionNotMet",
    429: "rateLimitExceeded",
    500: "backendError",
    502: "backendError",
    503: "backendError",
}


def error(status: int, message: str, reason: str = "") -> web.Response:
    """An error answer."""
    item = {
        "message": message,
        "domain": "global",
        "reason": reason or _REASONS.get(status, "unknown"),
    }
    body = {"error": {"code": status, "message": message, "errors": [item]}}
    headers = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
    return web.Response(
        text=json.dumps(body),
        status=status,
        content_type="application/json",
        headers=headers if status == 401 else None,
    )


class ApiError(Exception):
    """Raised where an answer is due, turned into one by `errors_middleware`."""

    def __init__(self, status: int, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.reason = reason


@web.middleware
async def errors_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """ApiError → its answer."""
    try:
        return await handler(request)
    except ApiError as failure:
        return error(failure.status, failure.message, failure.reason)
    except web.HTTPException as failure:
        return error(failure.status, failure.reason)
