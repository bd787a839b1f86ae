"""Damages model files and predicts with what the backend still loads: `python mutations.py KIND COUNT`.

Each mutation runs in a process of its own. Prints one JSON object: how many files were refused, answered or
raised, and the seeds whose process was killed by a signal or did not end.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import resource
import signal
import sys
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import skops.io
from sklearn import (
    calibration,
    cluster,
    compose,
    decomposition,
    discriminant_analysis,
    ensemble,
    gaussian_process,
    impute,
    linear_model,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
    tree,
)
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import make_pipeline

from skfleet.backends import structure
from skfleet.backends.sklearn import TRUSTED_TYPES

LIMIT_S = 20
MEMORY_BYTES = 6 << 30
POSITIONS = (0, 1, -1, 7, 100, 10**6, 2**31 - 1, -5, -(10**6))
FINITE = (0.0, -1.0, 1e30, -1e30)
NUMBERS = (*POSITIONS, float("nan"), float("inf"), 1e308)
# What a number, text or name of the schema becomes.
VALUES = ("0", "-1", "7", "1000000", "NaN", "Infinity", "null", "true", '"text"', "[]", "{}")

X, Y = load_iris(return_X_y=True)
NUMERIC, TARGET = (part[: len(X)] for part in load_diabetes(return_X_y=True))
WIDTH = X.shape[1]
NUMERIC = NUMERIC[:, :WIDTH]
MISSING = np.where(np.arange(X.size).reshape(X.shape) % 9 == 0, np.nan, X)
CATEGORICAL = np.c_[(X[:, 0] * 2).astype(int) % 7, X[:, 1:]]

KINDS: dict[str, Callable[[], Any]] = {
    "tree": lambda: tree.DecisionTreeClassifier().fit(X, Y),
    "forest": lambda: ensemble.RandomForestClassifier(3).fit(X, Y),
    "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=3).fit(X, Y),
    "boosting regressor": lambda: ensemble.GradientBoostingRegressor(n_estimators=3).fit(
        NUMERIC, TARGET
    ),
    "histogram boosting": lambda: ensemble.HistGradientBoostingClassifier(
        max_iter=3, categorical_features=[0]
    ).fit(CATEGORICAL, Y),
    "bagging": lambda: ensemble.BaggingClassifier(n_estimators=3, max_features=2).fit(X, Y),
    "isolation forest": lambda: ensemble.IsolationForest(n_estimators=3).fit(X),
    "neighbours": lambda: neighbors.KNeighborsClassifier().fit(X, Y),
    "neighbours, brute force": lambda: neighbors.KNeighborsClassifier(algorithm="brute").fit(X, Y),
    "neighbours within a radius": lambda: neighbors.RadiusNeighborsClassifier(
        radius=5.0, algorithm="brute"
    ).fit(X, Y),
    "support vectors": lambda: svm.SVC().fit(X, Y),
    "support vector regressor": lambda: svm.SVR().fit(NUMERIC, TARGET),
    "clusters": lambda: cluster.KMeans(3, n_init=1).fit(X),
    "extra trees": lambda: ensemble.ExtraTreesClassifier(3).fit(X, Y),
    "forest of two outputs": lambda: ensemble.RandomForestClassifier(3).fit(X, np.c_[Y, Y % 2]),
    "adaptive boosting": lambda: ensemble.AdaBoostClassifier(n_estimators=3).fit(X, Y),
    "histogram boosting, missing values": lambda: ensemble.HistGradientBoostingClassifier(
        max_iter=3
    ).fit(MISSING, Y),
    "outliers of neighbours": lambda: neighbors.LocalOutlierFactor(novelty=True).fit(X),
    "nearest centroid": lambda: neighbors.NearestCentroid().fit(X, Y),
    "imputer of neighbours": lambda: make_pipeline(
        impute.KNNImputer(), linear_model.LogisticRegression()
    ).fit(MISSING, Y),
    "one-hot encoder": lambda: make_pipeline(
        compose.ColumnTransformer(
            [
                ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), [0]),
                ("n", preprocessing.MinMaxScaler(), [1, 2]),
            ],
            remainder="passthrough",
        ),
        linear_model.LogisticRegression(),
    ).fit(CATEGORICAL, Y),
    "ordinal encoder": lambda: make_pipeline(
        compose.ColumnTransformer(
            [
                (
                    "c",
                    preprocessing.OrdinalEncoder(
                        handle_unknown="use_encoded_value", unknown_value=-1
                    ),
                    [0],
                )
            ],
            remainder="passthrough",
        ),
        tree.DecisionTreeClassifier(),
    ).fit(CATEGORICAL, Y),
    "scaled components": lambda: make_pipeline(
        preprocessing.RobustScaler(), decomposition.PCA(2), svm.SVC()
    ).fit(X, Y),
    "naive Bayes": lambda: naive_bayes.GaussianNB().fit(X, Y),
    "naive Bayes, counts": lambda: naive_bayes.MultinomialNB().fit(X, Y),
    "neural network": lambda: neural_network.MLPClassifier((5,), max_iter=30).fit(X, Y),
    "logistic regression": lambda: linear_model.LogisticRegression().fit(X, Y),
    "ridge": lambda: linear_model.Ridge().fit(NUMERIC, TARGET),
    "calibrated": lambda: calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=2).fit(X, Y),
    "calibrated, isotonic": lambda: calibration.CalibratedClassifierCV(
        tree.DecisionTreeClassifier(), method="isotonic", cv=2
    ).fit(X, Y),
    "one against the rest": lambda: multiclass.OneVsRestClassifier(svm.SVC()).fit(X, Y),
    "one against one": lambda: multiclass.OneVsOneClassifier(tree.DecisionTreeClassifier()).fit(
        X, Y
    ),
    "Gaussian process": lambda: gaussian_process.GaussianProcessClassifier().fit(X[::5], Y[::5]),
    "discriminant analysis": lambda: discriminant_analysis.LinearDiscriminantAnalysis().fit(X, Y),
}


# skl2onnx has no form of these that onnxruntime can read.
WITHOUT_GRAPH = ("isolation forest", "neighbours within a radius", "forest of two outputs",
                 "nearest centroid", "Gaussian process")  # fmt: skip


def damage(data: bytes, chance: random.Random) -> bytes:
    """The skops file with one or two arrays, or a number of its schema, replaced."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    arrays = [name for name in files if name.endswith(".npy")]
    for name in chance.choices(arrays, k=chance.choice((1, 1, 2))):
        array = _damage_array(np.load(io.BytesIO(files[name]), allow_pickle=False), chance)
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        files[name] = buffer.getvalue()
    if chance.random() < 0.4:
        schema = json.loads(files["schema.json"])
        _damage_schema(list(structure._nodes(schema)), chance)
        files["schema.json"] = json.dumps(schema).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _damage_schema(nodes: list[dict[str, Any]], chance: random.Random) -> None:
    """Another value, a list or tuple of another length, or an attribute that is missing or another's."""
    how = chance.random()
    contents = [(node, node.get("content")) for node in nodes if node.get("content")]
    if how < 0.6:
        values = [node for node in nodes if node["__loader__"] == "JsonNode"]
        chance.choice(values)["content"] = chance.choice(VALUES)
    elif how < 0.8:
        node, members = chance.choice([each for each in contents if isinstance(each[1], list)])
        node["content"] = members[:-1] if chance.random() < 0.6 else members * 2
    else:
        _, members = chance.choice([each for each in contents if isinstance(each[1], dict)])
        first, second = chance.choice(list(members)), chance.choice(list(members))
        members[first], members[second] = members[second], members[first]
        if chance.random() < 0.5:
            del members[first]


def _damage_array(array: Any, chance: random.Random) -> Any:
    how = chance.random()
    if array.size and (array.dtype.names or how < 0.6):
        flat = array.reshape(-1).copy()
        place = chance.randrange(flat.size)
        field = flat[chance.choice(array.dtype.names)] if array.dtype.names else flat
        with contextlib.suppress(OverflowError, ValueError, TypeError):  # the type cannot hold it
            field[place] = chance.choice(POSITIONS if array.dtype.names else NUMBERS)
        return flat.reshape(array.shape)
    if array.ndim and how < 0.8:
        return array[: max(0, len(array) - chance.choice((1, 2, 5)))]
    if array.ndim > 1 and how < 0.9:
        return np.ascontiguousarray(array[:, :-1])
    return np.concatenate([array, array]) if array.ndim else array


def outcome(data: bytes, seed: int, checked: bool) -> int:
    """0 answered, 1 refused, 2 raised; does not return where the process dies."""
    try:
        chance = random.Random(seed)  # noqa: S311 - not a secret
        damaged = damage(data, chance)
        if checked:
            structure.check_archive(io.BytesIO(damaged), "test")
        estimator = skops.io.loads(damaged, trusted=list(TRUSTED_TYPES))
        if checked:
            structure.check(estimator, X.shape[1], "test")
    except Exception:  # noqa: BLE001 - the backend refuses whatever cannot be read
        return 1
    rows = np.random.default_rng(0).normal(3, 3, (200, X.shape[1]))
    try:
        for count in (1, 200):
            estimator.predict(rows[:count])
            if hasattr(estimator, "predict_proba"):
                estimator.predict_proba(rows[:count])
    except Exception:  # noqa: BLE001 - counted: the process lives, and the caller gets an error
        return 2
    return 0


def run(kind: str, count: int, checked: bool) -> dict[str, Any]:
    """Damage a model of this kind `count` times."""
    data = skops.io.dumps(KINDS[kind]())
    found = [0, 0, 0]
    died: list[tuple[int, int]] = []
    for seed in range(count):
        pid = os.fork()
        if pid == 0:
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(LIMIT_S)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os._exit(outcome(data, seed, checked))
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            died.append((seed, os.WTERMSIG(status)))
        else:
            found[os.WEXITSTATUS(status)] += 1
    return {"answered": found[0], "refused": found[1], "raised": found[2], "died": died}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    result = run(sys.argv[1], int(sys.argv[2]), checked=sys.argv[3:] != ["unchecked"])
    print(json.dumps(result))  # noqa: T201 - the answer
