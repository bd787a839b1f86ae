"""A model file whose numbers would crash compiled code is refused before it predicts."""

from __future__ import annotations

import copy
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
import skops.io
from sklearn import cluster, ensemble, feature_extraction, linear_model, neighbors, svm, tree
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skfleet.backends import structure
from skfleet.backends.sklearn import TRUSTED_TYPES
from skfleet.errors import IntegrityError
from skfleet_operator.imports import loading

from . import mutations
from .mutations import KINDS, TARGET, X, Y

FULL = bool(os.environ.get("SKFLEET_TEST_FULL"))


def state(part: Any, **change: Any) -> Any:
    """A copy of a C structure with other state."""
    constructor, arguments, known = part.__reduce__()[:3]
    made = constructor(*arguments)
    made.__setstate__({**known, **change})
    return made


def nodes(part: Any, field: str, place: int, value: int) -> Any:
    changed = part.__getstate__()["nodes"].copy()
    changed[field][place] = value
    return state(part, nodes=changed)


def in_tree(field: str, place: int, value: int) -> Callable[[], Any]:
    def make() -> Any:
        fitted = tree.DecisionTreeClassifier().fit(X, Y)
        fitted.tree_ = nodes(fitted.tree_, field, place, value)
        return fitted

    return make


def value_is_infinite() -> Any:
    fitted = tree.DecisionTreeRegressor().fit(X, Y)
    values = fitted.tree_.__getstate__()["values"].copy()
    values[0] = np.inf
    fitted.tree_ = state(fitted.tree_, values=values)
    return fitted


def in_stage() -> Any:
    fitted = KINDS["boosting"]()
    member = fitted.estimators_[1, 0]
    member.tree_ = nodes(member.tree_, "feature", 0, 10**6)
    return make_pipeline(StandardScaler().fit(X), fitted)


def stages_are_too_wide() -> Any:
    fitted = KINDS["boosting regressor"]()
    fitted.estimators_ = np.repeat(fitted.estimators_, 9, axis=1)
    return fitted


def in_histogram(field: str, value: int) -> Callable[[], Any]:
    def make() -> Any:
        fitted = KINDS["histogram boosting"]()
        predictor = fitted._predictors[0][0]
        predictor.nodes = predictor.nodes.copy()
        predictor.nodes[field][0] = value
        return fitted

    return make


def member_reads_other_columns() -> Any:
    fitted = KINDS["bagging"]()
    fitted.estimators_features_[0] = np.array([0, 400])
    return fitted


def neighbour_position() -> Any:
    fitted = KINDS["neighbours"]()
    parts = list(fitted._tree.__getstate__())
    parts[1] = parts[1].copy()
    parts[1][3] = 10**7
    fitted._tree.__setstate__(tuple(parts))
    return fitted


def neighbour_class() -> Any:
    fitted = KINDS["neighbours, brute force"]()
    fitted._y = fitted._y.copy()
    fitted._y[5] = 77
    return fitted


def support_vectors() -> Any:
    fitted = svm.SVC().fit(X, Y)
    fitted._n_support = fitted._n_support + 1000
    return fitted


def narrow_centres() -> Any:
    fitted = cluster.KMeans(3, n_init=1).fit(X)
    fitted.cluster_centers_ = np.ascontiguousarray(fitted.cluster_centers_[:, :1])
    return fitted


def word_column() -> Any:
    texts = ["one word", "two words", "other words"]
    fitted = make_pipeline(
        feature_extraction.text.CountVectorizer(), linear_model.LogisticRegression()
    ).fit(texts, [0, 1, 0])
    fitted[0].vocabulary_["word"] = 10**6
    return fitted


def sparse_coefficients() -> Any:
    fitted = linear_model.SGDClassifier().fit(X, Y).sparsify()
    fitted.coef_.indices[0] = 10**6
    return fitted


HOSTILE: dict[str, Callable[[], Any]] = {
    "a node's feature": in_tree("feature", 0, 10**6),
    "a node's negative feature": in_tree("feature", 0, -3),
    "a child beyond the array": in_tree("left_child", 0, 10**6),
    "a child that is its own parent": in_tree("right_child", 0, 0),
    "a value that is not finite": value_is_infinite,
    "a node inside boosting inside a pipeline": in_stage,
    "more trees a stage than outputs": stages_are_too_wide,
    "a histogram node's feature": in_histogram("feature_idx", 10**6),
    "a histogram node's child": in_histogram("left", 10**6),
    "a member's columns": member_reads_other_columns,
    "a neighbour's row": neighbour_position,
    "a neighbour's class": neighbour_class,
    "support vectors of a class": support_vectors,
    "centres of another width": narrow_centres,
    "a word's column": word_column,
    "a sparse matrix's column": sparse_coefficients,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_structure_is_refused(name: str) -> None:
    estimator = HOSTILE[name]()
    with pytest.raises(IntegrityError, match="Invalid"):
        structure.check(estimator, getattr(estimator, "n_features_in_", X.shape[1]), "model.skops")


def test_model_of_other_columns_than_its_manifest_is_refused() -> None:
    with pytest.raises(IntegrityError, match="takes 4 columns, its manifest names 3"):
        structure.check(KINDS["tree"](), 3, "model.skops")


@pytest.mark.parametrize("kind", KINDS)
def test_sound_model_is_accepted(kind: str) -> None:
    data = skops.io.dumps(KINDS[kind]())
    structure.check_archive(io.BytesIO(data), "model.skops")
    estimator = skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    structure.check(estimator, X.shape[1], "model.skops")


def changed_archive(estimator: Any, change: Callable[[dict[str, Any]], None]) -> io.BytesIO:
    """The skops file of an estimator with a changed schema."""
    data = io.BytesIO(skops.io.dumps(estimator))
    with zipfile.ZipFile(data) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])
    for node in list(structure._nodes(schema)):
        change(node)
    changed = io.BytesIO()
    with zipfile.ZipFile(changed, "w") as archive:
        for name, content in {**files, "schema.json": json.dumps(schema).encode()}.items():
            archive.writestr(name, content)
    return changed


def shorten_metric(node: dict[str, Any]) -> None:
    if node["__class__"] == "EuclideanDistance64":
        node["content"]["content"].pop()


def omit_tree_state(node: dict[str, Any]) -> None:
    if node["__class__"] == "KDTree":
        node["content"] = None


def claim_outputs(node: dict[str, Any]) -> None:
    if node["__class__"] == "Tree":
        node["__reduce__"]["args"]["content"][2]["content"] = "1000000"


def enlarge_pool(node: dict[str, Any]) -> None:
    if node["__class__"] == "Generator":
        pools = [each for each in structure._nodes(node) if each.get("content") == "4"]
        pools[0]["content"] = "1000000"


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("neighbours", shorten_metric),
        ("neighbours", omit_tree_state),
        ("tree", claim_outputs),
        ("histogram boosting", enlarge_pool),
    ],
)
def test_archive_is_refused_before_loading_it_would_crash(
    kind: str, change: Callable[[dict[str, Any]], None]
) -> None:
    with pytest.raises(
        IntegrityError, match=r"Invalid (EuclideanDistance64|KDTree|Tree|Generator) in"
    ):
        structure.check_archive(changed_archive(KINDS[kind](), change), "model.skops")


def test_tree_of_neighbours_without_a_metric_is_refused() -> None:
    fitted = KINDS["neighbours"]()
    parts = list(fitted._tree.__getstate__())
    parts[-2] = None
    fitted._tree.__setstate__(tuple(parts))
    with pytest.raises(IntegrityError, match="it has no metric"):
        structure.check(fitted, X.shape[1], "model.skops")


def test_import_ends_where_loading_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "TIMEOUT_S", 0)
    with pytest.raises(IntegrityError, match="it is not loaded after 0 s"):
        loading.rehearse(skops.io.dumps(KINDS["tree"]()), "model.pkl", 10**9)


def test_import_names_why_loading_fails() -> None:
    data = changed_archive(KINDS["neighbours"](), shorten_metric).getvalue()
    with pytest.raises(IntegrityError, match="Invalid EuclideanDistance64 in the model"):
        loading.rehearse(data, "model.pkl", 10**9)


def test_sound_models_of_other_forms_are_accepted() -> None:
    several = np.c_[Y, Y % 2]
    for estimator in (
        ensemble.RandomForestClassifier(3).fit(X, several),
        neighbors.KNeighborsClassifier().fit(X, several),
        neighbors.KNeighborsRegressor(algorithm="ball_tree").fit(X, TARGET[: len(X)]),
        neighbors.KNeighborsClassifier().fit(scipy.sparse.csr_matrix(X), Y),
        svm.SVC(kernel="linear").fit(X[:100], Y[:100]),
        svm.OneClassSVM().fit(X),
        ensemble.VotingClassifier([("t", tree.DecisionTreeClassifier())]).fit(X, Y),
        ensemble.GradientBoostingClassifier(n_estimators=2).fit(X[:100], Y[:100]),
        ensemble.AdaBoostClassifier(n_estimators=2).fit(X, Y),
    ):
        structure.check(copy.deepcopy(estimator), X.shape[1], "model.skops")


@pytest.mark.parametrize(
    "kind", KINDS if FULL else ("tree", "boosting", "histogram boosting", "neighbours")
)
def test_damaged_file_never_kills_the_process(kind: str) -> None:
    count = 300 if FULL else 12
    done = mutate(kind, count)
    assert done["died"] == []
    assert done["refused"] > 0
    assert done["answered"] > 0


def test_fuzzer_finds_a_crash_where_nothing_is_checked() -> None:
    """The negative control: these seeds kill or hang the process without the check."""
    assert mutate("tree", 40, "unchecked")["died"]


GRAPHS = [kind for kind in KINDS if kind not in mutations.WITHOUT_GRAPH]


@pytest.mark.parametrize("kind", GRAPHS if FULL else ("forest", "support vectors"))
def test_damaged_graph_never_kills_the_process(kind: str) -> None:
    done = mutate(kind, 300 if FULL else 60, program="graph_mutations.py")
    assert done["died"] == []
    assert done["refused"] > 0
    assert done["answered"] > 0


def mutate(kind: str, count: int, *options: str, program: str = "mutations.py") -> dict[str, Any]:
    program = str(Path(mutations.__file__).with_name(program))
    done = subprocess.run(
        [sys.executable, program, kind, str(count), *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=1800,
        # A fork takes no OpenMP thread along, and the child would wait for them.
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found
