"""Rows and labels as NumPy writes them to a file: `application/x-npy` in, `application/x-npy` out.

In: one array of numbers, shape (n, features). Out: the labels, shape (n,), or (n, outputs). Nothing is ever
unpickled: arrays of objects are refused.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Any

from skfleet.serving.errors import BadRequest, InvalidRows
from skfleet.serving.protocols.rows import RowCheck

CONTENT_TYPE = "application/x-npy"
HINT = "Send what numpy.save writes of an array of numbers of shape (rows, features)."
NUMBERS = "iuf"  # kinds of dtype
HEADS = 64  # NumPy refuses heads above 10 KB


def parse(body: bytes, check: RowCheck) -> Any:
    """The rows as an array of doubles, checked; raises BadRequest or InvalidRows."""
    rows = _array(body)
    if check.mixed:
        raise BadRequest(
            "The model takes text, which this form has not.",
            where="body",
            hint="Send JSON.",
        )
    if rows.ndim != 2 or rows.dtype.kind not in NUMBERS:
        raise BadRequest(
            f"The array has {rows.ndim} dimensions of type {rows.dtype.name[:80]}.",
            where="body",
            hint=HINT,
        )
    if not len(rows):
        raise InvalidRows("There are no rows to predict.", where="body", hint=HINT)
    found = check.as_array(rows)
    if found is None:
        check.refuse(rows.tolist(), "[{row}]")
    return found


def _array(body: bytes) -> Any:
    """The array over the body's own bytes; its size is compared with them before anything is made."""
    import numpy as np  # an image's own service has none, and no model to answer

    try:
        head = body[: _head_bytes(body)]
        shape, by_column, dtype = _read_head(head)
        count = 1
        for size in shape:
            count *= size
        if (
            dtype.hasobject
            or count * dtype.itemsize != len(body) - len(head)
            or min(shape, default=1) < 0
        ):
            raise ValueError
        flat = np.frombuffer(body, dtype, count, len(head))
        return flat.reshape(shape, order="F" if by_column else "C")
    except Exception:  # noqa: BLE001 - NumPy evaluates a Python literal: what that raises has no list
        raise BadRequest("The body is not one array of numbers.", where="body", hint=HINT) from None


def _head_bytes(body: bytes) -> int:
    """Where the array's bytes begin: after the magic string, the version and a header of told length."""
    size = 2 if body[6:7] == b"\1" else 4
    return 8 + size + int.from_bytes(body[8 : 8 + size], "little")


@functools.lru_cache(maxsize=HEADS)
def _read_head(head: bytes) -> tuple[tuple[int, ...], bool, Any]:
    """(shape, by column, dtype); a client's arrays of one shape have one head, read once."""
    from numpy.lib import format as npy

    file = io.BytesIO(head)
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_column, dtype = read(file)
    return shape, by_column, dtype


def answer(labels: Sequence[Any]) -> bytes:
    """The labels as numpy.save writes them."""
    import numpy as np

    file = io.BytesIO()
    np.save(file, np.asarray(labels), allow_pickle=False)
    return file.getvalue()
