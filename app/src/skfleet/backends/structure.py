"""Checks the numbers inside a loaded estimator that compiled code uses as positions without checking them.

scikit-learn and scipy index arrays in C by what a file holds: a node's feature, a child's number, a
neighbour's row. A file with the right digest and types may still hold positions outside its arrays, which
end the process or read foreign memory, and only for some rows. `check` raises IntegrityError for them
before anything is predicted.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import IO, Any

import numpy as np
import scipy.sparse

from skfleet.errors import IntegrityError

_HINT = "Do not use the file; train or import the model again."
_LEAF = -1
_POOL = 64  # words; NumPy mixes each with each, and makes four


class _Invalid(Exception):
    """A structure that compiled code must not see."""


def check_archive(file: str | IO[bytes], where: str) -> None:
    """Raise IntegrityError where loading a skops file would crash: compiled constructors check no lengths.

    To be called before the file is loaded; `check` inspects what was loaded.
    """
    with zipfile.ZipFile(file) as archive:
        for node in _nodes(json.loads(archive.read("schema.json"))):
            name = f"{node.get('__module__')}.{node.get('__class__')}"
            content = node.get("content")
            values = _tuple_of(content)
            wanted = _state_lengths().get(name)
            try:
                if wanted is not None:
                    _require(
                        values is not None and len(values) == wanted,
                        f"its state is not {wanted} values",
                    )
                elif node.get("__loader__") == "ObjectNode":
                    _require(values is None, "a state of its kind is not known to this build")
                elif node.get("__loader__") == "TreeNode":
                    _tree_arguments(archive, node["__reduce__"]["args"]["content"])
                elif node.get("__loader__") == "RandomGeneratorNode":
                    pool = node["content"]["seed_seq"]["content"]["pool_size"]["content"]
                    _require(0 < json.loads(pool) <= _POOL, "its pool of seeds is too large")
            except (_Invalid, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise IntegrityError(
                    f"Invalid {node.get('__class__')} in the model: {error}.",
                    where=where,
                    hint=_HINT,
                ) from None


@cache
def _state_lengths() -> dict[str, int]:
    """Values in the state of each compiled class that keeps it in a tuple, as this build writes it."""
    from sklearn.metrics import DistanceMetric
    from sklearn.neighbors import KDTree

    examples = (KDTree([[0.0]]), DistanceMetric.get_metric("euclidean"))
    return {
        f"{type(each).__module__}.{type(each).__name__}": len(each.__getstate__())
        for each in examples
    }


def _tuple_of(node: Any) -> list[Any] | None:
    """The members of a tuple's node; None of other nodes."""
    if not isinstance(node, dict) or node.get("__loader__") != "TupleNode":
        return None
    members: list[Any] = node["content"]
    return members


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every object that a skops schema describes."""
    waiting = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            if "__loader__" in item:
                yield item
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _tree_arguments(archive: zipfile.ZipFile, arguments: list[dict[str, Any]]) -> None:
    """Tree(features, classes of each output, outputs) reads as many classes as the third says."""
    with archive.open(arguments[1]["file"]) as file:
        classes = np.load(file, allow_pickle=False)
    outputs = json.loads(arguments[2]["content"])
    _require(classes.shape == (outputs,), f"classes of {len(classes)} outputs instead of {outputs}")


def check(estimator: Any, width: int, where: str) -> None:
    """Raise IntegrityError unless every structure that hangs on the estimator is sound.

    `width`: the number of columns that the model takes.
    """
    own = getattr(estimator, "n_features_in_", None)
    if own is not None and own != width:
        raise IntegrityError(
            f"The model takes {own} columns, its manifest names {width}.", where=where, hint=_HINT
        )
    for part in _walk(estimator, set()):
        for applies, inspect in _CHECKS:
            if applies(part):
                try:
                    inspect(part)
                except _Invalid as error:
                    kind = type(part).__name__
                    raise IntegrityError(
                        f"Invalid {kind} in the model: {error}.", where=where, hint=_HINT
                    ) from None
                except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                    kind = type(part).__name__
                    raise IntegrityError(
                        f"Invalid {kind} in the model: {type(error).__name__}: {error}.",
                        where=where,
                        hint=_HINT,
                    ) from None


def _walk(value: Any, seen: set[int]) -> Iterator[Any]:
    """Every object of scikit-learn and sparse matrix that can be reached, the value itself included."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Mapping):
            waiting.extend(item.values())
        elif isinstance(item, (list, tuple)):
            waiting.extend(item)
        elif isinstance(item, np.ndarray):
            if item.dtype == object:
                waiting.extend(item.ravel())
        elif scipy.sparse.issparse(item) or type(item).__module__.startswith("sklearn."):
            yield item
            waiting.extend(getattr(item, "__dict__", {}).values())


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise _Invalid(message)


def _within(values: Any, low: int, high: int, what: str) -> None:
    """All whole numbers in [low, high)."""
    found = np.asarray(values)
    _require(found.dtype.kind in "iu", f"{what} are not whole numbers")
    if found.size:
        _require(
            found.min() >= low and found.max() < high,
            f"{what} lie outside {low} to {high - 1}",
        )


def _finite(values: Any, what: str) -> None:
    _require(np.isfinite(np.asarray(values, dtype=np.float64)).all(), f"{what} are not finite")


def _children(left: Any, right: Any, inner: Any, count: int) -> None:
    """Each child comes after its parent: no path leaves the array, and every path ends."""
    own = np.flatnonzero(inner)
    for name, side in (("left", left), ("right", right)):
        children = np.asarray(side)[own].astype(np.int64)
        _within(children, 0, count, f"{name} children of nodes")
        _require((children > own).all(), f"a {name} child comes before its parent")


def _tree(tree: Any) -> None:
    count = tree.node_count
    # Its arrays are views of node_count entries: nothing is read before this holds.
    _require(0 < count <= tree.capacity, f"{count} nodes in an array of {tree.capacity}")
    inner = tree.children_left != _LEAF
    _children(tree.children_left, tree.children_right, inner, count)
    _within(tree.feature[inner], 0, tree.n_features, "features of nodes")
    _require(not np.isnan(tree.threshold[inner]).any(), "thresholds are not numbers")
    _finite(tree.value, "values of nodes")


def _tree_owner(estimator: Any) -> None:
    tree = estimator.tree_
    _require(
        tree.n_features == estimator.n_features_in_,
        f"a tree of {tree.n_features} features in an estimator of {estimator.n_features_in_}",
    )
    _require(tree.n_outputs == estimator.n_outputs_, "the tree has other outputs")
    if hasattr(estimator, "classes_"):
        classes = np.max(estimator.n_classes_)
        _require(tree.max_n_classes == classes, "the tree has other classes")


def _ensemble(estimator: Any) -> None:
    """Members get the ensemble's rows as they are; BaggingClassifier chooses columns for each."""
    chosen = getattr(estimator, "estimators_features_", None)
    members = list(np.ravel(np.asarray(estimator.estimators_, dtype=object)))
    if chosen is not None:
        _require(len(chosen) == len(members), "columns are chosen for other members")
        for columns in chosen:
            _within(columns, 0, estimator.n_features_in_, "columns of members")
    for position, member in enumerate(members):
        if not hasattr(member, "tree_"):
            continue
        width = estimator.n_features_in_ if chosen is None else len(chosen[position])
        _require(
            member.tree_.n_features <= width,
            f"a tree of {member.tree_.n_features} features gets rows of {width}",
        )


def _gradient_boosting(estimator: Any) -> None:
    members = np.asarray(estimator.estimators_, dtype=object)
    _require(members.ndim == 2, "the trees are not a table of stages")
    several = getattr(estimator, "n_trees_per_iteration_", None)
    if several is None:
        classes = len(getattr(estimator, "classes_", ()))
        several = classes if classes > 2 else 1
    _require(members.shape[1] == several, f"{members.shape[1]} trees a stage instead of {several}")
    for member in members.ravel():
        tree = member.tree_
        _require(
            tree.n_outputs == tree.max_n_classes == 1, "a tree of a stage gives several values"
        )


def _hist_predictor(predictor: Any) -> None:
    nodes = predictor.nodes
    _require(nodes.ndim == 1 and len(nodes) > 0, "it has no nodes")
    inner = nodes["is_leaf"] == 0
    _children(nodes["left"], nodes["right"], inner, len(nodes))
    _finite(nodes["value"], "values of nodes")
    categorical = inner & (nodes["is_categorical"] != 0)
    for name in ("raw_left_cat_bitsets", "binned_left_cat_bitsets"):
        sets = getattr(predictor, name)
        _require(sets.ndim == 2 and sets.shape[1] == 8, f"{name} are not bit sets")
        _within(nodes["bitset_idx"][categorical], 0, len(sets), "bit sets of nodes")


def _hist_boosting(estimator: Any) -> None:
    width = len(estimator._bin_mapper.is_categorical_)
    _require(width == len(estimator._bin_mapper.bin_thresholds_), "bins of other columns")
    _require(width == estimator.n_features_in_, "bins of another number of columns")
    categorical = np.asarray(estimator._bin_mapper.is_categorical_, dtype=bool)
    for stage in estimator._predictors:
        _require(len(stage) == estimator.n_trees_per_iteration_, "a stage has other trees")
        for predictor in stage:
            nodes = predictor.nodes
            inner = nodes["is_leaf"] == 0
            _within(nodes["feature_idx"][inner], 0, width, "features of nodes")
            named = nodes["feature_idx"][inner & (nodes["is_categorical"] != 0)]
            _require(categorical[named].all(), "a node reads a number as a category")


def _neighbour_tree(tree: Any) -> None:
    data, order, nodes, bounds, leaf_size, levels, count, *_, metric, weights = tree.__getstate__()
    rows = len(data)
    _require(hasattr(metric, "dist_to_rdist"), "it has no metric")
    _require(weights is None or weights.shape == (rows,), "weights of other rows")
    _finite(data, "rows")
    _require(order.shape == (rows,), "its order is of other rows")
    _within(order, 0, rows, "positions of rows")
    _require(count == len(nodes) == 2**levels - 1, f"{len(nodes)} nodes in {levels} levels")
    _require(leaf_size > 0, "its leaves are empty")
    _require(
        bounds.ndim == 3 and bounds.shape[1:] == (count, data.shape[1]),
        "its bounds are of other nodes",
    )
    _require(
        (nodes["idx_start"] >= 0).all()
        and (nodes["idx_start"] <= nodes["idx_end"]).all()
        and (nodes["idx_end"] <= rows).all(),
        "a node spans rows that are not there",
    )
    inner = np.flatnonzero(nodes["is_leaf"] == 0)
    _within(2 * inner + 2, 0, count, "children of nodes")


def _neighbours(estimator: Any) -> None:
    rows = estimator._fit_X
    tree = estimator._tree
    _require(rows.shape[0] == estimator.n_samples_fit_, "other rows than were fitted")
    _require(rows.shape[1] == estimator.n_features_in_, "rows of another width")
    if tree is not None:
        _require(tree.__getstate__()[0].shape == rows.shape, "the tree is of other rows")
    targets = getattr(estimator, "_y", None)
    if targets is None:
        return
    _require(len(targets) == rows.shape[0], "targets of other rows")
    if hasattr(estimator, "classes_"):
        classes = estimator.classes_
        several = isinstance(classes, list)
        for column, known in enumerate(classes if several else [classes]):
            chosen = np.asarray(targets).reshape(len(targets), -1)[:, column]
            _within(chosen, 0, len(known), "classes of rows")


def _support_vectors(estimator: Any) -> None:
    """libsvm takes every length from these arrays and checks none."""
    vectors = estimator.support_vectors_
    count = vectors.shape[0]
    per_class = np.asarray(estimator._n_support)
    coefficients, intercept = estimator._dual_coef_, np.asarray(estimator._intercept_)
    width = estimator.shape_fit_[1]
    _require(width == estimator.n_features_in_, "vectors of another width")
    if estimator.kernel != "precomputed":
        _require(vectors.shape[1] == width, "vectors of another width")
    classes = len(getattr(estimator, "classes_", (0, 1)))
    classifies = hasattr(estimator, "classes_")
    _require(len(per_class) == classes, "vectors of other classes")
    _require((per_class >= 0).all(), "a class has fewer vectors than none")
    _require(
        (per_class.sum() if classifies else per_class[0]) == count,
        "vectors of classes do not add up",
    )
    _require(coefficients.shape == (classes - 1, count), "coefficients of other vectors")
    _require(intercept.shape == (classes * (classes - 1) // 2,), "intercepts of other classes")
    _require(np.asarray(estimator.support_).shape == (count,), "positions of other vectors")
    for name in ("_probA", "_probB"):
        _require(
            len(getattr(estimator, name)) in (0, len(intercept)), "probabilities of other classes"
        )


def _centres(estimator: Any) -> None:
    centres = np.asarray(estimator.cluster_centers_)
    _require(
        centres.ndim == 2 and centres.shape[1] == estimator.n_features_in_,
        "centres of another width",
    )
    _require(len(centres) == getattr(estimator, "n_clusters", len(centres)), "other clusters")
    _finite(centres, "centres")


def _vocabulary(estimator: Any) -> None:
    columns = sorted(int(column) for column in estimator.vocabulary_.values())
    _require(columns == list(range(len(columns))), "columns of words are not 0 to n - 1")


def _sparse(matrix: Any) -> None:
    if hasattr(matrix, "check_format"):
        matrix.check_format(full_check=True)


def _named(*names: str) -> Callable[[Any], bool]:
    return lambda part: any(kind.__name__ in names for kind in type(part).__mro__)


def _has(*attributes: str) -> Callable[[Any], bool]:
    return lambda part: all(hasattr(part, name) for name in attributes)


_CHECKS: tuple[tuple[Callable[[Any], bool], Callable[[Any], None]], ...] = (
    (scipy.sparse.issparse, _sparse),
    (_named("Tree"), _tree),
    (_has("tree_", "n_features_in_", "n_outputs_"), _tree_owner),
    (_has("estimators_", "n_features_in_"), _ensemble),
    (
        lambda part: _named("BaseGradientBoosting")(part) and hasattr(part, "estimators_"),
        _gradient_boosting,
    ),
    (_named("TreePredictor"), _hist_predictor),
    (_has("_predictors", "_bin_mapper"), _hist_boosting),
    (_named("BinaryTree64", "BinaryTree32"), _neighbour_tree),
    (_has("_fit_X", "_tree", "n_samples_fit_"), _neighbours),
    (_has("_n_support", "_dual_coef_"), _support_vectors),
    (_has("cluster_centers_", "n_features_in_"), _centres),
    (_has("vocabulary_"), _vocabulary),
)
