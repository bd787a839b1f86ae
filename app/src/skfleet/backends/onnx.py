"""Models compiled to ONNX: trees, pipelines and whatever else skl2onnx can say, without scikit-learn.

File `model.onnx`. Rows of numbers go in as one tensor, mixed rows as one tensor a column. The session is
opened by whoever asks first: onnxruntime starts a thread when it is imported, and must not be in a process
that forks.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from skfleet import allocator
from skfleet.backends.base import Rows
from skfleet.backends.floats import FloatRange
from skfleet.documents.manifest import Manifest
from skfleet.errors import IntegrityError, VersionMismatch

FILE_NAME = "model.onnx"
_DTYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(string)": object}


class OnnxBackend:
    """Answers by onnxruntime, one thread."""

    name = "onnx"

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self._path = path
        self._manifest = manifest
        self._sizes = [len(target.classes) for target in manifest.targets]
        self._range = FloatRange(manifest)
        self._boolean = any(type(c) is bool for t in manifest.targets for c in t.classes)
        self._lock = threading.Lock()
        self._session: Any = None

    def predict(self, rows: Rows) -> list[Any]:
        """Labels, shape (n,) or (n, outputs)."""
        session = self._session or self._open()
        labels = session.run(self._outputs[:1], self._feed(rows))[0]
        if not self._manifest.outputs:
            labels = labels.reshape(len(rows))
        if self._manifest.kind == "regressor":
            labels = labels.astype(np.float64)
        elif self._boolean:
            labels = labels.astype(bool)
        result: list[Any] = labels.tolist()
        return result

    def predict_proba(self, rows: Rows) -> list[list[float]]:
        """Probabilities, shape (n, classes of all outputs)."""
        session = self._session or self._open()
        values = session.run(self._outputs[1:2], self._feed(rows))[0]
        if self._manifest.outputs:  # one array an output, padded where they are stacked
            values = np.hstack([a[:, :n] for a, n in zip(values, self._sizes, strict=True)])
        result: list[list[float]] = values.tolist()
        return result

    def _feed(self, rows: Rows) -> dict[str, Any]:
        self._range.check(rows)
        if self._single:
            name, dtype = self._inputs[0]
            return {name: np.asarray(rows, dtype=dtype)}
        columns = zip(*rows, strict=True)
        return {
            name: np.asarray(column, dtype=dtype).reshape(-1, 1)
            for (name, dtype), column in zip(self._inputs, columns, strict=True)
        }

    def _open(self) -> Any:
        with self._lock:
            if self._session is None:
                self._session = self._make()
            return self._session

    def _make(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # it keeps what the largest batch needed
        options.log_severity_level = 3  # warnings name no remedy
        try:
            session = onnxruntime.InferenceSession(
                str(self._path), options, providers=["CPUExecutionProvider"]
            )
            self._inputs = [(item.name, _DTYPES[item.type]) for item in session.get_inputs()]
        except Exception as error:  # its exceptions have no common root
            raise IntegrityError(
                f"The ONNX form of model '{self._manifest.name}' cannot be read: {error}.",
                where=str(self._path),
                hint="Publish the model again.",
            ) from error
        allocator.give_back()  # what reading the graph took: 25 MB a worker for a forest of 100 trees
        self._single = len(self._inputs) == 1 and not self._manifest.mixed
        self._outputs = [item.name for item in session.get_outputs()]
        return session


def load(directory: Path, manifest: Manifest) -> OnnxBackend:
    """The backend from `model.onnx`; VersionMismatch where this build has no onnxruntime."""
    from importlib.util import find_spec

    if find_spec("onnxruntime") is None:
        raise VersionMismatch(
            "This app build has no onnxruntime.",
            where=manifest.name,
            hint="Publish a build that has it: `skfleet app publish --with onnx`.",
        )
    return OnnxBackend(directory / FILE_NAME, manifest)
