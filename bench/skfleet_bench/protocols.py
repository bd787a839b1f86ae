"""How each kind of server is asked, and where its answer has the labels. Pure functions.

Rows have shape (n, 37); an answer's labels shape (n,).
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Rows = Sequence[Sequence[int]]
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to ask: path, content type, the body of rows, the labels of an answer."""

    path: str
    content_type: str
    body: Callable[[Rows], bytes]
    labels: Callable[[bytes], list[int]]
    headers: Callable[[bytes], dict[str, str]] = lambda _: {}


def form_body(rows: Rows) -> bytes:
    """The original form; one row."""
    (row,) = rows
    return b"x=" + json.dumps(list(row), separators=(",", ":")).encode()


def form_labels(answer: bytes) -> list[int]:
    """`{"model_prediction": "[1]", …}`."""
    found: list[int] = json.loads(json.loads(answer)["model_prediction"])
    return found


def named(field: str) -> Callable[[Rows], bytes]:
    """`{"<field>": [[…], …]}`."""
    return lambda rows: json.dumps({field: [list(row) for row in rows]}).encode()


def predictions(answer: bytes) -> list[int]:
    """`{"predictions": […]}`, or the list alone."""
    found = json.loads(answer)
    found = found["predictions"] if isinstance(found, dict) else found
    return [int(label) for label in found]


def v2_body(rows: Rows) -> bytes:
    """The Open Inference Protocol: one tensor, flat."""
    flat = [value for row in rows for value in row]
    shape = [len(rows), len(rows[0])]
    tensor = {"name": "input-0", "shape": shape, "datatype": "FP64", "data": flat}
    return json.dumps({"inputs": [tensor]}).encode()


def v2_labels(answer: bytes) -> list[int]:
    """Its first output."""
    return [int(label) for label in np.ravel(json.loads(answer)["outputs"][0]["data"])]


def _binary_header(rows: Rows, data: bytes, datatype: str) -> bytes:
    tensor = {
        "name": "input-0", "shape": [len(rows), len(rows[0])], "datatype": datatype,
        "parameters": {"binary_data_size": len(data)},
    }  # fmt: skip
    return json.dumps({"inputs": [tensor]}).encode()


def binary_body(rows: Rows) -> bytes:
    """The same with the tensor's bytes behind the JSON."""
    data = np.asarray(rows, dtype="<f8").tobytes()
    return _binary_header(rows, data, "FP64") + data


def bytes_body(rows: Rows) -> bytes:
    """The same where every value fits a byte, as those of one-hot columns do."""
    data = np.asarray(rows, dtype="u1").tobytes()
    return _binary_header(rows, data, "UINT8") + data


def binary_headers(body: bytes) -> dict[str, str]:
    """The length of the JSON before the bytes."""
    return {"Inference-Header-Content-Length": str(body.index(b"}]}") + 3)}


def npy_body(rows: Rows) -> bytes:
    """A file as `numpy.save` writes it."""
    file = io.BytesIO()
    np.save(file, np.asarray(rows, dtype=np.float64))
    return file.getvalue()


def npy_labels(answer: bytes) -> list[int]:
    """The same of labels."""
    return [int(label) for label in np.load(io.BytesIO(answer), allow_pickle=False)]


def protocols(server: str, model: str) -> dict[str, Protocol]:
    """By encoding, of a kind of server; `single` is what it is asked where there is one row."""
    v2_path = f"/v2/models/{model}/infer"
    v2 = Protocol(v2_path, JSON, v2_body, v2_labels)
    known: dict[str, dict[str, Protocol]] = {
        "skfleet": {
            "single": Protocol("/", "application/x-www-form-urlencoded", form_body, form_labels),
            "text": Protocol(f"/v1/models/{model}:predict", JSON, named("instances"), predictions),
            "binary": Protocol(v2_path, "application/octet-stream", binary_body, v2_labels, binary_headers),
            "bytes": Protocol(v2_path, "application/octet-stream", bytes_body, v2_labels, binary_headers),
            "npy": Protocol(f"/v1/models/{model}:predict", "application/x-npy", npy_body, npy_labels),
        },
        "predict": {"text": Protocol("/predict", JSON, named("instances"), predictions)},
        "original": {
            "single": Protocol("/", "application/x-www-form-urlencoded", form_body, form_labels),
        },
        "v2": {"text": v2},
        "bentoml": {"text": Protocol("/predict", JSON, named("instances"), predictions)},
        "mlflow": {"text": Protocol("/invocations", JSON, named("inputs"), predictions)},
    }  # fmt: skip
    return known[server]


def choose(found: dict[str, Protocol], encoding: str, rows: int) -> Protocol | None:
    """The protocol of a case; None where the server has no such encoding."""
    if encoding == "text" and rows == 1 and "single" in found:
        return found["single"]
    return found.get(encoding)


def versions_line(versions: dict[str, Any]) -> str:
    """Versions for people."""
    return ", ".join(f"{name} {version}" for name, version in versions.items())
