"""Cloud Storage: the JSON API as google-cloud-storage speaks it, with access tokens and rights.

The objects are in this process (`objects.ObjectStore`): nothing reaches them but by the checks here. Bodies
are streamed. It can be told to fail: `Fault`.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qsl, quote, unquote

import aiohttp
import msgspec
from aiohttp import web

from skfleet_local.accounts import Account
from skfleet_local.cloud.errors import ApiError, errors_middleware
from skfleet_local.cloud.tokens import Refused, Tokens, bearer
from skfleet_local.objects import Content, Document, ObjectStore

_METADATA_BYTES = 256 * 1024  # of an upload's JSON part
_CHUNK_BYTES = 256 * 1024
_PAGE = 1000  # objects of a list's page, as Google's
_NO_SESSION = "No such upload session."


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


@dataclass(slots=True)
class Upload:
    """A resumable upload that was begun."""

    account: str  # email
    operation: Operation
    query: Mapping[str, str]  # its preconditions
    metadata: Document
    content: Content
    done: Document | None = None  # the object, once it is whole


_OBJECT = re.compile(r"^(?:/download)?/storage/v1/b/([^/]+)/o/([^/]+)$")
_OBJECTS = re.compile(r"^/storage/v1/b/([^/]+)/o/?$")
_BUCKET = re.compile(r"^/storage/v1/b/([^/]+)$")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
_CONTENT_RANGE = re.compile(r"bytes (?:(?P<first>[0-9]+)-(?P<last>[0-9]+)|\*)/(?P<total>[0-9]+|\*)")
_PRECONDITION = re.compile(r"if(?P<field>Generation|Metageneration)(?P<negated>Not)?Match")
_UPLOAD = re.compile(r"^/(?:resumable/)?upload/storage/v1/b/([^/]+)/o$")


@dataclass(slots=True)
class Storage:
    """The API. `url`: its own address, for links in documents."""

    tokens: Tokens
    objects: ObjectStore
    url: str
    fault: Fault = field(default_factory=Fault)
    _fault_ends: float = 0.0
    _uploads: dict[str, Upload] = field(default_factory=dict)  # by upload id

    def break_(self, fault: Fault) -> None:
        """Misbehave from now on."""
        self.fault = fault
        self._fault_ends = time.monotonic() + fault.seconds if fault.seconds else float("inf")

    def application(self) -> web.Application:
        """The site."""
        self.objects.discard_unfinished()
        app = web.Application(middlewares=[errors_middleware])
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        await self._misbehave(request)
        account = self._authenticate(request)
        operation = parse(
            request.method, request.rel_url.raw_path, request.rel_url.raw_query_string
        )
        if operation.kind == "write":
            return await self._upload(request, account, operation)
        self._authorize(account, operation, request)
        if operation.kind == "resume":
            return await self._resume(request)
        if operation.kind == "bucket.create":
            return await self._create_bucket(request)
        bucket = self.objects.bucket(operation.bucket)
        if bucket is None:
            raise ApiError(404, "The specified bucket does not exist.")
        if operation.kind == "bucket.get":
            return web.json_response(bucket)
        if operation.kind == "list":
            return self._list(request, operation.bucket)
        return await self._read(request, operation)

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
                raise ApiError(404, _NO_SESSION)
        elif not account.may_create(operation.object):
            raise _denied(account, "storage.objects.create", operation.object)
        elif (
            not account.may_replace(operation.object)
            and request.query.get("ifGenerationMatch") != "0"
        ):
            # Google would ask for this right only where the object exists. Asking always shows at
            # once who forgot that the object is immutable.
            raise _denied(account, "storage.objects.delete", operation.object)

    async def _create_bucket(self, request: web.Request) -> web.Response:
        asked = _json(await request.read())
        name = str(asked.get("name", ""))
        if not _BUCKET_NAME.fullmatch(name):
            raise ApiError(400, f"Invalid bucket name: '{name}'.")
        document = self.objects.create_bucket(name, str(asked.get("location", "US")))
        if document is None:
            raise ApiError(409, "Your previous request to create the named bucket succeeded.")
        return web.json_response(document)

    def _list(self, request: web.Request, bucket: str) -> web.Response:
        query = request.query
        asked = query.get("maxResults", str(_PAGE))
        if "delimiter" in query or not asked.isdecimal():
            raise ApiError(400, "Invalid list: expected a number as maxResults and no delimiter.")
        most = min(int(asked), _PAGE)
        # A page's token is the last name of the one before.
        found = self.objects.list(
            bucket, query.get("prefix", ""), query.get("pageToken", ""), most + 1
        )
        page: Document = {
            "kind": "storage#objects",
            "items": [self._linked(document) for document in found[:most]],
        }
        if len(found) > most:
            page["nextPageToken"] = found[most - 1]["name"]
        return web.json_response(page)

    async def _read(self, request: web.Request, operation: Operation) -> web.StreamResponse:
        document = self.objects.find(operation.bucket, operation.object)
        wanted = request.query.get("generation")
        if document is None or wanted not in (None, document["generation"]):
            version = f"#{wanted}" if wanted else ""
            raise ApiError(404, f"No such object: {operation.bucket}/{operation.object}{version}")
        _check_preconditions(document, request.query)
        if request.query.get("alt") != "media":
            return web.json_response(self._linked(document))
        return await self._send(request, document)

    async def _send(self, request: web.Request, document: Document) -> web.StreamResponse:
        size = int(document["size"])
        try:
            first, end, _ = request.http_range.indices(size)
        except ValueError:
            first = end = size
        ranged = "Range" in request.headers
        if ranged and first >= end:
            raise ApiError(416, "Request range not satisfiable")
        headers = {
            "Content-Type": document["contentType"],
            "Content-Length": str(end - first),
            "Accept-Ranges": "bytes",
            "ETag": f'"{document["etag"]}"',
            "X-Goog-Generation": document["generation"],
            "X-Goog-Metageneration": document["metageneration"],
            "X-Goog-Storage-Class": document["storageClass"],
            "X-Goog-Hash": f"crc32c={document['crc32c']},md5={document['md5Hash']}",
            "X-Goog-Stored-Content-Length": document["size"],
            "X-Goog-Stored-Content-Encoding": document.get("contentEncoding", "identity"),
        }
        if ranged:
            headers["Content-Range"] = f"bytes {first}-{end - 1}/{size}"
        with self.objects.open(document) as file:
            response = web.StreamResponse(status=206 if ranged else 200, headers=headers)
            await response.prepare(request)
            file.seek(first)
            while (left := end - file.tell()) > 0:
                await response.write(file.read(min(left, _CHUNK_BYTES)))
        await response.write_eof()
        return response

    async def _upload(
        self, request: web.Request, account: Account, operation: Operation
    ) -> web.Response:
        """An upload's first request: all of a simple one, a resumable one's metadata."""
        kind = request.query.get("uploadType", "")
        metadata: Document = {}
        chunks: AsyncIterator[bytes] = request.content.iter_any()
        declared = request.headers.get("Content-Type")
        if kind == "resumable":
            metadata = _json(await _read_metadata(chunks))
            declared = request.headers.get("X-Upload-Content-Type")
        elif kind == "multipart":
            parts = await _parts(request)
            metadata = _json(await _read_metadata(_chunks(await _next_part(parts))))
            part = await _next_part(parts)
            chunks, declared = _chunks(part), part.headers.get("Content-Type")
        elif kind != "media":
            raise ApiError(400, f"Unknown uploadType '{kind}'.")
        if declared:
            metadata.setdefault("contentType", declared)
        operation = Operation("write", operation.bucket, _object_name(request, metadata))
        self._authorize(account, operation, request)
        if self.objects.bucket(operation.bucket) is None:
            raise ApiError(404, "The specified bucket does not exist.")
        content = Content(self.objects.directory)
        upload = Upload(account.email, operation, dict(request.query), metadata, content)
        if kind == "resumable":
            self._uploads[session := secrets.token_urlsafe(24)] = upload
            path = f"/resumable/upload/storage/v1/b/{quote(operation.bucket)}/o"
            location = f"{self.url}{path}?uploadType=resumable&upload_id={session}"
            return web.Response(headers={"Location": location, "X-GUploader-UploadID": session})
        try:
            async for chunk in chunks:
                content.write(chunk)
            return self._finish(upload, request)
        except BaseException:  # the caller may be gone
            content.discard()
            raise

    async def _resume(self, request: web.Request) -> web.Response:
        """A chunk of a resumable upload, or the question how far it came."""
        session = request.query["upload_id"]
        upload = self._uploads[session]
        if upload.done is not None:  # the answer got lost
            return web.json_response(self._linked(upload.done))
        asked = _CONTENT_RANGE.fullmatch(request.headers.get("Content-Range", "bytes */*"))
        if asked is None:
            raise ApiError(400, "Invalid Content-Range.")
        first, last, total = asked["first"], asked["last"], asked["total"]
        whole = "Content-Range" not in request.headers
        if whole or first is not None:
            if int(first or 0) != upload.content.size:
                raise ApiError(400, f"The upload goes on at byte {upload.content.size}.")
            async for chunk in request.content.iter_any():
                upload.content.write(chunk)
            if not whole and upload.content.size != int(last) + 1:
                self._end_session(session)
                raise ApiError(400, "The chunk has another length than its Content-Range.")
        if not whole and total != str(upload.content.size):
            headers = {"X-GUploader-UploadID": session}
            if upload.content.size:
                headers["Range"] = f"bytes=0-{upload.content.size - 1}"
            return web.Response(status=308, headers=headers)
        try:
            return self._finish(upload, request)
        except ApiError:
            self._end_session(session)
            raise

    def _end_session(self, session: str) -> None:
        self._uploads.pop(session).content.discard()

    def _finish(self, upload: Upload, request: web.Request) -> web.Response:
        """Make an upload the live generation. No `await`: what is checked here holds until it is done."""
        operation = upload.operation
        _check_preconditions(self.objects.find(operation.bucket, operation.object), upload.query)
        found = upload.content.close()
        for name, value in (*_hashes(request), *upload.metadata.items()):
            if name in ("crc32c", "md5Hash") and value != found[name]:
                raise ApiError(400, f"Provided {name} '{value}' doesn't match '{found[name]}'.")
        upload.done = self.objects.write(
            operation.bucket, operation.object, upload.content, found, upload.metadata
        )
        return web.json_response(self._linked(upload.done))

    def _linked(self, document: Document) -> Document:
        where = f"/storage/v1/b/{document['bucket']}/o/{quote(document['name'], safe='')}"
        media = f"{self.url}/download{where}?generation={document['generation']}&alt=media"
        return {**document, "selfLink": f"{self.url}{where}", "mediaLink": media}


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


def _object_name(request: web.Request, metadata: Document) -> str:
    """The object that an upload names: in its URL or its metadata."""
    named, name = request.query.get("name", ""), str(metadata.get("name", ""))
    if named and name and named != name:
        raise ApiError(400, "The upload names two objects.")
    # Rights are by prefix.
    name = named or name
    if not name or {"", ".", ".."} & set(name.split("/")):
        raise ApiError(400, f"Invalid object name '{name}'.", "invalid")
    return name


def _check_preconditions(document: Document | None, query: Mapping[str, str]) -> None:
    there = document or {"generation": "0", "metageneration": "0"}
    for name, value in query.items():
        if asked := _PRECONDITION.fullmatch(name):
            same = there[asked["field"].lower()] == value
            if same is (asked["negated"] is not None):
                raise ApiError(
                    412, "At least one of the pre-conditions you specified did not hold."
                )


def _hashes(request: web.Request) -> list[tuple[str, str]]:
    """Of the header by which a client says at the end what it has sent."""
    names = {"crc32c": "crc32c", "md5": "md5Hash"}
    items = (
        item.strip().partition("=") for item in request.headers.get("X-Goog-Hash", "").split(",")
    )
    return [(names[name], value) for name, _, value in items if name in names]


def _json(data: bytes) -> Document:
    try:
        document: Any = json.loads(data) if data.strip() else {}
    except ValueError:
        raise ApiError(400, "The metadata is not JSON.") from None
    if not isinstance(document, dict):
        raise ApiError(400, "The metadata is not a JSON object.")
    return document


async def _read_metadata(chunks: AsyncIterator[bytes]) -> bytes:
    data = b""
    async for chunk in chunks:
        data += chunk
        if len(data) > _METADATA_BYTES:
            raise ApiError(400, "The upload's metadata is too long.")
    return data


async def _parts(request: web.Request) -> aiohttp.MultipartReader:
    try:
        return await request.multipart()
    except (AssertionError, ValueError):
        raise ApiError(400, "A multipart upload needs a boundary.") from None


async def _next_part(parts: aiohttp.MultipartReader) -> aiohttp.BodyPartReader:
    try:
        part = await parts.next()
    except ValueError:
        part = None
    if not isinstance(part, aiohttp.BodyPartReader):
        raise ApiError(400, "A multipart upload has two parts: metadata and content.")
    return part


async def _chunks(part: aiohttp.BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await part.read_chunk(_CHUNK_BYTES):
            yield chunk
    except ValueError:
        raise ApiError(400, "The upload ends within a part.") from None


def _denied(account: Account, permission: str, name: str = "") -> ApiError:
    where = f" on resource '{name}'" if name else ""
    return ApiError(
        403,
        f"{account.email} does not have {permission} access to the Google Cloud Storage object."
        f" Permission '{permission}' denied{where} (or it may not exist).",
    )
