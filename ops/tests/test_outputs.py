"""A command that fills a directory removes nothing but what such a command wrote."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.linear_model import LogisticRegression

from skfleet import documents
from skfleet.backends import load_model
from skfleet.documents.manifest import Feature
from skfleet.errors import ConfigurationError, Refused
from skfleet_operator.builds import image
from skfleet_operator.cli.command import skfleet
from skfleet_operator.models.publish import own_files, write_artefact

FEATURES = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)]


@pytest.fixture
def write(
    estimator: LogisticRegression, golden_rows: np.ndarray
) -> Callable[[Path, dict[str, bytes]], Any]:
    """Write an artefact into a directory, with further files of its own."""

    def write_into(directory: Path, extra: dict[str, bytes]) -> Any:
        return write_artefact(
            directory,
            name="tiny",
            estimator=estimator,
            features=FEATURES,
            golden_rows=golden_rows,
            extra=extra,
        )

    return write_into


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def test_write_artefact_refuses_a_directory_of_others(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Any]
) -> None:
    (tmp_path / "model.pkl").write_bytes(b"precious")
    (tmp_path / "notes.csv").write_bytes(b"precious")
    (tmp_path / "manifest.json").write_bytes(b'{"name": "a web application"}')
    before = contents(tmp_path)
    with pytest.raises(Refused, match="not empty") as refused:
        write(tmp_path, {})
    assert refused.value.exit_code == 4
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(before)


def test_write_artefact_replaces_its_own_files_alone(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Any]
) -> None:
    directory = tmp_path / "m"
    write(directory, {"old.html": b"old"})
    (directory / "notes.txt").write_bytes(b"precious")
    (directory / "folder").mkdir()
    write(directory, {"new.html": b"new"})
    assert contents(directory)["notes.txt"] == b"precious"
    assert (directory / "folder").is_dir()
    assert not (directory / "old.html").exists()
    assert load_model(directory).backend.name == "linear"
    assert {path.name for path in tmp_path.iterdir()} == {"m"}  # nothing is left beside it
    with pytest.raises(Refused, match=r"notes\.txt"):
        write(directory, {"notes.txt": b"ours"})
    assert contents(directory)["notes.txt"] == b"precious"
    load_model(directory)


def test_write_artefact_leaves_the_old_one_when_it_fails(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {})
    before = contents(tmp_path)

    def fail(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("skfleet_operator.models.publish.prove", fail)
    with pytest.raises(MemoryError):
        write(tmp_path, {})
    assert contents(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == len(before)


def test_write_artefact_refuses_a_file_as_directory(
    tmp_path: Path, write: Callable[[Path, dict[str, bytes]], Any]
) -> None:
    (tmp_path / "file").write_bytes(b"precious")
    with pytest.raises(ConfigurationError, match="expected a directory"):
        write(tmp_path / "file", {})
    assert (tmp_path / "file").read_bytes() == b"precious"


@pytest.mark.parametrize(
    "command",
    [
        ["model", "train", "flight-delay", "--output", "."],
        ["model", "import", "model.pkl", "--trust-pickle", "--output", "."],
        ["app", "image", "--contents", ".", "--repo", "."],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_commands_refuse_the_directory_they_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    """The command fails before it does anything that takes long."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.pkl").write_bytes(b"precious")
    done = CliRunner().invoke(skfleet, command)
    assert isinstance(done.exception, Refused), done.output
    assert contents(tmp_path) == {"model.pkl": b"precious"}


def test_image_names_its_own_files(tmp_path: Path) -> None:
    assert image.own_files(tmp_path) == []
    (tmp_path / "image.json").write_text(json.dumps({"name": "a web application"}))
    assert image.own_files(tmp_path) == []
    document = image.Image(
        version="1", python="3.11", platform="linux", contracts=[1], bundle="0" * 64
    )
    (tmp_path / "image.json").write_bytes(documents.write(document))
    (tmp_path / "runtime.tar").write_bytes(b"")
    (tmp_path / "notes.txt").write_bytes(b"precious")
    assert image.own_files(tmp_path) == ["runtime.tar", "image.json"]


def test_damaged_manifest_names_no_files(tmp_path: Path, artefact: Path) -> None:
    assert own_files(artefact)[-1] == "manifest.json"
    (artefact / "manifest.json").write_bytes(b"{")
    assert own_files(artefact) == []
    assert own_files(tmp_path / "away") == []
