"""The backend interface, and loading a verified artefact directory into a model that answers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skfleet.artifacts.directory import read_manifest, verify_files
from skfleet.backends.apart import Proof
from skfleet.backends.compare import first_difference
from skfleet.documents.manifest import TOLERANCES, Manifest
from skfleet.errors import IntegrityError, VersionMismatch

Rows = Sequence[Sequence[Any]]

# Their libraries start threads when they are imported, and a fork takes no thread along.
AFTER_FORK = frozenset({"onnx"})
# Compiled code answers: what it does with a damaged file must not happen to a command's own process.
COMPILED = frozenset({"onnx", "sklearn"})


class Backend(Protocol):
    """Answers rows of shape (n, features), which were checked against the manifest's features."""

    name: str

    def predict(self, rows: Rows) -> list[Any]:
        """Labels or numbers, shape (n,), or (n, outputs) of a model with several outputs."""

    def predict_proba(self, rows: Rows) -> list[list[float]]:
        """Probabilities, shape (n, classes): of all outputs, each in the order of its classes.

        Not to be called where the manifest has no probabilities.
        """


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to answer: proven against its golden vectors in this process."""

    name: str
    digest: str  # sha256 of its manifest
    manifest: Manifest
    backend: Backend


def load_model(directory: Path) -> Model:
    """Load the first backend of the manifest that this host can run and that answers right.

    The files' checksums are verified again here: what is preloaded is what was published.
    Raises IntegrityError, VersionMismatch or DocumentError; the caller decides what to serve.
    """
    return begin_load(directory, before_fork=False)()


def begin_load(directory: Path, *, before_fork: bool) -> Callable[[], Model]:
    """As load_model, in two steps; the second is the function returned, which raises what load_model does.

    `before_fork`: a backend whose library may not be loaded in a process that forks is proven in a process
    of its own, which goes on beside the caller, and is opened by whoever asks it first, after the fork.
    Otherwise all backends of compiled code are proven that way. A service on a VM has no memory for two of
    the others.
    """
    manifest, digest = read_manifest(directory)
    verify_files(directory, manifest)
    apart = AFTER_FORK if before_fork else COMPILED
    first = next(iter(manifest.backends), "")
    begun = {first: Proof(first, directory)} if first in apart else {}

    def finish() -> Model:
        failures: list[str] = []
        for name in manifest.backends:
            try:
                if name in apart:
                    (begun.get(name) or Proof(name, directory)).result()
                backend = open_backend(name, directory, manifest)
                if name not in apart:
                    verify_golden(backend, manifest)
            except (VersionMismatch, ImportError) as error:
                # Not for this host; wrong answers are no such case, they refuse the model.
                failures.append(f"{name}: {error}")
                continue
            return Model(manifest.name, digest, manifest, backend)
        raise VersionMismatch(
            f"No backend of model '{manifest.name}' can run here: " + "; ".join(failures),
            where=str(directory),
            hint="Publish the model again with this app build's versions.",
        )

    return finish


def open_backend(name: str, directory: Path, manifest: Manifest) -> Backend:
    """The backend by name; its libraries are imported only here."""
    if name not in TOLERANCES:
        raise VersionMismatch(
            f"Backend '{name}' is not known to this build.",
            where=manifest.name,
            hint="Roll out an app build that has it.",
        )
    module = importlib.import_module(f"skfleet.backends.{name}")
    backend: Backend = module.load(directory, manifest)
    return backend


def verify_golden(backend: Backend, manifest: Manifest) -> None:
    """The backend gives the published labels, and numbers within its tolerance."""
    golden = manifest.golden
    tolerance = TOLERANCES[backend.name]
    labels = backend.predict(golden.rows)
    probabilities = backend.predict_proba(golden.rows) if manifest.has_probabilities else []
    index, worst = first_difference(
        (labels, probabilities), (golden.labels, golden.probabilities), tolerance
    )
    if index is not None:
        raise IntegrityError(
            f"Golden vector {index} of '{manifest.name}' answers {labels[index]}, expected "
            f"{golden.labels[index]} (largest difference of a number {worst:.2g}).",
            where=f"backend {backend.name}",
            hint="The model or its backend changed its answers; do not serve it.",
        )
