"""Checks an ONNX graph for what onnxruntime accepts and a service must not run.

onnxruntime verifies shapes, lengths of attributes and most positions when it reads a graph. It does not
verify that every path through a tree ends and that numbers are finite, it reads tensors of other files, and
it runs loops. `check` raises IntegrityError for these. The fields are a part of ONNX's own `onnx.proto`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from skfleet.errors import IntegrityError

_HINT = "Do not use the file; train or import the model again."
_FIELD = descriptor_pb2.FieldDescriptorProto
_BYTES, _FLOAT, _DOUBLE, _INT = (
    _FIELD.TYPE_BYTES, _FIELD.TYPE_FLOAT, _FIELD.TYPE_DOUBLE, _FIELD.TYPE_INT64
)  # fmt: skip
# Message → field → (number, type: a message by its name, whether it is repeated).
_SCHEMA: dict[str, dict[str, tuple[int, int | str, bool]]] = {
    "Model": {"graph": (7, "Graph", False), "functions": (25, "Function", True)},
    "Graph": {
        "node": (1, "Node", True),
        "initializer": (5, "Tensor", True),
        "sparse_initializer": (15, "Sparse", True),
    },
    "Sparse": {"values": (1, "Tensor", False), "indices": (2, "Tensor", False)},
    "Function": {"node": (7, "Node", True)},
    "Node": {
        "op_type": (4, _BYTES, False),
        "domain": (7, _BYTES, False),
        "attribute": (5, "Attribute", True),
    },
    "Attribute": {
        "name": (1, _BYTES, False),
        "t": (5, "Tensor", False),
        "g": (6, "Graph", False),
        "floats": (7, _FLOAT, True),
        "ints": (8, _INT, True),
        "strings": (9, _BYTES, True),
        "tensors": (10, "Tensor", True),
        "graphs": (11, "Graph", True),
    },
    "Tensor": {
        "data_type": (2, _INT, False),
        "float_data": (4, _FLOAT, True),
        "raw_data": (9, _BYTES, False),
        "double_data": (10, _DOUBLE, True),
        "data_location": (14, _INT, False),
    },
}
_TENSOR_TYPES: dict[int, Any] = {1: np.dtype("<f4"), 11: np.dtype("<f8")}
_TREES = (b"TreeEnsembleClassifier", b"TreeEnsembleRegressor")
_NUMERIC = (
    *_TREES,
    *(b"LinearClassifier", b"LinearRegressor", b"SVMClassifier", b"SVMRegressor", b"Scaler"),
)
# Loops need no end; the other form of trees is one that no converter of ours writes.
_REFUSED = (b"Loop", b"TreeEnsemble")


class _Invalid(Exception):
    """A graph that must not run."""


def check(data: bytes, where: str) -> None:
    """Raise IntegrityError unless every node of the graph, its functions and subgraphs is sound."""
    try:
        model = _MODEL.FromString(data)
        for tensor in _tensors(model):
            if tensor.data_location:
                raise _Invalid("a tensor is in another file")
        for node in _nodes(model):
            name = node.op_type.decode(errors="replace")
            try:
                _node(node)
            except _Invalid as error:
                raise _Invalid(f"{name}: {error}") from None
    except (_Invalid, DecodeError, KeyError, ValueError) as error:
        raise IntegrityError(f"Invalid ONNX graph: {error}.", where=where, hint=_HINT) from None


def _node(node: Any) -> None:
    if node.op_type in _REFUSED:
        raise _Invalid("this build does not run it")
    if node.op_type not in _NUMERIC:
        return
    attributes = {attribute.name: attribute for attribute in node.attribute}
    for name, attribute in attributes.items():
        numbers = _numbers(attribute)
        # A threshold may be infinite: all rows go one way, or missing values alone the other.
        is_threshold = name.startswith(b"nodes_values")
        if np.isnan(numbers).any() or (not is_threshold and np.isinf(numbers).any()):
            raise _Invalid(f"{name.decode()} are not finite numbers")
    if node.op_type in _TREES:
        _tree(attributes)


def _tree(attributes: dict[bytes, Any]) -> None:
    """Each child comes after its parent and has no other: no path is endless, none is copied."""

    def positions(name: bytes) -> Any:
        found = np.array(attributes[name].ints, dtype=np.int64)
        if len(found) != len(inner):
            raise _Invalid(f"{name.decode()} are of other nodes")
        if ((found < 0) | (found >= 1 << 31)).any():
            raise _Invalid(f"{name.decode()} are not positions")
        return found

    modes = attributes[b"nodes_modes"].strings
    inner = np.fromiter((mode != b"LEAF" for mode in modes), dtype=bool, count=len(modes))
    trees = positions(b"nodes_treeids") << 32
    keys = trees + positions(b"nodes_nodeids")
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    if (ordered[1:] == ordered[:-1]).any():
        raise _Invalid("a node is there twice")
    parents = np.flatnonzero(inner)
    children = []
    for name in (b"nodes_truenodeids", b"nodes_falsenodeids"):
        wanted = (trees + positions(name))[parents]
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        found = order[place]
        if (ordered[place] != wanted).any() or (found <= parents).any():
            raise _Invalid("a child is missing or comes before its parent")
        children.append(found)
    if len(np.unique(np.concatenate(children))) != 2 * len(parents):
        raise _Invalid("a node has two parents")


def _numbers(attribute: Any) -> Any:
    tensor = attribute.t
    parts = [attribute.floats, tensor.float_data, tensor.double_data]
    if tensor.data_type in _TENSOR_TYPES:
        parts.append(np.frombuffer(tensor.raw_data, dtype=_TENSOR_TYPES[tensor.data_type]))
    return np.concatenate([np.asarray(part, dtype=np.float64) for part in parts])


def _nodes(model: Any) -> Iterator[Any]:
    waiting = [model.graph, *model.functions]
    while waiting:
        for node in waiting.pop().node:
            yield node
            for attribute in node.attribute:
                waiting.extend([attribute.g, *attribute.graphs])


def _tensors(model: Any) -> Iterator[Any]:
    graphs = [model.graph]
    for node in _nodes(model):
        for attribute in node.attribute:
            yield attribute.t
            yield from attribute.tensors
            graphs.extend([attribute.g, *attribute.graphs])
    for graph in graphs:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices


def _message() -> Any:
    """The class of a model, which knows these fields and skips all others."""
    file = descriptor_pb2.FileDescriptorProto(
        name="skfleet_onnx.proto", package="skfleet_onnx", syntax="proto2"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            message.field.add(
                name=field,
                number=number,
                label=_FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL,
                **(
                    {"type": _FIELD.TYPE_MESSAGE, "type_name": f".skfleet_onnx.{kind}"}
                    if isinstance(kind, str)
                    else {"type": kind}
                ),
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("skfleet_onnx.Model"))


_MODEL = _message()
