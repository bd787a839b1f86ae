"""From a pickle to an artefact: scan, unpickle apart, compare with the old answers, prove, report."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from skfleet.backends import structure
from skfleet.documents.manifest import Feature, Manifest
from skfleet.errors import ConfigurationError, DocumentError, Refused
from skfleet_operator import outputs
from skfleet_operator.imports import loading, report, scan
from skfleet_operator.imports.answer import Answer
from skfleet_operator.imports.parent import MAX_BYTES, Child
from skfleet_operator.models.proving import Reference, random_rows
from skfleet_operator.models.publish import MAX_SHARE, MIN_GOLDEN, own_files, write_artefact
from skfleet_operator.text import printable

GOLDEN_ROWS = 200
TOLERANCE = 1e-6  # of an old probability: CSV files hold fewer digits than doubles
MAX_CATEGORIES = 1000
REPORT = "equivalence.html"


@dataclass(frozen=True, slots=True)
class Unpickled:
    """The estimator, loaded from skops by the server's own rules, and what is known of its import."""

    estimator: Any
    answer: Answer
    restrictions: list[str]  # under which the child ran, as seen from outside
    missing: dict[str, str]  # protection: why this system does not have it


def model_name(path: Path) -> str:
    """A model's name made of a file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:63] or "model"


def import_model(
    path: Path,
    name: str,
    output: Path,
    data: Path | None,
    expect: Path | None,
    *,
    weaker_sandbox: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Manifest:
    """Write the artefact of a pickle with its report; raises DocumentError where it must be refused."""
    if expect is not None and data is None:
        raise ConfigurationError(
            "Old answers need the rows they are of.", where="--expect", hint="Add --data X.csv."
        )
    outputs.check(output, _own_files)
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ConfigurationError(
            f"Invalid pickle: larger than {max_bytes >> 20} MiB.",
            where=str(path),
            hint="Raise --max-mib.",
        )
    needs = scan.scan(content, max_bytes)
    unpickled = unpickle(
        content, needs, str(path), weaker_sandbox=weaker_sandbox, max_bytes=max_bytes
    )
    answer, estimator = unpickled.answer, unpickled.estimator
    table = None if data is None else _read(data)
    features = _features(estimator, answer, table, name)
    structure.check(estimator, len(features), str(path))
    reference = Reference(estimator, features)
    rows = None if table is None else _rows(table, features)
    comparison = None
    if expect is not None and rows is not None:
        comparison = report.compare(reference(rows), _read(expect), estimator, TOLERANCE)
    said = _said(path, needs, unpickled, comparison)
    page = report.page(name, said, needs, answer.warnings, comparison)
    if comparison is not None and comparison.refusal:
        written = _write_refusal(output, page)
        raise DocumentError(
            f"The imported model answers otherwise than the old one: {comparison.refusal}",
            where=str(expect),
            hint=f"See {written}; train the model again with scikit-learn {sklearn.__version__}.",
        )
    if _own_files(output) == [REPORT]:
        (output / REPORT).unlink()
    golden = _golden(reference, rows if rows is not None else random_rows(features, None, 2000))
    return write_artefact(
        output,
        name=name,
        estimator=estimator,
        features=features,
        golden_rows=golden,
        sample=rows,
        training={
            "imported": {
                "said": said,
                "scikit-learn": answer.original_version,
                "converted": answer.converted,
                "sandbox": unpickled.restrictions,
                "missing_from_sandbox": unpickled.missing,
            }
        },
        extra={REPORT: page},
    )


def _own_files(directory: Path) -> list[str]:
    """As own_files; of a directory without an artefact, the report of an import that was refused."""
    if names := own_files(directory):
        return names
    try:
        return [REPORT] if report.MARK in (directory / REPORT).read_bytes() else []
    except OSError:
        return []


def _write_refusal(output: Path, page: bytes) -> Path:
    """Write the report of a refused import into `output`, or beside it where it holds an artefact."""
    if own_files(output):
        output = output.resolve()
        output = output.with_name(f"{output.name}-refused")
        outputs.check(output, _own_files)
    with outputs.filling(output, _own_files) as scratch:
        (scratch / REPORT).write_bytes(page)
    return output / REPORT


def unpickle(
    content: bytes,
    needs: scan.Needs,
    where: str,
    *,
    weaker_sandbox: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Unpickled:
    """Unpickle in a process of its own, and take what comes back as untrusted skops bytes.

    Raises Refused where this system lacks a protection, unless `weaker_sandbox` says to go without.
    """
    with Child(where, max_bytes) as child:
        restrictions, missing = child.restrictions()
        if missing and not weaker_sandbox:
            raise Refused(
                "The sandbox of pickles lacks what this system does not have: "
                + "; ".join(f"{name} ({why})" for name, why in missing.items())
                + ".",
                where=where,
                hint="Import on a Linux that has it, in a virtual machine for example; or, if you trust the "
                "pickle as you trust a program, add --weaker-sandbox.",
            )
        answer, estimator = child.answer(content)
    if answer.refused:
        old = needs.version or answer.original_version or "an unknown version"
        raise DocumentError(
            answer.refused,
            where=where,
            hint=f"Pickled with scikit-learn {old}, here is {sklearn.__version__}: trees of before 1.3 do "
            "not unpickle. Train it again here, or convert it with the version that wrote it.",
        )
    loading.rehearse(estimator, where, max_bytes)
    return Unpickled(loading.load(estimator, where, max_bytes), answer, restrictions, missing)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise DocumentError(f"Not a CSV table: {error}.", where=str(path)) from None


def _features(
    estimator: Any, answer: Answer, table: pd.DataFrame | None, name: str
) -> list[Feature]:
    names, width = answer.names, answer.width
    if table is None:
        if width is None:
            raise ConfigurationError(
                "The pickle does not say how many columns it takes.",
                where=name,
                hint="Add --data X.csv with the columns it was trained on.",
            )
        if _takes_text(estimator):
            raise ConfigurationError(
                "The model reads text columns, whose values only data can tell.",
                where=name,
                hint="Add --data X.csv with the columns it was trained on.",
            )
        return [Feature(name=n) for n in names or [f"x{i}" for i in range(width)]]
    given = [str(column) for column in table.columns]
    if names is not None:
        missing = [n for n in names if n not in given]
        if missing:
            raise DocumentError(
                f"The data lacks columns of the model: {missing[:5]}.",
                where="--data",
                hint="The model's columns: " + ", ".join(names[:20]) + ".",
            )
        given = names
    elif width is not None and len(given) != width:
        raise DocumentError(
            f"The data has {len(given)} columns, the model takes {width}.", where="--data"
        )
    return [_feature(column, table[column]) for column in given]


def _takes_text(estimator: Any) -> bool:
    """Whether one of its encoders knows text categories."""
    from skfleet_operator.models import compiling

    return any(
        np.asarray(c).dtype.kind in "OU"
        for part in compiling.parts(estimator)
        for c in getattr(part, "categories_", [])
    )


def _feature(name: str, column: pd.Series) -> Feature:
    """The schema of a column: text is what was seen, zeros and ones stay such, other numbers are free."""
    if column.isna().any():
        raise DocumentError(
            f"Column '{name}' has missing values.",
            where="--data",
            hint="Rows with missing values are refused by the service; leave them out.",
        )
    if not pd.api.types.is_numeric_dtype(column):
        categories = sorted(map(str, column.unique()))
        if len(categories) > MAX_CATEGORIES:
            raise DocumentError(
                f"Column '{name}' holds {len(categories)} different texts.",
                where="--data",
                hint=f"At most {MAX_CATEGORIES} categories can be described.",
            )
        return Feature(name=name, categories=categories)
    if set(column.unique()) <= {0, 1}:
        return Feature(name=name, low=0, high=1, integer=True)
    return Feature(name=name)


def _rows(table: pd.DataFrame, features: list[Feature]) -> list[list[Any]]:
    columns = [
        [str(v) for v in table[f.name]] if f.categories is not None else table[f.name].astype(float)
        for f in features
    ]
    return [list(row) for row in zip(*columns, strict=True)]


def _golden(reference: Reference, rows: list[list[Any]]) -> list[list[Any]]:
    """Rows, about as many of each predicted class as there are."""
    labels, _ = reference(rows)
    if reference.number:
        return rows[:GOLDEN_ROWS]
    groups: dict[str, list[int]] = {}
    for index, label in enumerate(labels):
        groups.setdefault(str(label), []).append(index)
    share = max(1, GOLDEN_ROWS // len(groups))
    chosen = [i for group in groups.values() for i in group[:share]]
    rest = [i for group in groups.values() for i in group[share:]]
    chosen += rest[: max(0, MIN_GOLDEN - len(chosen))]
    largest = max(sum(i in set(chosen) for i in group) for group in groups.values())
    if len(chosen) < MIN_GOLDEN or largest > len(chosen) * MAX_SHARE:
        raise DocumentError(
            f"There are too few different rows for golden vectors: {len(rows)} rows, predicted classes "
            f"{ {label: len(group) for label, group in groups.items()} }.",
            where="--data",
            hint=f"Give at least {MIN_GOLDEN} rows, a quarter of them outside the commonest class.",
        )
    return [rows[i] for i in chosen]


def _said(
    path: Path, needs: scan.Needs, unpickled: Unpickled, comparison: report.Comparison | None
) -> list[str]:
    answer = unpickled.answer
    old = answer.original_version or needs.version
    said = [f"{printable(path.name)}: {answer.estimator}, needs {len(needs.globals)} names of "
            + ", ".join(sorted({n.split(".")[0] for n in needs.globals}))
            + ("" if needs.whole else " (and what its arrays hid from the scan)")]  # fmt: skip
    outside = scan.foreign(needs)
    if outside:
        said.append(f"WARNING: it also names {', '.join(outside[:10])}, which no model needs")
    if old and old != sklearn.__version__:
        said.append(f"WARNING: pickled with scikit-learn {old}, read with {sklearn.__version__}")
    said += [f"Converted: {what}" for what in answer.converted]
    if comparison is None:
        said.append("Not compared with old answers (--data and --expect)")
    else:
        said.append(comparison.sentence)
    said.append("Unpickled with: " + "; ".join(unpickled.restrictions))
    said += [f"WARNING: unpickled without {name}: {why}" for name, why in unpickled.missing.items()]
    return said
