"""From a pickle to an artefact: scan, unpickle apart, compare with the old answers, prove, report."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn

from skfleet.artifacts.manifest import Feature, Manifest
from skfleet.artifacts.proving import Reference, random_rows
from skfleet.artifacts.publish import MAX_SHARE, MIN_GOLDEN, write_artefact
from skfleet.backends import structure
from skfleet.backends.sklearn import TRUSTED_TYPES
from skfleet.errors import ConfigurationError, DocumentError, IntegrityError
from skfleet.imports import report, scan

CHILD_TIMEOUT_S = 180.0
GOLDEN_ROWS = 200
TOLERANCE = 1e-6  # of an old probability: CSV files hold fewer digits than doubles
MAX_CATEGORIES = 1000
REPORT = "equivalence.html"


@dataclass(frozen=True, slots=True)
class Unpickled:
    """What the child said, and the estimator, loaded from skops by the server's own rules."""

    estimator: Any
    facts: dict[str, Any]


def model_name(path: Path) -> str:
    """A model's name made of a file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:63] or "model"


def import_model(
    path: Path, name: str, output: Path, data: Path | None, expect: Path | None
) -> Manifest:
    """Write the artefact of a pickle with its report; raises DocumentError where it must be refused."""
    if expect is not None and data is None:
        raise ConfigurationError(
            "Old answers need the rows they are of.", where="--expect", hint="Add --data X.csv."
        )
    content = path.read_bytes()
    needs = scan.scan(content)
    unpickled = unpickle(content, needs, str(path))
    facts, estimator = unpickled.facts, unpickled.estimator
    table = None if data is None else _read(data)
    features = _features(estimator, facts, table, name)
    structure.check(estimator, len(features), str(path))
    reference = Reference(estimator, features)
    rows = None if table is None else _rows(table, features)
    comparison = None
    if expect is not None and rows is not None:
        comparison = report.compare(reference(rows), _read(expect), estimator, TOLERANCE)
    said = _said(path, needs, facts, comparison)
    page = report.page(name, said, needs, facts, comparison)
    if comparison is not None and comparison.refusal:
        output.mkdir(parents=True, exist_ok=True)
        (output / REPORT).write_bytes(page)
        raise DocumentError(
            f"The imported model answers otherwise than the old one: {comparison.refusal}",
            where=str(expect),
            hint=f"See {output / REPORT}; train the model again with scikit-learn {sklearn.__version__}.",
        )
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
                "scikit-learn": facts["original_version"],
                "converted": facts["converted"],
            }
        },
        extra={REPORT: page},
    )


def unpickle(content: bytes, needs: scan.Needs, where: str) -> Unpickled:
    """Unpickle in a process of its own, and take what comes back as untrusted skops bytes."""
    import skops.io

    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "skfleet.imports.child"],
            input=content,
            capture_output=True,
            timeout=CHILD_TIMEOUT_S,
            check=False,
            env={},
            close_fds=True,
        )
    except subprocess.TimeoutExpired:
        raise DocumentError(
            f"Unpickling took longer than {CHILD_TIMEOUT_S:.0f} s.", where=where
        ) from None
    line, _, estimator = done.stdout.partition(b"\n")
    try:
        facts = json.loads(line)
    except ValueError:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
        raise DocumentError(
            f"The process that unpickles ended with {done.returncode}: {lines[-1][:300]}",
            where=where,
            hint="It has 4 GiB of memory and 120 s of CPU; or the pickle ended it.",
        ) from None
    if facts["refused"]:
        old = needs.version or facts.get("original_version") or "an unknown version"
        raise DocumentError(
            str(facts["refused"]),
            where=where,
            hint=f"Pickled with scikit-learn {old}, here is {sklearn.__version__}: trees of before 1.3 do "
            "not unpickle. Train it again here, or convert it with the version that wrote it.",
        )
    unknown = sorted(set(skops.io.get_untrusted_types(data=estimator)) - set(TRUSTED_TYPES))
    if unknown:
        raise IntegrityError(
            f"The model holds types that this server does not trust: {unknown}.",
            where=where,
            hint="Estimators of scikit-learn alone can be served; code of your own cannot.",
        )
    return Unpickled(skops.io.loads(estimator, trusted=list(TRUSTED_TYPES)), facts)


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except ValueError as error:
        raise DocumentError(f"Not a CSV table: {error}.", where=str(path)) from None


def _features(
    estimator: Any, facts: dict[str, Any], table: pd.DataFrame | None, name: str
) -> list[Feature]:
    names, width = facts["names"], facts["width"]
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
    from skfleet.artifacts import compiling

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
    path: Path, needs: scan.Needs, facts: dict[str, Any], comparison: report.Comparison | None
) -> list[str]:
    old = facts["original_version"] or needs.version
    said = [f"{path.name}: {facts['estimator']}, needs {len(needs.globals)} names of "
            + ", ".join(sorted({n.split(".")[0] for n in needs.globals}))
            + ("" if needs.whole else " (and what its arrays hid from the scan)")]  # fmt: skip
    outside = scan.foreign(needs)
    if outside:
        said.append(f"WARNING: it also names {', '.join(outside[:10])}, which no model needs")
    if old and old != sklearn.__version__:
        said.append(f"WARNING: pickled with scikit-learn {old}, read with {sklearn.__version__}")
    said += [f"Converted: {what}" for what in facts["converted"]]
    if comparison is None:
        said.append("Not compared with old answers (--data and --expect)")
    else:
        said.append(comparison.sentence)
    said.append("Unpickled with: " + "; ".join(facts["sandbox"]))
    return said
