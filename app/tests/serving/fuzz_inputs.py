"""What the fuzzer's bytes mean, where it begins, and how a body becomes another one.

The first byte is the route (0 to 2: the rest is a raw stream to one of the listeners), the second and third
say where the stream is cut in two; the rest is the stream, or the body of a well-framed request.
"""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

FORM, JSON = "application/x-www-form-urlencoded", "application/json"
NPY, BINARY = "application/x-npy", "application/octet-stream"
MULTIPART = "multipart/form-data; boundary=b"
RAW = 3  # routes that are none
SPLIT = b"\n--\n"  # between the JSON and the binary data of a V2 request

# (path, content type) of every way to send rows.
ROUTES: tuple[tuple[str, str], ...] = (
    ("/", FORM),
    ("/predict", MULTIPART),
    ("/invocations", JSON),
    *(
        (f"/v1/models/{name}:predict", JSON)
        for name in ("digits", "forest", "graph", "sum", "mixed")
    ),
    *(
        (f"/v1/models/{name}:predict", NPY)
        for name in ("digits", "forest", "graph", "sum", "mixed")
    ),
    *((f"/v2/models/{name}/infer", JSON) for name in ("digits", "forest", "graph", "sum", "mixed")),
    *(
        (f"/v2/models/{name}/infer", BINARY)
        for name in ("digits", "forest", "graph", "sum", "mixed")
    ),
)
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1e39, -1e39, 1e308, -1e308, 1.7976931348623157e308, 5e-324, 2**63, 10**400, -0.0,
    float("nan"), float("inf"), "", "a", "\ud800", "\0", [], {}, [[]], {"": 0}, "x" * 300,
)  # fmt: skip
DATATYPES = ("FP64", "FP32", "INT64", "INT8", "UINT64", "BOOL", "BYTES", "FP16", "")
PIECES = (
    b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b"\0", b"\xff",
    b"%ff%00", b"//", b"*", b"_", b"x" * 5000,
    b"HTTP/1.1", b"HTTP/1.0", b"HEAD ", b"OPTIONS ", b"CONNECT ", b"POST / HTTP/1.1\r\n", b"Host: x\r\n",
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"0\r\n\r\n", b"5;a=b\r\n", b"ffffffff\r\n",
    b"Content-Length: 3\r\n", b"Content-Length: 99999999999999999999\r\n",
    b"Content-Length: " + b"9" * 5000 + b"\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Transfer-Encoding: x\r\n", b"Connection: close\r\n",
    b"Connection: keep-alive\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Content-Encoding: gzip\r\n",
    b"Content-Type: application/json; charset=\xff\r\n", b"Authorization: Bearer a.b.c\r\n",
    b"Inference-Header-Content-Length: 1\r\n",
)  # fmt: skip


def stream_of(data: bytes) -> tuple[bytes, int, int]:
    """(the bytes of the connection, where they are cut, index of the listener)."""
    head = data[:3].ljust(3, b"\0")
    kind, cut, rest = head[0] % (RAW + len(ROUTES)), int.from_bytes(head[1:], "big"), data[3:]
    if kind < RAW:
        return rest, cut, kind
    path, content_type = ROUTES[kind - RAW]
    extra = ""
    if content_type == BINARY and SPLIT in rest:
        text, _, binary = rest.partition(SPLIT)
        extra = f"Inference-Header-Content-Length: {len(text)}\r\n"
        rest = text + binary
    lines = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n{extra}"
    return f"{lines}Content-Length: {len(rest)}\r\n\r\n".encode() + rest, cut, 0


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    """A raw request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def seeds() -> Iterator[bytes]:
    """Something well-formed for each route, and raw streams."""
    row: dict[str, list[Any]] = {"digits": [0, 1] * 18 + [1], "mixed": ["a", 1.5]}
    columns = {"digits": [f"f{i}" for i in range(37)], "mixed": ["t", "n"]}
    for index, (path, content_type) in enumerate(ROUTES):
        name = path.split("/")[3].removesuffix(":predict") if path.count("/") > 2 else "digits"
        values, names = row.get(name, [0.5, -1, 2]), columns.get(name, list("xyz"))
        for body in _bodies(path, content_type, values, names):
            yield bytes([RAW + index, 0, 40 + index]) + body
    form = request("POST", "/", b"x=" + json.dumps(row["digits"]).encode(), f"Content-Type: {FORM}")
    chunked = request("POST", "/", b"", f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
    raw = [
        form, form + form, form[:-4], form + form[:30], b"\r\n" + form, form.replace(b"1.1", b"1.0"),
        chunked + b"3\r\nx=[\r\n2;a=b\r\n1]\r\n0\r\nX: y\r\n\r\n" + form, request("GET", "/v2"),
        request("GET", "/openapi.json"), request("GET", "/docs"), request("HEAD", "/v2"),
        request("GET", "/readyz"), request("GET", "/livez") * 2, request("OPTIONS", "*"),
        request("POST", "/", b"x=1", "Expect: 100-continue", f"Content-Type: {FORM}"),
        request("GET", "/", b"", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"),
        request("PUT", "/v1/models/digits", b"abc") + form, b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n",
        request("GET", "/%ff/%00?%ff"), request("POST", "/nope", b"z" * 500) + form,
    ]  # fmt: skip
    for index, stream in enumerate(raw):
        for kind in range(RAW):
            yield bytes([kind, 0, 10 + index]) + stream


def _bodies(path: str, content_type: str, row: list[Any], names: list[str]) -> Iterator[bytes]:
    text = json.dumps(row)
    if content_type == FORM:
        yield b"x=" + text.encode() + b"&y=%20"
    elif content_type == MULTIPART:
        yield f'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n{text}\r\n--b--\r\n'.encode()
    elif content_type == NPY:
        for dtype in ("<f8", ">i4") if not isinstance(row[0], str) else ("<f8",):
            file = io.BytesIO()
            np.save(file, np.zeros((2, len(row)), dtype))
            yield file.getvalue()
    elif path == "/invocations":
        yield json.dumps({"dataframe_split": {"columns": names, "data": [row]}}).encode()
        yield json.dumps({"dataframe_records": [dict(zip(names, row, strict=True))]}).encode()
        yield json.dumps({"inputs": {n: [v] for n, v in zip(names, row, strict=True)}}).encode()
    elif path.startswith("/v1"):
        yield json.dumps({"instances": [row, row], "parameters": {"probabilities": False}}).encode()
        yield json.dumps({"instances": [dict(zip(names, row, strict=True))]}).encode()
    elif content_type == JSON:
        yield json.dumps(
            {"inputs": _columns(names, row), "id": "1", "outputs": [{"name": "predict"}]}
        ).encode()
        if not isinstance(row[0], str):
            tensor = {"name": "rows", "shape": [1, len(row)], "datatype": "FP64", "data": row}
            yield json.dumps({"inputs": [tensor], "parameters": {"probabilities": False}}).encode()
    else:
        binary = b""
        inputs = _columns(names, row)
        for tensor in inputs:
            (value,) = tensor.pop("data")
            part = (
                struct.pack("<I", len(value)) + value.encode()
                if isinstance(value, str)
                else struct.pack("<d", value)
            )
            tensor["parameters"] = {"binary_data_size": len(part)}
            binary += part
        yield (
            json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
            + SPLIT
            + binary
        )


def _columns(names: list[str], row: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "shape": [1, 1],
            "datatype": "BYTES" if isinstance(value, str) else "FP64",
            "data": [value],
        }
        for name, value in zip(names, row, strict=True)
    ]


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Another input: a value of the body's JSON is an odd one, or a piece of HTTP stands somewhere."""
    head, body = data[:3], data[3:]
    kind = (head or b"\0")[0] % (RAW + len(ROUTES))
    text, separator, binary = body.partition(SPLIT)
    if kind >= RAW and generator.random() < 0.8:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            pass
        else:
            return head + _spelt(_changed(value, generator), generator) + separator + binary
    at = generator.randint(0, len(body))
    lost = generator.choice((0, 0, 1, 2, 10))
    return head + body[:at] + generator.choice(PIECES) + body[at + lost :]


def _changed(value: Any, generator: random.Random) -> Any:
    """The same tree with one node changed."""
    if isinstance(value, (list, dict)) and value and generator.random() < 0.85:
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = generator.choice(keys)
        changed = value.copy()
        if generator.random() < 0.1:
            del changed[key]
        elif isinstance(value, list) and generator.random() < 0.1:
            changed.append(value[key])
        else:
            changed[key] = _changed(value[key], generator)
        return changed
    if isinstance(value, str) and generator.random() < 0.3:
        return generator.choice(DATATYPES)
    return generator.choice(ODD)


def _spelt(value: Any, generator: random.Random) -> bytes:
    text = json.dumps(value, ensure_ascii=generator.random() < 0.5)
    if generator.random() < 0.1:
        text = text.replace("e+", "e")
    return text.encode("utf-8", "surrogatepass")
