"""Which backends a model gets: those that answer 10,000 random rows as scikit-learn does, fastest first."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from skfleet.backends import linear, onnx
from skfleet.backends import sklearn as sklearn_backend
from skfleet.backends.base import Backend, Rows, open_backend, verify_golden
from skfleet.backends.compare import first_difference
from skfleet.documents.manifest import TOLERANCES, Feature, Manifest, Proof
from skfleet.errors import DocumentError, SkfleetError
from skfleet_operator.models import compiling

PROOF_ROWS = 10_000
TIMED_S = 0.2  # of measuring a backend's single-row prediction
UNBOUNDED = 10.0  # random numbers for a feature without a range, standard deviations
SEED = 2013

Answers = tuple[list[Any], list[list[float]]]


class Reference:
    """The estimator as it was given: what it answers is right by definition."""

    def __init__(self, estimator: Any, features: Sequence[Feature]) -> None:
        self._estimator = estimator
        names = getattr(estimator, "feature_names_in_", None)
        self._names = None if names is None else [str(name) for name in names]
        self._mixed = any(feature.categories is not None for feature in features)
        self.number = _is_regressor(estimator)
        self._probabilities = not self.number and hasattr(estimator, "predict_proba")

    def __call__(self, rows: Rows) -> Answers:
        """(labels, probabilities) with the shapes of a manifest's golden vectors."""
        values: Any = np.asarray(rows, dtype=object if self._mixed else np.float64)
        if self._names is not None:
            import pandas as pd

            values = pd.DataFrame(values, columns=self._names).infer_objects()
        found = np.asarray(self._estimator.predict(values))
        if self.number:
            labels = found.astype(np.float64).tolist()
        else:
            labels = [
                [compiling.plain_label(item) for item in label]
                if isinstance(label, np.ndarray)
                else compiling.plain_label(label)
                for label in found
            ]
        chances: Any = self._estimator.predict_proba(values) if self._probabilities else []
        if isinstance(chances, list):
            chances = np.hstack(chances) if chances else np.empty((0, 0))
        return labels, chances.tolist()


def random_rows(
    features: Sequence[Feature], sample: Rows | None, count: int = PROOF_ROWS
) -> list[list[Any]]:
    """Rows of every feature drawn by itself, from a sample's values and around them, or from its range."""
    generator = np.random.default_rng(SEED)
    columns = [
        _random_column(feature, None if sample is None else [row[i] for row in sample],
                       count, generator)
        for i, feature in enumerate(features)
    ]  # fmt: skip
    return [list(row) for row in zip(*columns, strict=True)]


def _random_column(
    feature: Feature, seen: list[Any] | None, count: int, generator: np.random.Generator
) -> list[Any]:
    if feature.categories is not None:
        choice = generator.integers(0, len(feature.categories), count)
        return [feature.categories[i] for i in choice]
    low, high = feature.low, feature.high
    if feature.integer and high - low < 2**31:
        whole: list[Any] = generator.integers(int(low), int(high) + 1, count).astype(float).tolist()
        return whole
    values: Any
    if seen:
        drawn = generator.choice(np.asarray(seen, dtype=float), count)
        spread = float(np.ptp(np.asarray(seen, dtype=float))) or 1.0
        around = drawn + generator.normal(0, 0.1 * spread, count)
        values = np.where(generator.random(count) < 0.5, drawn, around)
    elif high - low < 1e12:
        values = generator.uniform(low, high, count)
    else:
        values = generator.normal(0, UNBOUNDED, count)
    values = np.clip(values, low, high)
    if feature.integer:
        values = np.round(values)
    result: list[Any] = values.tolist()
    return result


def prove(
    directory: Path,
    manifest: Manifest,
    estimator: Any,
    reference: Reference,
    sample: Rows | None,
) -> list[Proof]:
    """Write the form of each backend that proves itself into `directory`; what each one showed.

    Raises DocumentError where none does: a model that no backend answers as it was trained is no model.
    """
    rows = random_rows(manifest.features, sample)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        right = reference(rows)
    proofs = [
        _try(name, directory / file, forms, manifest, rows, right)
        for name, file, forms in _candidates(estimator, manifest.features)
    ]
    if all(proof.refused for proof in proofs):
        raise DocumentError(
            "No backend answers as the estimator does: "
            + "; ".join(f"{proof.backend}: {proof.refused}" for proof in proofs),
            where=manifest.name,
            hint="Estimators of scikit-learn alone can be served; code of your own cannot.",
        )
    return sorted(proofs, key=lambda proof: (bool(proof.refused), proof.us_per_row))


def _candidates(
    estimator: Any, features: Sequence[Feature]
) -> list[tuple[str, str, Iterable[bytes | None]]]:
    """(backend, file, its possible forms, best first); a form is made when it is asked for."""
    import skops.io

    plain = compiling.positional(estimator)
    found: list[tuple[str, str, Iterable[bytes | None]]] = [
        ("sklearn", sklearn_backend.FILE_NAME, [skops.io.dumps(plain)])
    ]
    coefficients = compiling.to_linear(plain)
    if coefficients is not None:
        found.append(("linear", linear.FILE_NAME, [coefficients]))
    else:
        graphs = (compiling.to_onnx(plain, features, double) for double in (True, False))
        found.append(("onnx", onnx.FILE_NAME, graphs))
    return found


def _try(
    name: str,
    path: Path,
    forms: Iterable[bytes | None],
    manifest: Manifest,
    rows: list[list[Any]],
    right: Answers,
) -> Proof:
    failure, largest = "it has no form of this estimator", 0.0
    for data in forms:
        if data is None:
            continue
        path.write_bytes(data)
        try:
            backend = open_backend(name, path.parent, manifest)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                verify_golden(backend, manifest)
                chances = backend.predict_proba(rows) if manifest.has_probabilities else []
                wrong, largest = first_difference(
                    (backend.predict(rows), chances), right, TOLERANCES[name]
                )
                if wrong is None:
                    return Proof(
                        backend=name,
                        rows=len(rows),
                        largest=largest,
                        us_per_row=round(_time(backend, manifest), 2),
                    )
            failure = f"random row {wrong} differs (largest difference {largest:.2g})"
        except (SkfleetError, ImportError) as error:
            failure = error.message if isinstance(error, SkfleetError) else str(error)
        except Exception as error:  # noqa: BLE001 - a form that does not run is one that is refused
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
        path.unlink()
    return Proof(backend=name, rows=len(rows), largest=largest, us_per_row=0.0, refused=failure)


def _time(backend: Backend, manifest: Manifest) -> float:
    """µs of one single-row prediction: the median."""
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < TIMED_S:
        row = [manifest.golden.rows[len(times) % len(manifest.golden.rows)]]
        start = time.perf_counter()
        backend.predict(row)
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1e6


def _is_regressor(estimator: Any) -> bool:
    from sklearn.base import is_classifier, is_regressor

    if is_regressor(estimator):
        return True
    if is_classifier(estimator):
        return False
    raise DocumentError(
        f"{type(estimator).__name__} is neither a classifier nor a regressor.",
        where="estimator",
        hint="A model predicts; put a transformer into a Pipeline before the estimator.",
    )


def with_proofs(manifest: Manifest, proofs: list[Proof]) -> Manifest:
    """The manifest with the backends that proved themselves, fastest first."""
    backends = [proof.backend for proof in proofs if not proof.refused]
    return msgspec.structs.replace(manifest, backends=backends, proofs=proofs)
