"""Making a model artefact, proving it, and publishing it so that it can never change.

Local form: a directory with `manifest.json` and the files it names. In the bucket the same below
`models/<name>/<sha256 of manifest.json>/`, every object create-only, the manifest last, then
`latest.json` by compare-and-swap. A publisher that dies at any point can simply start over.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
import skops
import skops.io

from skfleet import documents
from skfleet.artifacts.manifest import FILE_NAME, Feature, FileEntry, Golden, Latest, Manifest
from skfleet.artifacts.store import Store, Stored, crc32c
from skfleet.backends import linear
from skfleet.backends import sklearn as sklearn_backend
from skfleet.backends.base import load_model, open_backend, verify_golden
from skfleet.errors import DocumentError
from skfleet.releases.release import Pin

MIN_GOLDEN = 100


def write_artefact(
    directory: Path,
    *,
    name: str,
    estimator: Any,
    features: Sequence[Feature],
    golden_rows: npt.NDArray[np.float64],
    metrics: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
) -> Manifest:
    """Write a fitted classifier as an artefact; `golden_rows` has shape (≥ 100, features).

    Every backend listed in the manifest has reproduced the golden vectors here.
    """
    golden = _golden(estimator, golden_rows)
    directory.mkdir(parents=True, exist_ok=True)
    for old in directory.iterdir():
        old.unlink()
    skops.io.dump(estimator, directory / sklearn_backend.FILE_NAME)
    backends = ["sklearn"]
    compiled = linear.compile_estimator(estimator)
    if compiled is not None:
        (directory / linear.FILE_NAME).write_bytes(compiled)
        backends.insert(0, "linear")
    manifest = Manifest(
        name=name,
        created_at=documents.now(),
        estimator=type(estimator).__name__,
        backends=backends,
        files=[_file_entry(path) for path in sorted(directory.iterdir())],
        versions={
            "python": platform.python_version(),
            "numpy": np.__version__,
            "scikit-learn": sklearn.__version__,
            "skops": skops.__version__,
        },
        features=list(features),
        classes=[int(label) for label in estimator.classes_],
        golden=golden,
        metrics=metrics or {},
        training=training or {},
    )
    for backend in backends:
        verify_golden(open_backend(backend, directory, manifest), manifest)
    (directory / FILE_NAME).write_bytes(documents.write(manifest))
    return manifest


def publish(store: Store, bucket: str, directory: Path, by: str) -> Latest:
    """Upload a proven artefact and make it the default of its name; `bucket` is `gs://…`."""
    model = load_model(directory)
    root = f"{bucket}/models/{model.name}/{model.digest}"
    for entry in model.manifest.files:
        store.create(f"{root}/{entry.name}", (directory / entry.name).read_bytes())
    manifest_uri = f"{root}/{FILE_NAME}"
    generation = store.create(
        manifest_uri, (directory / FILE_NAME).read_bytes(), content_type="application/json"
    )
    latest = Latest(
        name=model.name,
        manifest=Pin(uri=manifest_uri, generation=generation, sha256=model.digest),
        published_at=documents.now(),
        published_by=by,
    )

    def move(_: Stored | None) -> bytes:
        return documents.write(latest)

    store.update(f"{bucket}/models/{model.name}/latest.json", move)
    return latest


def _golden(estimator: Any, rows: npt.NDArray[np.float64]) -> Golden:
    labels = estimator.predict(rows)
    counts = {int(label): int((labels == label).sum()) for label in estimator.classes_}
    if len(rows) < MIN_GOLDEN or max(counts.values()) - min(counts.values()) > 1:
        raise DocumentError(
            f"Golden vectors need at least {MIN_GOLDEN} rows, as many of each predicted class; "
            f"these are {counts}.",
            where="golden_rows",
            hint="Choose rows by predicted class: one that answers a constant must not look right.",
        )
    return Golden(
        rows=rows.tolist(),
        labels=[int(label) for label in labels],
        probabilities=estimator.predict_proba(rows).tolist(),
    )


def _file_entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(
        name=path.name, sha256=documents.sha256(data), size=len(data), crc32c=crc32c(data)
    )
