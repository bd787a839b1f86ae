"""Tensors of the Open Inference Protocol V2: rows out of inputs, outputs out of answers; JSON and binary.

Binary tensor data: elements little-endian in row-major order; of BYTES each with its length before it, four
bytes, little-endian.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols.rows import RowCheck

HINT = (
    'Send {"inputs": [{"name": "input-0", "shape": [rows, features], "datatype": "FP64", '
    '"data": […]}]}, data flat or one inner list for each row.'
)
INTEGERS = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
}
DATATYPES = (*INTEGERS, "FP32", "FP64")
TEXT = "BYTES"
# Each value of these is a double of the same value.
EXACT = frozenset(DATATYPES) - {"INT64", "UINT64"}
_ELEMENTS = {
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP32": "<f4",
    "FP64": "<f8",
    "BOOL": "|b1",
}

# At import: threads that meet a type first at the same time crash msgspec.
_flat = msgspec.json.Decoder(list[float])
_nested = msgspec.json.Decoder(list[list[float]])
_flat_text = msgspec.json.Decoder(list[str])
_nested_text = msgspec.json.Decoder(list[list[str]])


class Tensor(msgspec.Struct):
    """An input, once its bytes are at hand: `data` is JSON, or `binary` is its part of the body."""

    place: str  # inputs[0]
    name: str
    shape: list[int]
    datatype: str
    data: bytes | None = None
    binary: bytes | None = None


def rows(tensors: Sequence[Tensor], check: RowCheck) -> Any:
    """Rows of shape (n, features), lists or an array: of one tensor with all, or of one a feature."""
    if len(tensors) == 1 and len(check.features) != 1 and not check.mixed:
        return _matrix(tensors[0])
    names = [tensor.name for tensor in tensors]
    if len(tensors) == 1 and len(check.features) == 1 and names != [check.features[0].name]:
        return _matrix(tensors[0])
    if not set(names) & {feature.name for feature in check.features}:
        takes = "one input a feature" if check.mixed else "one"
        raise BadRequest(
            f"The request has {len(tensors)} inputs; the model takes {takes}.",
            where="inputs",
            hint=HINT if not check.mixed else _columns_hint(check),
        )
    check.check_names(names, "inputs")
    by_name = {tensor.name: tensor for tensor in tensors}
    columns = [
        _column(by_name[feature.name], feature.categories is not None) for feature in check.features
    ]
    if len({len(column) for column in columns}) != 1:
        raise BadRequest(
            "The inputs have different numbers of rows.",
            where="inputs",
            hint="Send each column with the same shape, [rows] or [rows, 1].",
        )
    return [list(row) for row in zip(*columns, strict=True)]


def _columns_hint(check: RowCheck) -> str:
    return "One tensor a column, of shape [rows, 1]: " + ", ".join(f.name for f in check.features)


def _matrix(tensor: Tensor) -> Any:
    if tensor.datatype not in DATATYPES:
        raise _unread(tensor, DATATYPES)
    if len(tensor.shape) != 2 or tensor.shape[0] < 0 or tensor.shape[1] < 1:
        raise BadRequest(
            "The shape is not that of rows.",
            where=f"{tensor.place}.shape",
            hint="Send [rows, features].",
        )
    if tensor.binary is not None and tensor.shape[0] and tensor.datatype in EXACT:
        return _binary_array(tensor, *tensor.shape)
    return _values(tensor, *tensor.shape)


def _column(tensor: Tensor, text: bool) -> list[Any]:
    """One column, from shape [n] or [n, 1]."""
    allowed = (TEXT,) if text else DATATYPES
    if tensor.datatype not in allowed:
        raise _unread(tensor, allowed)
    if len(tensor.shape) not in (1, 2) or tensor.shape[0] < 0 or tensor.shape[1:] not in ([], [1]):
        raise BadRequest(
            "The shape is not that of a column.",
            where=f"{tensor.place}.shape",
            hint="Send [rows] or [rows, 1].",
        )
    return [row[0] for row in _values(tensor, tensor.shape[0], 1)]


def _unread(tensor: Tensor, allowed: Sequence[str]) -> BadRequest:
    return BadRequest(
        f"Datatype '{tensor.datatype[:80]}' is not read.",
        where=f"{tensor.place}.datatype",
        hint="Accepted: " + ", ".join(allowed) + ".",
    )


def _values(tensor: Tensor, count: int, width: int) -> list[list[Any]]:
    if count == 0:
        raise InvalidRows("There are no rows to predict.", where=f"{tensor.place}.shape", hint=HINT)
    if tensor.binary is not None:
        found = _from_binary(tensor, count, width)
    else:
        found = _from_json(tensor, count, width)
    if tensor.datatype in INTEGERS:
        _check_integers(found, tensor)
    return found


def _from_json(tensor: Tensor, count: int, width: int) -> list[list[Any]]:
    raw = tensor.data or b""
    text = tensor.datatype == TEXT
    nested = raw.lstrip()[:1] == b"[" and raw.lstrip()[1:].lstrip()[:1] == b"["
    try:
        if nested:
            found: list[list[Any]] = (_nested_text if text else _nested).decode(raw)
            fits = len(found) == count and all(len(row) == width for row in found)
        else:
            flat: list[Any] = (_flat_text if text else _flat).decode(raw)
            fits = len(flat) == count * width
            found = [flat[at : at + width] for at in range(0, len(flat), width)] if fits else []
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at ")
        place = path.strip("`").removeprefix("$")
        if not nested and place:
            row, column = divmod(int(place.strip("[]")), width)
            place = f"[{row}][{column}]"
        raise InvalidRows(
            f"Not rows of {'text' if text else 'numbers'}: {message}.",
            where=f"{tensor.place}.data{place}",
            hint=HINT,
        ) from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise BadRequest("The body is not JSON.", where="body", hint=HINT) from None
    if not fits:
        raise _misfit(tensor, count, width)
    return found


def _misfit(tensor: Tensor, count: int, width: int) -> BadRequest:
    return BadRequest(
        f"The data is not of the shape [{count}, {width}].",
        where=f"{tensor.place}.data",
        hint="Send as many numbers as the shape says, flat or one inner list for each row.",
    )


def _from_binary(tensor: Tensor, count: int, width: int) -> list[list[Any]]:
    binary = tensor.binary or b""
    if tensor.datatype == TEXT:
        flat = _texts(binary, tensor)
        if len(flat) != count * width:
            raise _misfit(tensor, count, width)
        return [flat[at : at + width] for at in range(0, len(flat), width)]
    found: list[list[Any]] = _binary_array(tensor, count, width).tolist()
    return found


def _binary_array(tensor: Tensor, count: int, width: int) -> Any:
    """Doubles over the body's own bytes where they are doubles."""
    import numpy as np  # an image's own service has none, and no model to answer

    binary = tensor.binary or b""
    dtype = np.dtype(_ELEMENTS[tensor.datatype])
    if len(binary) != count * width * dtype.itemsize:
        raise _misfit(tensor, count, width)
    values = np.frombuffer(binary, dtype).reshape(count, width)
    return values.astype(np.float64, copy=False)


def _texts(binary: bytes, tensor: Tensor) -> list[str]:
    found: list[str] = []
    at = 0
    try:
        while at < len(binary):
            (length,) = struct.unpack_from("<I", binary, at)
            at += 4 + length
            if at > len(binary):
                raise ValueError
            found.append(binary[at - length : at].decode())
    except (ValueError, struct.error):
        raise BadRequest(
            f"Element {len(found)} is cut short, or no UTF-8.",
            where=f"{tensor.place}.data",
            hint="Each element: its length as four bytes, little-endian, then its UTF-8 bytes.",
        ) from None
    return found


def _check_integers(found: list[list[Any]], tensor: Tensor) -> None:
    low, high = INTEGERS[tensor.datatype]
    for row, values in enumerate(found):
        for column, value in enumerate(values):
            if not (low <= value <= high and value == int(value)):
                raise InvalidRows(
                    f"The value {value:g} is no {tensor.datatype}.",
                    where=f"{tensor.place}.data[{row}][{column}]",
                    hint="Send whole numbers in its range, or FP64.",
                )


def datatype_of(values: Sequence[Any]) -> str:
    """The datatype that holds all of these labels; BYTES where they are of several kinds."""
    kinds = {type(value) for value in values}
    if kinds <= {bool}:
        return "BOOL"
    if kinds <= {int}:
        return "INT64"
    return "FP64" if kinds <= {int, float} else TEXT


def flatten(values: Sequence[Any], datatype: str) -> list[Any]:
    """Values of one or two dimensions in row-major order, as JSON of this datatype has them."""
    flat = (
        list(itertools.chain.from_iterable(values))
        if values and isinstance(values[0], (list, tuple))
        else list(values)
    )
    return [str(value) for value in flat] if datatype == TEXT else flat


def to_binary(flat: Sequence[Any], datatype: str) -> bytes:
    """The bytes of a flat tensor."""
    if datatype == TEXT:
        encoded = [str(value).encode() for value in flat]
        return b"".join(struct.pack("<I", len(text)) + text for text in encoded)
    import numpy as np

    return np.asarray(flat, dtype=_ELEMENTS[datatype]).tobytes()
