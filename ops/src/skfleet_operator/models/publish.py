"""Making a model artefact, proving it, and publishing it so that it can never change.

Local form: a directory with `manifest.json` and the files it names. In the bucket the same below
`models/<name>/<sha256 of manifest.json>/`, every object create-only, the manifest last, then
`latest.json` by compare-and-swap. A publisher that dies at any point can simply start over.
"""

from __future__ import annotations

import importlib.metadata
import platform
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import sklearn
import skops

from skfleet import documents
from skfleet.artifacts.directory import read_manifest
from skfleet.artifacts.fetch import model_resources
from skfleet.artifacts.signing import MODEL_SIGNATURE
from skfleet.artifacts.store import Store, Stored, crc32c
from skfleet.backends.base import Rows, load_model
from skfleet.documents.manifest import (
    FILE_NAME,
    Feature,
    FileEntry,
    Golden,
    Label,
    Latest,
    Manifest,
    Output,
)
from skfleet.documents.release import Pin
from skfleet.errors import DocumentError, SkfleetError
from skfleet_operator import outputs
from skfleet_operator.models import compiling
from skfleet_operator.models.proving import Reference, prove, with_proofs

MIN_GOLDEN = 100
# Of one answer: real data may hardly hold rows of a rare class.
MAX_SHARE = 0.75


def write_artefact(
    directory: Path,
    *,
    name: str,
    estimator: Any,
    features: Sequence[Feature],
    golden_rows: Rows | npt.NDArray[Any],
    sample: Rows | None = None,
    output_names: Sequence[str] = (),
    metrics: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    extra: Mapping[str, bytes] | None = None,
) -> Manifest:
    """Write a fitted estimator as an artefact; `golden_rows` has shape (≥ 100, features).

    `sample`: rows whose values the random rows of the proof are drawn from; without it, the features' ranges.
    `extra`: further files of the artefact by name, for people.
    `directory` is new, empty, or holds an artefact, whose files alone are replaced; raises Refused elsewhere.
    Every backend listed in the manifest has reproduced the golden vectors and the random rows here, against
    the estimator as it was given; the fastest comes first.
    """
    outputs.check(directory, own_files)
    check_width(estimator, len(features))
    reference = Reference(estimator, features)
    rows = (
        golden_rows.tolist()
        if isinstance(golden_rows, np.ndarray)
        else [list(row) for row in golden_rows]
    )
    several, classes = _outputs(estimator, reference.number, output_names)
    draft = Manifest(
        name=name,
        kind="regressor" if reference.number else "classifier",
        created_at=documents.now(),
        estimator=describe(estimator),
        backends=[],
        files=[],
        versions=versions(),
        features=list(features),
        classes=classes,
        outputs=several,
        golden=_golden(reference, rows),
        metrics=metrics or {},
        training=training or {},
    )
    with outputs.filling(directory, own_files) as scratch:
        proofs = prove(scratch, draft, estimator, reference, sample)
        for file, content in (extra or {}).items():
            (scratch / file).write_bytes(content)
        manifest = msgspec.structs.replace(
            with_proofs(draft, proofs),
            files=[_file_entry(path) for path in sorted(scratch.iterdir())],
        )
        (scratch / FILE_NAME).write_bytes(documents.write(manifest))
    return manifest


def own_files(directory: Path) -> list[str]:
    """The names of an artefact's files, its manifest's last; empty if the manifest is missing or invalid."""
    try:
        manifest, _ = read_manifest(directory)
    except SkfleetError:
        return []
    return [*(entry.name for entry in manifest.files), FILE_NAME]


def check_width(estimator: Any, width: int) -> None:
    """Raise DocumentError where an estimator was fitted on another number of columns."""
    fitted = getattr(estimator, "n_features_in_", width)
    if fitted != width:
        raise DocumentError(
            f"The estimator was fitted on {fitted} columns, and {width} features are described.",
            where="features",
            hint="Describe every column, in the order of training.",
        )


def versions() -> dict[str, str]:
    """What a model depends on, as it is here."""
    found = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "skops": skops.__version__,
    }
    for package in ("onnxruntime", "skl2onnx"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def describe(estimator: Any) -> str:
    """The class, of a pipeline all its steps: for people."""
    steps = getattr(estimator, "steps", None)
    if steps is None:
        return type(estimator).__name__
    return "+".join("passthrough" if isinstance(s, str) else describe(s) for _, s in steps)


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
    store.sign(f"{root}/{MODEL_SIGNATURE}", model_resources(model.manifest, model.digest))
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


def _outputs(
    estimator: Any, number: bool, names: Sequence[str]
) -> tuple[list[Output], list[Label]]:
    """(outputs of a model with several, classes of a classifier with one)."""
    if number:
        count = _regressor_outputs(estimator)
        classes: list[Any] = [[]] * count
        if count == 1:
            return [], []
    else:
        found = estimator.classes_
        if not isinstance(found, list) and np.ndim(found[0]) == 0:
            return [], [compiling.plain_label(label) for label in found]
        classes = [[compiling.plain_label(label) for label in each] for each in found]
    if names and len(names) != len(classes):
        raise DocumentError(
            f"The model answers {len(classes)} outputs, and {len(names)} are named.",
            where="output_names",
            hint="Name each output once, in order.",
        )
    names = names or [f"y{i}" for i in range(len(classes))]
    return [Output(name=n, classes=c) for n, c in zip(names, classes, strict=True)], []


def _regressor_outputs(estimator: Any) -> int:
    last = estimator.steps[-1][1] if hasattr(estimator, "steps") else estimator
    if hasattr(last, "n_outputs_"):
        return int(last.n_outputs_)
    if hasattr(last, "estimators_") and type(last).__name__ == "MultiOutputRegressor":
        return len(last.estimators_)
    intercept = getattr(last, "intercept_", 0.0)
    coefficients = getattr(last, "coef_", np.zeros(1))
    return len(coefficients) if np.ndim(coefficients) == 2 else max(1, np.size(intercept))


def _golden(reference: Reference, rows: list[list[Any]]) -> Golden:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        labels, probabilities = reference(rows)
    counts = Counter(map(str, labels))
    largest = max(counts.values(), default=0)
    if len(rows) < MIN_GOLDEN or largest > max(len(rows) / 2 + 1, len(rows) * MAX_SHARE):
        raise DocumentError(
            f"Golden vectors need at least {MIN_GOLDEN} rows, about as many of each predicted class; "
            f"these are {dict(counts.most_common(10))}.",
            where="golden_rows",
            hint="Choose rows by predicted class: one that answers a constant must not look right.",
        )
    return Golden(rows=rows, labels=labels, probabilities=probabilities)


def _file_entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(
        name=path.name, sha256=documents.sha256(data), size=len(data), crc32c=crc32c(data)
    )
