"""Cloud Storage: a proxy before fake-gcs-server that asks for an access token and for the right.

Only the JSON API that google-cloud-storage speaks passes; everything else of the server behind (its XML
API, its internals) is unreachable from here. Bodies are streamed. What the server does not do is done
here: pinned generations on reads, and no overwriting without the right to delete. It can be told to
fail: `Fault`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, quote, unquote

import aiohttp
import msgspec
from aiohttp import web
from yarl import URL

from skfleet_local.accounts import Account
from skfleet_local.cloud.errors import ApiError, errors_middleware
from skfleet_local.cloud.tokens import Refused, Tokens, bearer

_HOP_BY_HOP = frozenset(
    "connection keep-alive proxy-authenticate proxy-authorization te trailers transfer-encoding upgrade"
    " authorization".split()
)
# Where an upload's JSON part ends must show within this many bytes.
_PREAMBLE_BYTES = 256 * 1024


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """How Cloud Storage misbehaves now. `down`: connections are cut; `slow`: answers wait `delay_s`."""

    mode: Literal["none", "unavailable", "slow", "down"] = "none"
    delay_s: float = 0.0
    seconds: float = 0.0  # how long it lasts; 0: until it is told otherwise


@dataclass(frozen=True, slots=True)
class Operation:
    """One call, as far as rights are concerned."""

    kind: Literal["bucket.create", "bucket.get", "list", "read", "write", "resume"]
    bucket: str
    object: str = ""


@dataclass(frozen=True, slots=True)
class Upload:
    """A resumable upload that was begun."""

    account: str  # email
    operation: Operation
    generation: str | None  # ifGenerationMatch


_OBJECT = re.compile(r"^(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)$")
_OBJECTS = re.compile(r"^/storage/v1/b/([^/]+)/o/?$")
_BUCKET = re.compile(r"^/storage/v1/b/([^/]+)$")
_UPLOAD = re.compile(r"^/(?:resumable/)?upload/storage/v1/b/([^/]+)/o$")


@dataclass(slots=True)
class Storage:
    """The proxy. `upstream`: fake-gcs-server."""

    tokens: Tokens
    upstream: str
    fault: Fault = field(default_factory=Fault)
    _fault_ends: float = 0.0
    _uploads: dict[str, Upload] = field(default_factory=dict)  # by upload id
    _session: aiohttp.ClientSession | None = None

    def break_(self, fault: Fault) -> None:
        """Misbehave from now on."""
        self.fault = fault
        self._fault_ends = time.monotonic() + fault.seconds if fault.seconds else float("inf")

    def application(self) -> web.Application:
        """The site."""
        app = web.Application(middlewares=[errors_middleware])
        app.router.add_route("*", "/{path:.*}", self._handle)
        app.cleanup_ctx.append(self._client)
        return app

    async def _client(self, _: web.Application) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=120)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            self._session = session
            yield

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        await self._misbehave(request)
        account = self._authenticate(request)
        preamble = b""
        operation = parse(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string
        )
        if operation.kind == "write":
            preamble, name = await _object_name(request)
            operation = Operation("write", operation.bucket, name)
        self._authorize(account, operation, request)
        return await self._forward(request, operation, account, preamble)

    async def _misbehave(self, request: web.Request) -> None:
        if self.fault.mode == "none" or time.monotonic() > self._fault_ends:
            return
        if self.fault.mode == "slow":
            await asyncio.sleep(self.fault.delay_s)
        elif self.fault.mode == "unavailable":
            raise ApiError(503, "We encountered an internal error. Please try again.")
        elif request.transport is not None:
            request.transport.abort()
            raise asyncio.CancelledError

    def _authenticate(self, request: web.Request) -> Account:
        if "Authorization" not in request.headers:
            raise ApiError(
                401, "Anonymous caller does not have access to Google Cloud Storage.", "required"
            )
        try:
            return self.tokens.check_access_token(bearer(request.headers["Authorization"]))
        except Refused:
            raise ApiError(401, "Invalid Credentials") from None

    def _authorize(self, account: Account, operation: Operation, request: web.Request) -> None:
        if operation.kind == "bucket.create":
            if not account.creates_bucket:
                raise _denied(account, "storage.buckets.create")
        elif operation.kind in ("bucket.get", "list", "read"):
            if not account.reads_objects:
                raise _denied(account, f"storage.objects.{operation.kind.removeprefix('bucket.')}")
        elif operation.kind == "resume":
            upload = self._uploads.get(request.query.get("upload_id", ""))
            if upload is None or upload.account != account.email:
                raise ApiError(404, "No such upload session.")
        elif not account.may_create(operation.object):
            raise _denied(account, "storage.objects.create", operation.object)
        elif (
            not account.may_replace(operation.object)
            and request.query.get("ifGenerationMatch") != "0"
        ):
            # Google would ask for this right only where the object exists. Asking always shows at
            # once who forgot that the object is immutable.
            raise _denied(account, "storage.objects.delete", operation.object)

    async def _forward(
        self, request: web.Request, operation: Operation, account: Account, preamble: bytes
    ) -> web.StreamResponse:
        assert self._session is not None  # noqa: S101 - made before the first request
        url = URL(f"{self.upstream}{request.rel_url.raw_path}", encoded=True)
        if request.rel_url.raw_query_string:
            url = URL(f"{url}?{request.rel_url.raw_query_string}", encoded=True)
        # Host too: the server makes its links (mediaLink, upload sessions) of it, and they must lead
        # back here.
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        if operation.kind == "resume":
            await self._check_upload(self._uploads[request.query["upload_id"]])
        read: bytes | None = None
        body = _body(request, preamble) if request.body_exists or preamble else None
        try:
            async with self._session.request(
                request.method, url, headers=headers, data=body, allow_redirects=False
            ) as answer:
                if operation.kind == "read":
                    read = await _check_generation(request, answer)
                if operation.kind == "write" and "Location" in answer.headers:
                    upload = URL(answer.headers["Location"]).query.get("upload_id", "")
                    self._uploads[upload] = Upload(
                        account.email, operation, request.query.get("ifGenerationMatch")
                    )
                return await _pass_on(request, answer, read)
        except (aiohttp.ClientConnectionError, TimeoutError) as failure:
            raise ApiError(503, f"Backend Error: {failure}") from None

    async def _check_upload(self, upload: Upload) -> None:
        """The precondition of a resumable upload; the server behind forgets it."""
        assert self._session is not None  # noqa: S101 - made before the first request
        if upload.generation is None:
            return
        name = quote(upload.operation.object, safe="")
        url = URL(f"{self.upstream}/storage/v1/b/{upload.operation.bucket}/o/{name}", encoded=True)
        async with self._session.get(url) as answer:
            there = str((await answer.json())["generation"]) if answer.status == 200 else "0"
        if there != upload.generation:
            raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")


def parse(method: str, raw_path: str, raw_query: str) -> Operation:
    """What a call wants; raises ApiError for what is not offered here."""
    query = dict(parse_qsl(raw_query))
    if (match := _UPLOAD.match(raw_path)) and method in ("POST", "PUT"):
        kind: Literal["resume", "write"] = "resume" if "upload_id" in query else "write"
        return Operation(kind, unquote(match[1]))
    if method == "POST" and raw_path == "/storage/v1/b":
        return Operation("bucket.create", "")
    if method == "GET":
        if match := _OBJECTS.match(raw_path):
            return Operation("list", unquote(match[1]))
        if match := _OBJECT.match(raw_path):
            return Operation("read", unquote(match[1]), unquote(match[2]))
        if match := _BUCKET.match(raw_path):
            return Operation("bucket.get", unquote(match[1]))
    if method == "DELETE":
        raise ApiError(403, "Permission 'storage.objects.delete' denied: nobody deletes here.")
    raise ApiError(404, f"Not offered by the local Cloud Storage: {method} {raw_path}")


async def _object_name(request: web.Request) -> tuple[bytes, str]:
    """The bytes read so far and the object that an upload names: in its URL or its JSON part."""
    named = request.query.get("name", "")
    kind = request.query.get("uploadType", "")
    if kind == "media":
        return b"", _safe_name(named)
    if kind == "resumable":
        preamble = await _read_until(request, lambda _: False)
        document = preamble
    elif kind == "multipart":
        boundary = request.headers.get("Content-Type", "").partition("boundary=")[2].strip("\"' ;")
        delimiter = b"--" + boundary.encode()
        if not boundary:
            raise ApiError(400, "A multipart upload needs a boundary.")
        preamble = await _read_until(request, lambda data: data.count(delimiter) >= 2)
        part = preamble.split(delimiter)[1] if preamble.count(delimiter) >= 2 else b""
        document = part.partition(b"\r\n\r\n")[2]
    else:
        raise ApiError(400, f"Unknown uploadType '{kind}'.")
    try:
        name = json.loads(document).get("name", "") if document.strip() else ""
    except (ValueError, AttributeError):
        raise ApiError(400, "The upload's metadata is not JSON.") from None
    if named and name and named != name:
        # The server behind may choose the other one.
        raise ApiError(400, "The upload names two objects.")
    return preamble, _safe_name(named or str(name))


def _safe_name(name: str) -> str:
    # fake-gcs-server stores objects as files; rights are by prefix.
    if not name or {"", ".", ".."} & set(name.split("/")):
        raise ApiError(400, f"Invalid object name '{name}'.", "invalid")
    return name


async def _read_until(request: web.Request, enough: Callable[[bytes], bool]) -> bytes:
    data = b""
    while not enough(data) and not request.content.at_eof():
        data += await request.content.readany()
        if len(data) > _PREAMBLE_BYTES and not enough(data):
            raise ApiError(400, "The upload's metadata is too long.")
    return data


async def _body(request: web.Request, preamble: bytes) -> AsyncIterator[bytes]:
    if preamble:
        yield preamble
    async for chunk in request.content.iter_any():
        yield chunk


async def _check_generation(request: web.Request, answer: aiohttp.ClientResponse) -> bytes | None:
    """A read of one generation must not give another; the server behind does not look.

    Returns the body where it had to be read for that.
    """
    wanted = request.query.get("generation")
    match = request.query.get("ifGenerationMatch")
    if answer.status not in (200, 206) or (wanted is None and match is None):
        return None
    body: bytes | None = None
    served = answer.headers.get("X-Goog-Generation", "")
    if not served:  # not the content: the object's own document
        body = await answer.read()
        served = str(json.loads(body).get("generation", ""))
    if wanted not in (None, served):
        raise ApiError(404, f"No such object: {unquote(request.path)}#{wanted}")
    if match not in (None, served):
        raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")
    return body


async def _pass_on(
    request: web.Request, answer: aiohttp.ClientResponse, read: bytes | None
) -> web.StreamResponse:
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP}
    response = web.StreamResponse(status=answer.status, headers=headers)
    await response.prepare(request)
    if read is not None:
        await response.write(read)
    else:
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
    await response.write_eof()
    return response


def _denied(account: Account, permission: str, name: str = "") -> ApiError:
    where = f" on resource '{name}'" if name else ""
    return ApiError(
        403,
        f"{account.email} does not have {permission} access to the Google Cloud Storage object."
        f" Permission '{permission}' denied{where} (or it may not exist).",
    )
