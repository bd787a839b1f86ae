"""Every estimator on every backend answers the same through every protocol; `docs/models.md` says so.

`SKFLEET_WRITE_DOCS=1` writes the table with the µs of this machine; without it the table's rows are checked.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from skfleet import documents
from skfleet.backends.compare import first_difference
from skfleet.documents.manifest import TOLERANCES, Manifest
from skfleet.serving.protocols.form import printed
from skfleet.serving.service import Service
from skfleet.settings import Settings
from skfleet_operator.models.proving import Reference

from .conftest import IdentityDir, Signer
from .lanes import LANES
from .zoo import Ask, Kind, kinds, protocols, write

KINDS = kinds()
PAIRS = [(name, backend) for name, kind in KINDS.items() for backend in kind.backends]
DOCS = Path(__file__).parents[3] / "docs/models.md"
BEGIN, END = "<!-- matrix: made by app/tests/serving/test_protocols_equal.py -->", "<!-- end -->"
BATCH = 100


class Subject:
    """One model on one backend, served."""

    def __init__(
        self, service: Service, manifest: Manifest, reference: Reference, name: str
    ) -> None:
        self.manifest = manifest
        self.reference = reference
        self.asks = {lane: make(service) for lane, make in LANES.items()}
        self.protocols = protocols(manifest.name, manifest)
        self.tolerance = TOLERANCES[name]


@pytest.fixture(scope="module")
def subjects(
    tmp_path_factory: pytest.TempPathFactory, iap_key: Signer, google_key: Signer
) -> Iterator[dict[tuple[str, str], Subject]]:
    root = tmp_path_factory.mktemp("zoo")
    (root / "identity").mkdir()
    files = IdentityDir(root / "identity", [iap_key], [google_key])
    files.environment["internal"] = {"identity": "none"}
    files.write()
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for name, kind in KINDS.items():
            estimator = write(kind, root / name)
            path = root / name / "manifest.json"
            written = documents.read(Manifest, path.read_bytes(), name)
            assert tuple(sorted(written.backends)) == tuple(sorted(kind.backends)), written.proofs
            for backend in kind.backends:
                manifest = msgspec.structs.replace(written, backends=[backend])
                path.write_bytes(documents.write(manifest))
                service = Service.start(
                    Settings(models=f"{manifest.name}={root / name}", run_dir=root,
                             identity_dir=root / "identity")
                )  # fmt: skip
                assert not service.content.models.failures
                assert (
                    next(iter(service.content.models.served.values())).model.backend.name == backend
                )
                patch.setattr(service.access_log, "_write", lambda data: None)
                reference = Reference(estimator, kind.features)
                found[name, backend] = Subject(service, manifest, reference, backend)
        yield found


def rows_of(kind: Kind) -> st.SearchStrategy[list[list[Any]]]:
    columns = [
        st.sampled_from(feature.categories)
        if feature.categories is not None
        else st.integers(int(feature.low), int(feature.high)).map(float)
        if feature.integer
        # Away from the trees' thresholds, where single precision may decide otherwise.
        else st.integers(int(feature.low * 100), int(feature.high * 100)).map(
            lambda n: n / 100 + 0.003
        )
        for feature in kind.features
    ]
    return st.lists(st.tuples(*columns).map(list), min_size=1, max_size=5).map(
        lambda rows: [
            [min(v, f.high) if not isinstance(v, str) else v
             for v, f in zip(row, kind.features, strict=True)]
            for row in rows
        ]
    )  # fmt: skip


def holds(subject: Subject, ask: Ask, rows: list[list[Any]]) -> None:
    labels, chances = subject.reference(rows)
    for name, protocol in subject.protocols.items():
        got, given_chances = protocol(ask, rows)
        if name == "form":
            if subject.tolerance < 1e-6 or subject.manifest.kind == "classifier":
                wanted = [printed(label) for label in labels]
                if subject.manifest.kind == "classifier":
                    assert got == wanted, name
            continue
        first, worst = first_difference(
            (got, given_chances or []), (labels, chances), subject.tolerance
        )
        assert first is None, (name, first, worst)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize(("kind", "backend"), PAIRS)
@settings(max_examples=8, deadline=None, phases=(Phase.generate,),
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
@given(data=st.data())
def test_every_protocol_gives_what_the_estimator_gives(
    subjects: dict[tuple[str, str], Subject],
    kind: str,
    backend: str,
    lane: str,
    data: st.DataObject,
) -> None:
    subject = subjects[kind, backend]
    holds(subject, subject.asks[lane], data.draw(rows_of(KINDS[kind])))


@pytest.mark.parametrize(("kind", "backend"), PAIRS)
def test_a_batch_is_answered_as_its_rows_are(
    subjects: dict[tuple[str, str], Subject], kind: str, backend: str
) -> None:
    subject = subjects[kind, backend]
    rows = subject.manifest.golden.rows[:20]
    for name, protocol in subject.protocols.items():
        labels, chances = protocol(subject.asks["flask"], rows)
        single = [protocol(subject.asks["flask"], [row]) for row in rows]
        pairs = ([one[0][0] for one in single], [one[1][0] for one in single if one[1]])
        assert first_difference((labels, chances or []), pairs, 1e-6)[0] is None, name


def test_a_wrong_answer_would_be_seen(subjects: dict[tuple[str, str], Subject]) -> None:
    """The negative control: another model's answers do not pass."""
    subject = subjects["RandomForest", "onnx"]
    other = subjects["OneVsRest", "linear"]
    mixed = Subject.__new__(Subject)
    mixed.manifest, mixed.tolerance = subject.manifest, subject.tolerance
    mixed.protocols, mixed.reference = subject.protocols, other.reference
    with pytest.raises(AssertionError):
        holds(mixed, subject.asks["flask"], subject.manifest.golden.rows)


def test_the_table_in_the_documentation_is_that_of_these_tests(
    subjects: dict[tuple[str, str], Subject],
) -> None:
    text = DOCS.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    if os.environ.get("SKFLEET_WRITE_DOCS"):
        table = [(kind, backend, *_row(subjects[kind, backend])) for kind, backend in PAIRS]
        header = (
            "| estimator | backend | agreement | "
            + " | ".join(COLUMNS)
            + " |\n|"
            + "---|" * (3 + len(COLUMNS))
        )
        lines = ["| " + " | ".join(map(str, row)) + " |" for row in table]
        DOCS.write_text(before + BEGIN + "\n" + "\n".join([header, *lines]) + "\n" + END + after)
        return
    documented = [tuple(cell.strip() for cell in line.split("|")[1:3])
                  for line in old.splitlines() if line.startswith("| ")][1:]  # fmt: skip
    assert documented == PAIRS, "SKFLEET_WRITE_DOCS=1 writes the table anew"


COLUMNS = ["form", "V1 rows", "V1 names", "V2 nested", "V2 binary", "V2 columns", "mlflow split",
           "mlflow records"]  # fmt: skip


def _row(subject: Subject) -> list[str]:
    """Largest difference from scikit-learn over the golden rows, then µs a row: one row / a batch."""
    rows = (subject.manifest.golden.rows * 2)[:BATCH]
    labels, chances = subject.reference(rows)
    got, given_chances = subject.protocols["V1 rows"](subject.asks["flask"], rows)
    worst = first_difference((got, given_chances or []), (labels, chances), subject.tolerance)[1]
    cells = [f"{worst:.0e}" if worst else "exact"]
    for column in COLUMNS:
        protocol = subject.protocols.get(column)
        if protocol is None:
            cells.append("–")
            continue
        one = _us(lambda p=protocol: p(subject.asks["fast"], rows[:1]), 15)  # type: ignore[misc]
        if column == "form":
            cells.append(f"{one:.0f}")
            continue
        many = _us(lambda p=protocol: p(subject.asks["fast"], rows), 3) / BATCH  # type: ignore[misc]
        cells.append(f"{one:.0f} / {many:.1f}")
    return cells


def _us(ask: Any, times: int) -> float:
    found = []
    for _ in range(times):
        began = time.perf_counter()
        ask()
        found.append(time.perf_counter() - began)
    return float(np.median(found)) * 1e6
