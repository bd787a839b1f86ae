"""HTTP: finds the method, reads the body or the upload, answers, keeps the journal."""

import email.parser
import email.policy
import json
import re
import sys
import threading
import time
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

from . import compute, discovery, services
from .cloud import Call, Cloud, Refused


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, status, data, headers):
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def read_body(self):
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        data = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def serve(self):
        start, url, data = time.time(), urlsplit(self.path), self.read_body()
        entry = {"method": self.command, "path": self.path, "id": None}
        try:
            status, out = (
                self.control(url.path)
                if url.path.startswith("/_fake/")
                else self.dispatch(url, data, entry)
            )
        except Refused as refusal:
            status, out, entry["error"] = refusal.code, refusal.body(), str(refusal)
        except Exception as error:  # a fault of the double's own: say so
            traceback.print_exc()
            status, out, entry["error"] = (
                500,
                Refused(500, f"emulator: {error!r}").body(),
                repr(error),
            )
        if not url.path.startswith("/_fake/"):
            self.server.note({**entry, "status": status, "ms": round((time.time() - start) * 1000)})
        if isinstance(out, tuple):
            meta = out[1]
            return self.answer(
                status,
                out[0],
                {
                    "Content-Type": meta["contentType"],
                    "x-goog-generation": meta["generation"],
                    "ETag": meta["etag"],
                    "x-goog-hash": f"crc32c={meta['crc32c']},md5={meta['md5Hash']}",
                },
            )
        self.answer(
            status,
            b"" if out is None else json.dumps(out).encode(),
            {"Content-Type": "application/json; charset=UTF-8"},
        )

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve

    def control(self, path):
        if path == "/_fake/reset" and self.command == "POST":
            self.server.cloud = self.server.make_cloud()
        with self.server.cloud.lock:
            cloud = self.server.cloud
            return 200, cloud.dump() if path == "/_fake/dump" else cloud.state()

    def dispatch(self, url, data, entry):
        path, query, cloud = (
            re.sub(r"^/upload/|^/download/", "/", url.path).rstrip("/"),
            parse_qs(url.query, keep_blank_values=True),
            self.server.cloud,
        )
        bucket, _, name = path[1:].partition("/")
        if (
            self.command == "GET" and f"storage/b/{bucket}" in cloud.resources
        ):  # an XML API read, as the gcs backend of terraform does
            path, query = (
                f"/storage/v1/b/{bucket}/o/{quote(unquote(name), safe='')}",
                {"alt": ["media"]},
            )
        method, found = discovery.find(self.command, path) or (None, None)
        if not method:
            print(f"UNMATCHED {self.command} {self.path}", file=sys.stderr, flush=True)
            raise Refused(
                404,
                f"UNMATCHED: no method of Google's discovery documents is {self.command} {url.path}",
            )
        entry["id"], upload = method.id, query.pop("uploadType", [None])[0]
        call = Call(
            cloud, method, {k: unquote(v) for k, v in found.groupdict().items()}, path, query
        )
        if upload == "multipart":
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            meta, media = (
                email.parser.BytesParser(policy=email.policy.HTTP)
                .parsebytes(head + data)
                .iter_parts()
            )
            call.body, call.media, call.media_type = (
                json.loads(meta.get_content()),
                media.get_payload(decode=True),
                media.get_content_type(),
            )
        elif upload == "media":
            call.body, call.media, call.media_type = {}, data, self.headers.get("Content-Type")
        elif upload:
            raise Refused(501, f"emulator does not model {upload} uploads")
        elif data:
            try:
                call.body = json.loads(data)
            except ValueError as error:
                raise Refused(400, f"Invalid JSON payload received. {error}") from error
            entry["body"] = call.body
        with cloud.lock:
            out = cloud.handle(call)
        entry.update({"notes": call.notes} if call.notes else {})
        if (
            isinstance(out, dict) and method.response
        ):  # the double's own answers are held to the schema too
            wrong = []
            method.api.clean({"$ref": method.response}, out, "response", wrong, strip=False)
            entry.update({"response_errors": wrong} if wrong else {})
        return (204 if out is None else 200), out


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 128

    def __init__(self, port: int, journal: Path, **project: object) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.journal, self.journal_lock, self.project = (
            Path(journal).open("a", buffering=1),
            threading.Lock(),
            project,
        )
        self.cloud = self.make_cloud()

    def make_cloud(self):
        cloud = Cloud(**self.project)
        compute.seed(cloud)
        services.seed(cloud)
        return cloud

    def note(self, entry):
        with self.journal_lock:
            self.journal.write(json.dumps(entry) + "\n")

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that went away is no news
            super().handle_error(request, client_address)
