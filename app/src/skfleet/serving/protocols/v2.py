"""The Open Inference Protocol V2 over JSON: tensors in, tensors out.

`{"id", "parameters", "inputs": [{"name", "shape", "datatype", "data"}], "outputs": [{"name"}]}` →
`{"model_name", "model_version", "id", "outputs": [{"name", "shape", "datatype", "data"}]}`.

One input of any name holds the rows, shape (n, features), `data` flat in row-major order or nested.
Outputs: `predict`, INT64, shape (n,), and, where `outputs` or `parameters.probabilities` asks for it,
`predict_proba`, FP64, shape (n, classes); both flat. A model's version is the first 12 characters of
its digest, so a caller who names one never gets another model's answer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from skfleet.artifacts.manifest import Manifest
from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols import repeated
from skfleet.serving.protocols.rows import RowCheck

CONTENT_TYPE = "application/json"
BINARY_HEADER = "Inference-Header-Content-Length"
VERSION_LENGTH = 12
INPUT = "input-0"  # in the metadata; a request may call it as it likes
PREDICT = "predict"
PREDICT_PROBA = "predict_proba"
HINT = (
    'Send {"inputs": [{"name": "input-0", "shape": [rows, features], "datatype": "FP64", '
    '"data": […]}]}, data flat or one inner list for each row.'
)
INTEGERS = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
DATATYPES = (*INTEGERS, "FP32", "FP64")


class Parameters(msgspec.Struct):
    """What a caller may ask for. Others are ignored: clients send those of other servers along."""

    probabilities: bool = False


class Input(msgspec.Struct):
    """A tensor as sent; its data is read once its shape is known to be one."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw


class Output(msgspec.Struct):
    """An output asked for by name."""

    name: str


class Request(msgspec.Struct):
    """An inference request."""

    inputs: list[Input]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[Output] | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, checked: rows of shape (n, features), and the outputs in the order asked for."""

    rows: list[list[float]]
    id: str | None
    outputs: tuple[str, ...]


# At import: threads that meet a type first at the same time crash msgspec.
_decoder = msgspec.json.Decoder(Request)
_flat = msgspec.json.Decoder(list[float])
_nested = msgspec.json.Decoder(list[list[float]])

# Names that a request has once at most, in a request that gives no field twice.
_ONCE = tuple(
    f'"{name}"'.encode()
    for name in ("inputs", "shape", "datatype", "data", "id", "outputs", "probabilities")
)


def version_of(digest: str) -> str:
    """The version of the model with this digest."""
    return digest[:VERSION_LENGTH]


def parse(body: bytes, check: RowCheck) -> Asked:
    """The request with its rows checked; raises BadRequest or InvalidRows."""
    request = _decode(body)
    if len(request.inputs) != 1:
        raise BadRequest(
            f"The request has {len(request.inputs)} inputs; the model takes one.",
            where="inputs",
            hint=HINT,
        )
    rows = _rows(request.inputs[0])
    check.refuse(rows, "inputs[0].data[{row}]")
    return Asked(rows, request.id, _wanted(request))


def answer(
    model: str,
    version: str,
    asked: Asked,
    labels: Sequence[int] | None,
    probabilities: Sequence[Sequence[float]] | None,
) -> bytes:
    """The response; `labels` and `probabilities` are there where `asked.outputs` names them."""
    tensors: dict[str, dict[str, Any]] = {}
    if labels is not None:
        tensors[PREDICT] = {"shape": [len(labels)], "datatype": "INT64", "data": labels}
    if probabilities is not None:
        tensors[PREDICT_PROBA] = {
            "shape": [len(probabilities), len(probabilities[0])],
            "datatype": "FP64",
            "data": list(itertools.chain.from_iterable(probabilities)),
        }
    body: dict[str, Any] = {"model_name": model, "model_version": version}
    if asked.id is not None:
        body["id"] = asked.id
    body["outputs"] = [{"name": name, **tensors[name]} for name in asked.outputs]
    return _json(body)


def server_metadata(version: str) -> bytes:
    """The answer to `GET /v2`."""
    return _json({"name": "skfleet", "version": version, "extensions": []})


def model_metadata(name: str, version: str, manifest: Manifest) -> bytes:
    """The answer to `GET /v2/models/{name}`; -1 is any number of rows."""
    width, classes = len(manifest.features), len(manifest.classes)
    return _json(
        {
            "name": name,
            "versions": [version],
            "platform": "sklearn_skops",
            "inputs": [{"name": INPUT, "datatype": "FP64", "shape": [-1, width]}],
            "outputs": [
                {"name": PREDICT, "datatype": "INT64", "shape": [-1]},
                {"name": PREDICT_PROBA, "datatype": "FP64", "shape": [-1, classes]},
            ],
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
        if (
            b"\\" in body
            or any(body.count(name) > 1 for name in _ONCE)
            or body.count(b'"name"') > 1 + len(request.outputs or ())
            or body.count(b'"parameters"') > 1
        ):
            repeated.refuse(body, HINT)
    except msgspec.ValidationError as error:
        message, where = _place(error)
        raise BadRequest(
            f"Not an inference request: {message}.", where=where.lstrip(".") or "body", hint=HINT
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError, ValueError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    return request


def _rows(tensor: Input) -> list[list[float]]:
    """The tensor's rows, of the shape and datatype that it declares."""
    if tensor.datatype not in DATATYPES:
        raise BadRequest(
            f"Datatype '{tensor.datatype}' is not read.",
            where="inputs[0].datatype",
            hint="Accepted: " + ", ".join(DATATYPES) + ".",
        )
    if len(tensor.shape) != 2 or tensor.shape[0] < 0 or tensor.shape[1] < 1:
        raise BadRequest(
            "The shape is not that of rows.", where="inputs[0].shape", hint="Send [rows, features]."
        )
    count, width = tensor.shape
    if count == 0:
        raise InvalidRows("There are no rows to predict.", where="inputs[0].shape", hint=HINT)
    rows = _data(bytes(tensor.data), count, width)
    if tensor.datatype in INTEGERS:
        _check_integers(rows, tensor.datatype)
    return rows


def _data(raw: bytes, count: int, width: int) -> list[list[float]]:
    nested = raw.lstrip()[:1] == b"[" and raw.lstrip()[1:].lstrip()[:1] == b"["
    try:
        if nested:
            rows = _nested.decode(raw)
            fits = len(rows) == count and all(len(row) == width for row in rows)
        else:
            values = _flat.decode(raw)
            fits = len(values) == count * width
            rows = [values[at : at + width] for at in range(0, len(values), width)] if fits else []
    except msgspec.ValidationError as error:
        message, place = _place(error)
        if not nested and place:
            row, column = divmod(int(place.strip("[]")), width)
            place = f"[{row}][{column}]"
        raise InvalidRows(
            f"Not rows of numbers: {message}.", where=f"inputs[0].data{place}", hint=HINT
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    if not fits:
        raise BadRequest(
            f"The data is not of the shape [{count}, {width}].",
            where="inputs[0].data",
            hint="Send as many numbers as the shape says, flat or one inner list for each row.",
        )
    return rows


def _check_integers(rows: list[list[float]], datatype: str) -> None:
    low, high = INTEGERS[datatype]
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if not (low <= value <= high and value == int(value)):
                raise InvalidRows(
                    f"The value {value:g} is no {datatype}.",
                    where=f"inputs[0].data[{row}][{column}]",
                    hint="Send whole numbers in its range, or FP64.",
                )


def _wanted(request: Request) -> tuple[str, ...]:
    wanted: list[str] = []
    for index, output in enumerate(request.outputs or ()):
        if output.name not in (PREDICT, PREDICT_PROBA) or output.name in wanted:
            problem = "asked for twice" if output.name in wanted else "not known"
            raise BadRequest(
                f"Output '{output.name}' is {problem}.",
                where=f"outputs[{index}].name",
                hint=f"Outputs: {PREDICT}, {PREDICT_PROBA}.",
            )
        wanted.append(output.name)
    wanted = wanted or [PREDICT]
    asks = request.parameters is not None and request.parameters.probabilities
    if asks and PREDICT_PROBA not in wanted:
        wanted.append(PREDICT_PROBA)
    return tuple(wanted)


def _place(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's message and path: `Expected `float`, got `str` - at `$[1][3]``."""
    message, _, path = str(error).partition(" - at ")
    return message, path.strip("`").removeprefix("$")
