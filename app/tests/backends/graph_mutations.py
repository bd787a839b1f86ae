"""Damages ONNX graphs and predicts with what the backend still loads: `python graph_mutations.py KIND COUNT`.

A process takes one mutation after the other; where it dies, another one goes on behind that mutation. Prints
one JSON object as mutations.py does.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, numpy_helper

sys.path.insert(0, str(Path(__file__).parent))
from mutations import FINITE, KINDS, LIMIT_S, MEMORY_BYTES, POSITIONS, WIDTH

from skfleet.backends import graph
from skfleet.backends.onnx import OnnxBackend
from skfleet.documents.manifest import Feature
from skfleet_operator.models import compiling

FEATURES = [Feature(name=f"f{i}") for i in range(WIDTH)]
FLOATS = (*FINITE, float("nan"), float("inf"))
INTS = (*POSITIONS, 2**62)
STRINGS = (b"LEAF", b"BRANCH_LEQ", b"SOFTMAX", b"RBF", b"other", b"")
LISTS = {
    AttributeProto.INTS: "ints",
    AttributeProto.FLOATS: "floats",
    AttributeProto.STRINGS: "strings",
}
CHOICES = {"ints": INTS, "floats": FLOATS, "strings": STRINGS}


def graphs(part: Any) -> Iterator[Any]:
    """A graph and all that its nodes hold."""
    yield part
    for node in part.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def damage(data: bytes, chance: random.Random) -> bytes:
    """The graph with one or two of its attributes, tensors, nodes or shapes replaced."""
    model = onnx.load_from_string(data)
    for _ in range(chance.choice((1, 1, 2))):
        part = chance.choice(list(graphs(model.graph)))
        attributes = [(node, a) for node in part.node for a in node.attribute]
        of_models = [a for node, a in attributes if node.domain == "ai.onnx.ml"]
        how = chance.random()
        if how < 0.45 and of_models:
            _damage_attribute(chance.choice(of_models), chance)
        elif how < 0.55 and attributes:
            _damage_attribute(chance.choice(attributes)[1], chance)
        elif how < 0.75 and part.initializer:
            _damage_tensor(chance.choice(part.initializer), chance)
        elif how < 0.85 and part.node:
            node = chance.choice(part.node)  # a cycle, an input of another shape, or none
            names = [name for each in part.node for name in each.output] + ["missing", ""]
            if node.input:
                node.input[chance.randrange(len(node.input))] = chance.choice(names)
        elif how < 0.9 and attributes:
            node, attribute = chance.choice(attributes)
            node.attribute.remove(attribute)
        elif how < 0.95 and part.node:
            del part.node[chance.randrange(len(part.node))]
        elif part.input:
            for dimension in chance.choice(part.input).type.tensor_type.shape.dim:
                dimension.dim_value = chance.choice(POSITIONS)
    changed: bytes = model.SerializeToString()
    return changed


def _damage_attribute(attribute: Any, chance: random.Random) -> None:
    if attribute.type == AttributeProto.INT:
        attribute.i = chance.choice(INTS)
    elif attribute.type == AttributeProto.FLOAT:
        attribute.f = chance.choice(FLOATS)
    elif attribute.type == AttributeProto.STRING:
        attribute.s = chance.choice(STRINGS)
    elif attribute.type == AttributeProto.TENSOR:
        _damage_tensor(attribute.t, chance)
    elif attribute.type in LISTS:
        values = getattr(attribute, LISTS[attribute.type])
        if values and chance.random() < 0.7:
            values[chance.randrange(len(values))] = chance.choice(CHOICES[LISTS[attribute.type]])
        elif chance.random() < 0.7:
            del values[-chance.choice((1, 2, 5)) :]
        else:
            values.extend(list(values))


def _damage_tensor(tensor: Any, chance: random.Random) -> None:
    array = numpy_helper.to_array(tensor).copy()
    how = chance.random()
    if how < 0.5 and array.size and array.dtype.kind in "fiu":
        value = chance.choice(FLOATS if array.dtype.kind == "f" else POSITIONS)
        array.reshape(-1)[chance.randrange(array.size)] = np.asarray(value).astype(array.dtype)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    elif how < 0.65 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice(INTS)
    elif how < 0.8 and array.ndim:
        tensor.CopyFrom(numpy_helper.from_array(array[:-1], tensor.name))
    elif how < 0.9:
        tensor.data_type = chance.choice((1, 6, 7, 9, 11))
    else:
        tensor.raw_data = tensor.raw_data[:-1]


def outcome(path: Path) -> str:
    """answered, refused or raised."""
    manifest: Any = SimpleNamespace(
        name="x", kind="classifier", outputs=[], mixed=False, targets=[], features=FEATURES
    )
    try:
        graph.check(path.read_bytes(), str(path))
        backend = OnnxBackend(path, manifest)
        backend._open()
    except Exception:  # noqa: BLE001 - the backend refuses whatever cannot be read
        return "refused"
    rows = np.random.default_rng(0).normal(3, 3, (200, WIDTH)).tolist()
    try:
        for count in (1, 200):
            backend._session.run(None, backend._feed(rows[:count]))
    except Exception:  # noqa: BLE001 - counted: the process lives, and the caller gets an error
        return "raised"
    return "answered"


def work(data: bytes, seeds: range, pipe: int) -> None:
    """Tell each seed before it is tried, and its outcome."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    path = Path(tempfile.mkdtemp()) / "model.onnx"
    for seed in seeds:
        os.write(pipe, f"{seed} ".encode())
        signal.alarm(LIMIT_S)
        try:
            path.write_bytes(damage(data, random.Random(seed)))  # noqa: S311 - not a secret
            told = outcome(path)
        except (ValueError, TypeError, OverflowError):
            told = "refused"  # the damage of a damage cannot be written
        os.write(pipe, f"{told}\n".encode())
    path.unlink()
    path.parent.rmdir()


def run(data: bytes, count: int) -> dict[str, Any]:
    """Damage this graph `count` times."""
    found = {"answered": 0, "refused": 0, "raised": 0}
    died: list[tuple[int, int]] = []
    start = 0
    while start < count:
        receiving, sending = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(receiving)
            work(data, range(start, count), sending)
            os._exit(0)
        os.close(sending)
        with os.fdopen(receiving) as lines:
            for line in lines:
                seed, _, told = line.strip().partition(" ")
                start = int(seed) + 1
                if told:
                    found[told] += 1
        _, status = os.waitpid(pid, 0)
        if status:
            died.append((start - 1, status))
    return {**found, "died": died}


def form(kind: str) -> bytes:
    """The graph of a kind that onnxruntime can read."""
    fitted = KINDS[kind]()
    for double in (True, False):
        data = compiling.to_onnx(fitted, FEATURES, double)
        if data is not None and can_answer(data):
            return data
    raise SystemExit(f"'{kind}' does not have an ONNX form.")


def can_answer(data: bytes) -> bool:
    """In a process of its own: the threads of onnxruntime must not be in one that forks."""
    pid = os.fork()
    if pid == 0:
        path = Path(tempfile.mkdtemp()) / "model.onnx"
        path.write_bytes(data)
        os._exit(outcome(path) != "answered")
    return os.waitpid(pid, 0)[1] == 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(run(form(sys.argv[1]), int(sys.argv[2]))))  # noqa: T201 - the answer
