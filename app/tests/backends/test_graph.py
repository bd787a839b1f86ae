"""An ONNX graph that onnxruntime would accept and that must not run is refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import RandomForestClassifier
from sklearn.svm import SVC

from skfleet.backends import graph, prove
from skfleet.documents.manifest import Feature
from skfleet.errors import IntegrityError
from skfleet_operator.models import compiling
from skfleet_operator.models.publish import write_artefact

from .mutations import WIDTH, X, Y

FEATURES = [Feature(name=f"f{i}") for i in range(WIDTH)]


@pytest.fixture(scope="module")
def forms() -> dict[str, bytes]:
    forest = RandomForestClassifier(3, random_state=0).fit(X, Y)
    found = {
        "forest": compiling.to_onnx(forest, FEATURES, double=False),
        "double forest": compiling.to_onnx(forest, FEATURES, double=True),
        "vectors": compiling.to_onnx(SVC().fit(X, Y), FEATURES, double=False),
    }
    return {name: data for name, data in found.items() if data is not None}


def attribute(model: Any, operator: str, name: str) -> Any:
    node = next(node for node in model.graph.node if node.op_type == operator)
    return next(each for each in node.attribute if each.name == name)


def inner(model: Any) -> list[int]:
    """Places of a forest's inner nodes."""
    modes = attribute(model, "TreeEnsembleClassifier", "nodes_modes").strings
    return [place for place, mode in enumerate(modes) if mode != b"LEAF"]


def close_a_path(model: Any) -> None:
    places = inner(model)
    attribute(model, "TreeEnsembleClassifier", "nodes_truenodeids").ints[places[1]] = 0


def share_a_child(model: Any) -> None:
    children = attribute(model, "TreeEnsembleClassifier", "nodes_truenodeids").ints
    others = attribute(model, "TreeEnsembleClassifier", "nodes_falsenodeids").ints
    children[inner(model)[0]] = others[inner(model)[0]]


def lose_a_child(model: Any) -> None:
    attribute(model, "TreeEnsembleClassifier", "nodes_truenodeids").ints[0] = 10**6


def make_negative(model: Any) -> None:
    attribute(model, "TreeEnsembleClassifier", "nodes_falsenodeids").ints[0] = -1


def repeat_a_node(model: Any) -> None:
    attribute(model, "TreeEnsembleClassifier", "nodes_nodeids").ints[1] = 0


def lose_a_number(model: Any) -> None:
    attribute(model, "TreeEnsembleClassifier", "class_weights").floats[0] = float("nan")


def lose_a_vector(model: Any) -> None:
    attribute(model, "SVMClassifier", "support_vectors").floats[0] = float("inf")


def read_another_file(model: Any) -> None:
    tensor = model.graph.initializer.add(name="other", dims=[1], data_type=TensorProto.FLOAT)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="other.bin")


def loop(model: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], [], body=body))


def loop_in_a_function(model: Any) -> None:
    body = helper.make_graph([], "body", [], [])
    nodes = [helper.make_node("Loop", ["", ""], [], body=body)]
    model.functions.append(helper.make_function("own", "f", [], [], nodes, model.opset_import))


HOSTILE: dict[str, tuple[Callable[[Any], None], str, str]] = {
    "a path that is closed": (close_a_path, "forest", "comes before its parent"),
    "a child of two nodes": (share_a_child, "forest", "two parents"),
    "a child that is missing": (lose_a_child, "forest", "a child is missing"),
    "a child that is not a position": (make_negative, "forest", "not positions"),
    "a node that is there twice": (repeat_a_node, "forest", "twice"),
    "a weight that is not a number": (lose_a_number, "forest", "class_weights are not finite"),
    "a vector that is infinite": (lose_a_vector, "vectors", "support_vectors are not finite"),
    "a tensor of another file": (read_another_file, "forest", "another file"),
    "a loop": (loop, "forest", "Loop: this build does not run it"),
    "a loop in a function": (loop_in_a_function, "forest", "Loop"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graph_is_refused(name: str, forms: dict[str, bytes]) -> None:
    change, form, message = HOSTILE[name]
    model = onnx.load_from_string(forms[form])
    change(model)
    with pytest.raises(IntegrityError, match=message):
        graph.check(model.SerializeToString(), "model.onnx")


def test_numbers_of_tensors_are_checked(forms: dict[str, bytes]) -> None:
    values = np.array([0.5, float("nan")])
    for tensor in (
        numpy_helper.from_array(values),
        helper.make_tensor("x", TensorProto.DOUBLE, values.shape, values),
        helper.make_tensor("x", TensorProto.FLOAT, values.shape, values),
    ):
        model = onnx.load_from_string(forms["forest"])
        node = next(node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier")
        node.attribute.append(helper.make_attribute("class_weights_as_tensor", tensor))
        with pytest.raises(IntegrityError, match="class_weights_as_tensor are not finite"):
            graph.check(model.SerializeToString(), "model.onnx")


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x3a\xff\xff\xff\xff\x7f"])
def test_bytes_that_are_not_a_graph_raise_nothing_else(data: bytes) -> None:
    if data:
        with pytest.raises(IntegrityError, match="Invalid ONNX graph"):
            graph.check(data, "model.onnx")
    else:
        graph.check(data, "model.onnx")  # no node at all; onnxruntime refuses it


def test_sound_graphs_are_accepted(forms: dict[str, bytes]) -> None:
    assert len(forms) == 3
    for data in forms.values():
        graph.check(data, "model.onnx")


def test_proof_refuses_a_graph_before_onnxruntime_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forest = RandomForestClassifier(3, random_state=0).fit(X, Y)
    rows = np.concatenate([X, X[:50]])
    write_artefact(tmp_path / "m", name="m", estimator=forest, features=FEATURES, golden_rows=rows)
    monkeypatch.setattr(sys, "argv", ["prove", "onnx", str(tmp_path / "m")])
    monkeypatch.setattr(prove, "limit_memory", lambda _: None)
    monkeypatch.setattr(prove, "open_backend", lambda *_: pytest.fail("it was read"))
    path = tmp_path / "m/model.onnx"
    model = onnx.load(str(path))
    close_a_path(model)
    path.write_bytes(model.SerializeToString())
    assert prove.main() == 1
    assert "comes before its parent" in capsys.readouterr().err
