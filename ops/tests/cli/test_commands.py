"""The `skfleet` command: what a user types, what it prints, how it fails."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from skfleet.artifacts.store import Store
from skfleet.documents.slo import SLO
from skfleet.errors import DocumentError, SkfleetError
from skfleet_operator.cli.command import skfleet
from skfleet_operator.cli.context import Operator
from skfleet_operator.cli.predict import parse_rows
from skfleet_operator.releases.capacity import TooLarge

REPO = Path(__file__).parents[3]
PROGRAM = Path(sys.executable).parent / "skfleet"


class TestOperator(Operator):
    """An operator with the test's own store."""

    __test__ = False

    def __init__(self, store: Store) -> None:
        self.store = store  # type: ignore[misc]
        self.name = "tester"  # type: ignore[misc]


@pytest.fixture
def run(store: Store, bucket: str, monkeypatch: pytest.MonkeyPatch):
    """Run a command with the bucket set; returns its standard output, raises its failure."""
    monkeypatch.setattr("skfleet_operator.cli.command.Operator", lambda: TestOperator(store))

    def call(*arguments: str) -> str:
        result = CliRunner().invoke(
            skfleet, arguments, env={"SKFLEET_BUCKET": bucket, "SKFLEET_FLEET": "blue"}
        )
        if isinstance(result.exception, SkfleetError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def release(run, store: Store, bucket: str, artefact: Path, *arguments: str) -> str:
    """A release of the tiny model with stand-ins for the big parts."""
    from skfleet_operator.builds.publish import publish_build, publish_bundle
    from skfleet_operator.builds.wheelhouse import Wheelhouse

    run("model", "publish", str(artefact))
    tar = artefact.parent / "wheelhouse.tar"
    tar.write_bytes(b"wheels")
    publish_build(store, bucket, Wheelhouse("1.0", "3.11", "linux_x86_64", tar), "tester")
    pin = publish_bundle(store, bucket, b"roles")
    return run("release", "create", "--model", "tiny", "--bundle", pin.sha256, *arguments).strip()


def test_from_model_to_desired_release(run, store: Store, bucket: str, artefact: Path) -> None:
    made = release(run, store, bucket, artefact, "--set", "workers=3", "--notes", "first")
    run("release", "desire", made)
    shown = json.loads(run("release", "show", made))
    assert shown["settings"] == {"workers": 3}
    listed = run("release", "list").splitlines()
    assert made in listed[1]
    assert "*" in listed[1]
    assert json.loads(run("release", "list", "--json"))[0]["desired"] is True
    models = json.loads(run("model", "list", "--json"))
    assert [(m["name"], m["default"]) for m in models] == [("tiny", True)]
    assert json.loads(run("model", "show", "tiny"))["golden_vectors"] == 120
    assert "1.0" in run("app", "list")


def test_diff_names_what_changes(run, store: Store, bucket: str, artefact: Path) -> None:
    one = release(run, store, bucket, artefact, "--id", "one", "--set", "workers=2")
    two = release(run, store, bucket, artefact, "--id", "two", "--set", "workers=4")
    assert "settings.workers" in run("release", "diff", one, two)
    assert run("release", "diff", one, one).strip() == "Nothing changes."


def test_a_second_desire_is_sent_to_the_rollout(
    run, store: Store, bucket: str, artefact: Path
) -> None:
    made = release(run, store, bucket, artefact)
    run("release", "desire", made)
    with pytest.raises(SkfleetError) as caught:
        run("release", "desire", made)
    assert "rollout.yml" in caught.value.hint


def test_verify_proves_every_backend(run, artefact: Path) -> None:
    assert "right on linear, sklearn" in run("model", "verify", "--path", str(artefact))


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["release", "list"], 2, "SKFLEET_BUCKET"),
        (["predict", "[0]"], 2, "hint"),
        (["model", "verify", "--path", "/nonexistent"], 1, "/nonexistent"),
        (["release", "create"], 2, "--model"),
    ],
)
def test_a_failure_is_one_message_with_a_remedy(
    arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    result = subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "SKFLEET_IAP_AUDIENCE": "x",
             "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "none.json")},
    )  # fmt: skip
    assert result.returncode == code, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("text", "rows"), [("[0, 1]", [[0, 1]]), ("[[0, 1], [1, 0]]", [[0, 1], [1, 0]])]
)
def test_rows_are_one_or_several(text: str, rows: list[list[float]]) -> None:
    assert parse_rows(text) == rows


@pytest.mark.parametrize("text", ["", "{}", "[[1], 2]", '["a"]', "[true]", "nan"])
def test_what_is_no_row_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_rows(text)


def test_a_release_that_does_not_fit_a_vm_is_refused_and_not_written(
    run, store: Store, bucket: str, artefact: Path, tmp_path: Path
) -> None:
    promised = yaml.safe_load((REPO / SLO).read_text())
    promised["objectives"]["memory"]["max_mib"] = 20
    (tmp_path / SLO).write_text(yaml.safe_dump(promised))
    with pytest.raises(TooLarge, match="20 MiB"):
        release(run, store, bucket, artefact, "--id", "big", "--repo", str(tmp_path))
    assert json.loads(run("release", "list", "--json")) == []
    made = release(run, store, bucket, artefact, "--id", "fits")
    # Nothing that weighs differs: not measured again.
    again = run("release", "create", "--from", made, "--id", "again", "--set", "threads=4",
                "--repo", str(tmp_path))  # fmt: skip
    assert again.strip() == "again"
    with pytest.raises(TooLarge):
        run("release", "create", "--from", made, "--set", "workers=3", "--repo", str(tmp_path))
