"""Calling an application as a server would: over WSGI and over ASGI, without sockets."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes


@dataclass(frozen=True)
class Call:
    """One request. `chunks` is the body as it arrives; chunked: without Content-Length."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    chunks: tuple[bytes, ...] = ()
    chunked: bool = False
    port: int = 8080

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def all_headers(self) -> list[tuple[str, str]]:
        given = [(name.lower(), value) for name, value in self.headers]
        names = {name for name, _ in given}
        if self.chunked:
            given.append(("transfer-encoding", "chunked"))
        elif self.chunks and "content-length" not in names:
            given.append(("content-length", str(len(self.body))))
        if "host" not in names:
            given.append(("host", "service"))
        return given


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.body)


def call(
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    *,
    port: int = 8080,
    chunked: bool = False,
    **headers: str,
) -> Call:
    chunks = (body,) if isinstance(body, bytes) else tuple(body)
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Call(method, path, pairs, tuple(c for c in chunks if c), chunked, port)


def wsgi(app: Callable[..., Any], request: Call) -> Answer:
    """Over WSGI, with the environ that gunicorn's gthread worker builds."""
    path, _, query = request.path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "SCRIPT_NAME": "",
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": str(request.port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.input_terminated": True,
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for name, value in request.all_headers():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = "HTTP_" + key
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    seen: list[Any] = []
    parts = app(environ, lambda status, headers, exc_info=None: seen.extend((status, headers)))
    body = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    status, headers = seen
    return Answer(int(status.split()[0]), {k.lower(): v for k, v in headers}, body)


async def asgi_call(app: Callable[..., Any], request: Call) -> Answer:
    """Over ASGI, with the scope that gunicorn's asgi worker builds."""
    path, _, query = request.path.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode("latin-1"),
        "query_string": query.encode("latin-1"),
        "root_path": "",
        "headers": [(k.encode("latin-1"), v.encode("latin-1")) for k, v in request.all_headers()],
        "server": ("127.0.0.1", request.port),
        "client": ("127.0.0.1", 1),
        "state": {},
    }
    chunks = list(request.chunks) or [b""]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not chunks:
            return {"type": "http.disconnect"}
        chunk = chunks.pop(0)
        return {"type": "http.request", "body": chunk, "more_body": bool(chunks)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    start = sent[0]
    headers = {k.decode().lower(): v.decode() for k, v in start["headers"]}
    return Answer(start["status"], headers, b"".join(m.get("body", b"") for m in sent[1:]))


def asgi(app: Callable[..., Any], *requests: Call) -> list[Answer]:
    """Requests one after the other on one event loop."""

    async def run() -> list[Answer]:
        return [await asgi_call(app, request) for request in requests]

    return asyncio.run(run())
