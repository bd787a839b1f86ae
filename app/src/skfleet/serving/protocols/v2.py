"""The Open Inference Protocol V2: tensors in, tensors out, as JSON or as binary tensor data.

`{"id", "parameters", "inputs": [{"name", "shape", "datatype", "data"}], "outputs": [{"name"}]}` →
`{"model_name", "model_version", "id", "outputs": [{"name", "shape", "datatype", "data"}]}`.

One input of any name holds the rows, shape (n, features), `data` flat in row-major order or nested; or each
feature is an input of its own name, shape (n,) or (n, 1). Outputs: `predict`, shape (n,), or (n, outputs) of
a model with several, and, where `outputs` or `parameters.probabilities` asks for it, `predict_proba`, FP64,
shape (n, classes). A model's version is the first 12 characters of its digest, so a caller who names one
never gets another model's answer.

With the header Inference-Header-Content-Length the JSON has that many bytes, and the binary data of inputs
with `parameters.binary_data_size` follows it in their order; outputs asked for with `binary_data` (or all,
with `binary_data_output`) come the same way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skfleet.documents.manifest import Manifest
from skfleet.serving.errors import BadRequest
from skfleet.serving.protocols import repeated, v2_tensors
from skfleet.serving.protocols.rows import RowCheck
from skfleet.serving.protocols.v2_tensors import DATATYPES, HINT, Tensor

__all__ = ["DATATYPES", "HINT"]

CONTENT_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"
BINARY_HEADER = "Inference-Header-Content-Length"
EXTENSIONS = ["binary_tensor_data"]
VERSION_LENGTH = 12
INPUT = "input-0"  # in the metadata; a request may call it as it likes
PREDICT = "predict"
PREDICT_PROBA = "predict_proba"


class Parameters(msgspec.Struct):
    """What a caller may ask for. Others are ignored: clients send those of other servers along."""

    probabilities: bool = False
    binary_data_output: bool = False


class InputParameters(msgspec.Struct):
    """What is read of an input's parameters."""

    binary_data_size: int | None = None


class Input(msgspec.Struct):
    """A tensor as sent; its data is read once its shape is known to be one."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parameters: InputParameters | None = None


class OutputParameters(msgspec.Struct):
    """What is read of an output's parameters."""

    binary_data: bool | None = None


class Output(msgspec.Struct):
    """An output asked for by name."""

    name: str
    parameters: OutputParameters | None = None


class Request(msgspec.Struct):
    """An inference request."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, checked: rows of shape (n, features), and the outputs in the order asked for."""

    rows: Any  # lists, or an array
    id: str | None
    outputs: tuple[str, ...]
    binary: frozenset[str] = frozenset()  # outputs to send as binary data


@dataclass(frozen=True, slots=True)
class Response:
    """The answer's bytes; `json_length` is set where binary data follows the JSON."""

    body: bytes
    json_length: int | None = None


# At import: threads that meet a type first at the same time crash msgspec.
_decoder = msgspec.json.Decoder(Request)

# Names that a request has once at most, in a request that gives no field twice.
_ONCE = tuple(f'"{name}"'.encode() for name in ("inputs", "id", "outputs", "probabilities"))
_PER_INPUT = tuple(f'"{name}"'.encode() for name in ("shape", "datatype", "data"))


def version_of(digest: str) -> str:
    """The version of the model with this digest."""
    return digest[:VERSION_LENGTH]


def split(body: bytes, header: str | None) -> tuple[bytes, bytes]:
    """(JSON, binary data) of a body; raises BadRequest where the header is no length in it."""
    if header is None:
        return body, b""
    if not header.isdecimal() or len(header) > 12 or int(header) > len(body):
        raise BadRequest(
            "The header is not the length of the body's JSON.",
            where=BINARY_HEADER,
            hint="Send the number of bytes of the JSON before the binary data.",
        )
    return body[: int(header)], body[int(header) :]


def parse(body: bytes, check: RowCheck, header: str | None = None) -> Asked:
    """The request with its rows checked; raises BadRequest or InvalidRows."""
    text, binary = split(body, header)
    request = _decode(text)
    tensors = _tensors(request, binary)
    if not tensors:
        raise BadRequest("The request has 0 inputs.", where="inputs", hint=HINT)
    rows = v2_tensors.rows(tensors, check)
    check.refuse(rows, "inputs[0].data[{row}]" if len(tensors) == 1 else "row[{row}]")
    outputs = _wanted(request)
    every = request.parameters is not None and request.parameters.binary_data_output
    said = {
        output.name: output.parameters.binary_data
        for output in request.outputs or ()
        if output.parameters is not None and output.parameters.binary_data is not None
    }
    in_binary = frozenset(name for name in outputs if said.get(name, every))
    return Asked(rows, request.id, outputs, in_binary)


def answer(
    model: str,
    version: str,
    asked: Asked,
    labels: Sequence[Any] | None,
    probabilities: Sequence[Sequence[float]] | None,
    manifest: Manifest,
) -> Response:
    """The response; `labels` and `probabilities` are there where `asked.outputs` names them."""
    found: dict[str, tuple[str, list[int], Sequence[Any]]] = {}
    if labels is not None:
        shape = [len(labels)] + ([len(manifest.outputs)] if manifest.outputs else [])
        found[PREDICT] = (label_datatype(manifest), shape, labels)
    if probabilities is not None:
        found[PREDICT_PROBA] = ("FP64", [len(probabilities), len(probabilities[0])], probabilities)
    outputs: list[dict[str, Any]] = []
    tail: list[bytes] = []
    for name in asked.outputs:
        datatype, shape, values = found[name]
        flat = v2_tensors.flatten(values, datatype)
        tensor: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if name in asked.binary:
            tail.append(v2_tensors.to_binary(flat, datatype))
            tensor["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            tensor["data"] = flat
        outputs.append(tensor)
    body: dict[str, Any] = {"model_name": model, "model_version": version}
    if asked.id is not None:
        body["id"] = asked.id
    text = _json({**body, "outputs": outputs})
    return Response(text + b"".join(tail), len(text) if tail else None)


def label_datatype(manifest: Manifest) -> str:
    """The datatype of `predict`."""
    if manifest.kind == "regressor":
        return "FP64"
    return v2_tensors.datatype_of([c for target in manifest.targets for c in target.classes])


def server_metadata(version: str) -> bytes:
    """The answer to `GET /v2`."""
    return _json({"name": "skfleet", "version": version, "extensions": EXTENSIONS})


def model_metadata(name: str, version: str, manifest: Manifest) -> bytes:
    """The answer to `GET /v2/models/{name}`; -1 is any number of rows."""
    if manifest.mixed:
        inputs = [
            {
                "name": feature.name,
                "datatype": "FP64" if feature.categories is None else v2_tensors.TEXT,
                "shape": [-1, 1],
            }
            for feature in manifest.features
        ]
    else:
        inputs = [{"name": INPUT, "datatype": "FP64", "shape": [-1, len(manifest.features)]}]
    shape = [-1, len(manifest.outputs)] if manifest.outputs else [-1]
    outputs = [{"name": PREDICT, "datatype": label_datatype(manifest), "shape": shape}]
    if manifest.has_probabilities:
        width = sum(len(target.classes) for target in manifest.targets)
        outputs.append({"name": PREDICT_PROBA, "datatype": "FP64", "shape": [-1, width]})
    return _json(
        {
            "name": name,
            "versions": [version],
            "platform": "sklearn_skops",
            "inputs": inputs,
            "outputs": outputs,
        }
    )


def live() -> bytes:
    """The body of `/v2/health/live`."""
    return _json({"live": True})


def ready(is_ready: bool) -> bytes:
    """The body of `/v2/health/ready`; `/readyz` says why not."""
    return _json({"ready": is_ready})


def model_ready(name: str) -> bytes:
    """The body of `…/ready` of a model that is loaded."""
    return _json({"name": name, "ready": True})


def _json(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body) + b"\n"


def _decode(body: bytes) -> Request:
    try:
        request = _decoder.decode(body)
        # Without an escape a repeated name shows in the bytes; with one, the slow look decides.
        count = len(request.inputs)
        if (
            b"\\" in body
            or any(body.count(name) > 1 for name in _ONCE)
            or any(body.count(name) > count for name in _PER_INPUT)
            or body.count(b'"name"') > count + len(request.outputs or ())
            or body.count(b'"parameters"') > 1
            or b'"binary_data' in body
        ):
            repeated.refuse(body, HINT)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        where = path.strip("`").removeprefix("$").lstrip(".")
        raise BadRequest(
            f"Not an inference request: {message}.", where=where or "body", hint=HINT
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    return request


def _tensors(request: Request, binary: bytes) -> list[Tensor]:
    """The inputs, each with its own bytes; all of the binary data must belong to one."""
    tensors: list[Tensor] = []
    at = 0
    for index, given in enumerate(request.inputs):
        size = given.parameters.binary_data_size if given.parameters is not None else None
        place = f"inputs[{index}]"
        if (size is None) == (given.data is msgspec.UNSET):
            problem = "no data" if size is None else "data in two places"
            raise BadRequest(
                f"The input has {problem}.",
                where=place,
                hint='Send "data", or its size in "parameters": {"binary_data_size": …}.',
            )
        part = None
        if size is not None:
            if not 0 <= size <= len(binary) - at:
                raise BadRequest(
                    "There is not as much binary data as the input says.",
                    where=f"{place}.parameters.binary_data_size",
                    hint=f"After the JSON come {len(binary)} bytes for all inputs ({BINARY_HEADER}).",
                )
            part = binary[at : at + size]
            at += size
        data = None if given.data is msgspec.UNSET else bytes(given.data)
        tensors.append(Tensor(place, given.name, given.shape, given.datatype, data, part))
    if at != len(binary):
        raise BadRequest(
            f"{len(binary) - at} bytes of binary data belong to no input.",
            where="body",
            hint="Say each input's share in parameters.binary_data_size.",
        )
    return tensors


def _wanted(request: Request) -> tuple[str, ...]:
    wanted: list[str] = []
    for index, output in enumerate(request.outputs or ()):
        if output.name not in (PREDICT, PREDICT_PROBA) or output.name in wanted:
            problem = "asked for twice" if output.name in wanted else "not known"
            raise BadRequest(
                f"Output '{output.name[:80]}' is {problem}.",
                where=f"outputs[{index}].name",
                hint=f"Outputs: {PREDICT}, {PREDICT_PROBA}.",
            )
        wanted.append(output.name)
    wanted = wanted or [PREDICT]
    asks = request.parameters is not None and request.parameters.probabilities
    if asks and PREDICT_PROBA not in wanted:
        wanted.append(PREDICT_PROBA)
    return tuple(wanted)
