"""Estimators of every kind as served models, and every protocol as one way to ask them."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

from skfleet.documents.manifest import Feature
from skfleet_operator.models.publish import write_artefact

from .calls import Answer, Call, call

WIDTH = 6
NUMBERS = [Feature(name=f"f{i}", low=-4, high=4) for i in range(WIDTH)]
MIXED = [
    Feature(name="carrier", categories=["AA", "B6", "DL"]),
    Feature(name="hour", low=0, high=23, integer=True),
    Feature(name="distance", low=0, high=3000),
]
PORT = 8081  # without identity in these tests
JSON = {"content_type": "application/json"}


@dataclass(frozen=True)
class Kind:
    """An estimator, unfitted, with the data it learns."""

    estimator: Any
    features: list[Feature]
    rows: Any  # an array or a table
    answers: Any
    backends: tuple[str, ...]  # that must prove themselves


def kinds() -> dict[str, Kind]:
    """Every kind of model by name; fixed data."""
    generator = np.random.default_rng(5)
    x = np.clip(generator.normal(0, 1.2, (1500, WIDTH)), -4, 4)
    noise = generator.normal(0, 0.5, 1500)
    binary = (x[:, 0] + x[:, 1] ** 2 + noise > 1.2).astype(int)
    words = np.array(["early", "late", "on time"])[np.digitize(x[:, 0] + noise, [-0.6, 0.6])]
    number = 3 * x[:, 0] - x[:, 1] + noise
    table = pd.DataFrame(
        {
            "carrier": generator.choice(MIXED[0].categories or [], 1500),
            "hour": generator.integers(0, 24, 1500).astype(float),
            "distance": generator.uniform(0, 3000, 1500).round(),
        }
    )
    late = ((table["carrier"] == "B6") ^ (table["hour"] > 14)).to_numpy().astype(int)
    columns = ColumnTransformer(
        [("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["carrier"]),
         ("numbers", "passthrough", ["hour", "distance"])]
    )  # fmt: skip
    forest = RandomForestClassifier(15, max_depth=6, random_state=0)
    linear, graph = ("linear", "sklearn"), ("onnx", "sklearn")
    return {
        "LogisticRegression": Kind(LogisticRegression(), NUMBERS, x, binary, linear),
        "scaled-LogisticRegression": Kind(
            make_pipeline(StandardScaler(), LogisticRegression()), NUMBERS, x, words, linear
        ),
        "OneVsRest": Kind(OneVsRestClassifier(LogisticRegression()), NUMBERS, x, words, linear),
        "LinearSVC": Kind(LinearSVC(), NUMBERS, x, binary == 1, linear),
        "Ridge": Kind(Ridge(), NUMBERS, x, number, linear),
        "LinearRegression-two": Kind(
            LinearRegression(), NUMBERS, x, np.column_stack([number, -number]), linear
        ),
        "RandomForest": Kind(forest, NUMBERS, x, words, graph),
        "RandomForest-two": Kind(
            RandomForestClassifier(10, max_depth=6, random_state=0),
            NUMBERS, x, np.column_stack([binary, (x[:, 2] > 0).astype(int) + binary]), graph,
        ),
        "raw-columns-forest": Kind(
            make_pipeline(columns, RandomForestClassifier(15, max_depth=6, random_state=0)),
            MIXED, table, late, graph,
        ),
        "GradientBoostingRegressor": Kind(
            GradientBoostingRegressor(n_estimators=30, random_state=0), NUMBERS, x, number, graph
        ),
        "HistGradientBoosting": Kind(
            HistGradientBoostingClassifier(max_iter=20), NUMBERS, x, binary, graph
        ),
        # ONNX has no bitsets of categories, and is found out.
        "HistGradientBoosting-categories": Kind(
            HistGradientBoostingClassifier(max_iter=20, categorical_features=[WIDTH - 1]),
            [*NUMBERS[:-1], Feature(name=f"f{WIDTH - 1}", low=-4, high=4, integer=True)],
            np.column_stack([x[:, :-1], np.round(x[:, -1])]), binary, ("sklearn",),
        ),
        "KNeighbors": Kind(KNeighborsClassifier(), NUMBERS, x, binary, graph),
    }  # fmt: skip


def write(kind: Kind, directory: Path) -> Any:
    """The fitted estimator; its artefact is in `directory`, named after it."""
    fitted = kind.estimator.fit(kind.rows, kind.answers)
    rows = np.asarray(kind.rows, dtype=object if kind.features is MIXED else float)
    labels = np.asarray(fitted.predict(kind.rows))
    chosen = range(len(rows))
    if labels.dtype.kind != "f" and labels.ndim == 1:
        groups = [np.flatnonzero(labels == label)[:60] for label in np.unique(labels)]
        chosen = np.concatenate(groups)  # type: ignore[assignment]
    golden = rows[list(chosen)][:180]
    write_artefact(
        directory, name=directory.name.lower(), estimator=fitted, features=kind.features,
        golden_rows=golden, sample=rows,
    )  # fmt: skip
    return fitted


Ask = Callable[[Call], Answer]
Asked = tuple[list[Any], list[list[float]] | None]


def protocols(model: str, manifest: Any) -> dict[str, Callable[[Ask, list[list[Any]]], Asked]]:
    """Every way to ask this model rows: (labels, probabilities where the model has them)."""
    names = [feature.name for feature in manifest.features]
    chances = manifest.has_probabilities
    outputs = [{"name": n} for n in (["predict", "predict_proba"] if chances else ["predict"])]
    widths = len(manifest.outputs)

    def body(path: str, value: Any) -> Call:
        return call("POST", path, json.dumps(value).encode(), port=PORT, **JSON)

    def json_answer(answer: Answer) -> Asked:
        assert answer.status == 200, answer.body
        return answer.json["predictions"], answer.json.get("probabilities")

    def v1(convert: Callable[[list[Any]], Any]) -> Any:
        def ask(ask: Ask, rows: list[list[Any]]) -> Asked:
            value = {"instances": [convert(row) for row in rows],
                     "parameters": {"probabilities": chances}}  # fmt: skip
            return json_answer(ask(body(f"/v1/models/{model}:predict", value)))

        return ask

    def mlflow(form: str, convert: Callable[[list[list[Any]]], Any]) -> Any:
        def ask(ask: Ask, rows: list[list[Any]]) -> Asked:
            value = {form: convert(rows), "params": {"probabilities": chances}}
            return json_answer(ask(body("/invocations", value)))

        return ask

    def v2(convert: Callable[[list[list[Any]]], list[dict[str, Any]]], binary: bool = False) -> Any:
        def ask(ask: Ask, rows: list[list[Any]]) -> Asked:
            inputs = convert(rows)
            tail = b"".join(item.pop("binary") for item in inputs if "binary" in item)
            value = {"inputs": inputs, "outputs": outputs,
                     "parameters": {"binary_data_output": binary}}  # fmt: skip
            text = json.dumps(value).encode()
            headers = {"inference_header_content_length": str(len(text))} if binary else JSON
            answer = ask(
                call("POST", f"/v2/models/{model}/infer", text + tail, port=PORT, **headers)
            )
            assert answer.status == 200, answer.body
            return tensors(answer, widths)

        return ask

    def matrix(rows: list[list[Any]], data: Any) -> list[dict[str, Any]]:
        return [
            {"name": "rows", "shape": [len(rows), len(names)], "datatype": "FP64", "data": data}
        ]

    def columns(rows: list[list[Any]], binary: bool) -> list[dict[str, Any]]:
        found = []
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            text = isinstance(column[0], str)
            item: dict[str, Any] = {"name": name, "shape": [len(rows), 1],
                                    "datatype": "BYTES" if text else "FP64"}  # fmt: skip
            if binary:
                item["binary"] = packed(column, text)
                item["parameters"] = {"binary_data_size": len(item["binary"])}
            else:
                item["data"] = list(column)
            found.append(item)
        return found

    def binary_matrix(rows: list[list[Any]]) -> list[dict[str, Any]]:
        data = np.asarray(rows, dtype="<f8").tobytes()
        [item] = matrix(rows, None)
        del item["data"]
        return [{**item, "binary": data, "parameters": {"binary_data_size": len(data)}}]

    def named(row: list[Any]) -> dict[str, Any]:
        return dict(zip(reversed(names), reversed(row), strict=True))

    def form(ask: Ask, rows: list[list[Any]]) -> Asked:
        labels = []
        for row in rows:
            answer = ask(
                call("POST", "/", b"x=" + quote_plus(json.dumps(row)).encode(), port=PORT,
                     content_type="application/x-www-form-urlencoded")
            )  # fmt: skip
            assert answer.status == 200, answer.body
            labels.append(answer.json["model_prediction"])
        return labels, None

    found: dict[str, Any] = {
        "form": form,
        "V1 rows": v1(list),
        "V1 names": v1(named),
        "V2 columns": v2(lambda rows: columns(rows, False)),
        "V2 columns binary": v2(lambda rows: columns(rows, True), binary=True),
        "mlflow split": mlflow(
            "dataframe_split",
            lambda rows: {"columns": names[::-1], "data": [row[::-1] for row in rows]},
        ),
        "mlflow records": mlflow("dataframe_records", lambda rows: [named(row) for row in rows]),
        "mlflow instances": mlflow("instances", list),
        "mlflow inputs": mlflow(
            "inputs",
            lambda rows: {n: list(c) for n, c in zip(names, zip(*rows, strict=True), strict=True)},
        ),
    }
    if not manifest.mixed:
        found["V2 nested"] = v2(lambda rows: matrix(rows, rows))
        found["V2 flat"] = v2(lambda rows: matrix(rows, [v for row in rows for v in row]))
        found["V2 binary"] = v2(binary_matrix, binary=True)
    return found


def packed(column: Any, text: bool) -> bytes:
    if not text:
        return np.asarray(column, dtype="<f8").tobytes()
    return b"".join(struct.pack("<I", len(item)) + item.encode() for item in column)


def tensors(answer: Answer, widths: int) -> Asked:
    """Labels and probabilities of a V2 answer, JSON or binary."""
    length = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    at = length
    found: dict[str, Any] = {}
    for output in json.loads(answer.body[:length])["outputs"]:
        values = output.get("data")
        if values is None:
            size = output["parameters"]["binary_data_size"]
            values = unpacked(answer.body[at : at + size], output["datatype"])
            at += size
        shape = output["shape"]
        if len(shape) == 2:
            values = [values[i : i + shape[1]] for i in range(0, len(values), shape[1])]
        assert len(values) == shape[0]
        found[output["name"]] = values
    assert at == len(answer.body)
    return found["predict"], found.get("predict_proba")


def unpacked(data: bytes, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        return list(texts(data))
    dtype = {"INT64": "<i8", "FP64": "<f8", "BOOL": "|b1"}[datatype]
    return np.frombuffer(data, dtype).tolist()


def texts(data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at)
        yield data[at + 4 : at + 4 + length].decode()
        at += 4 + length
