"""The commands of the local fleet and of make delete only what they made."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from skfleet.errors import Refused
from skfleet_local import cli
from skfleet_local.hosts import __main__ as hosts
from skfleet_local.run import Run, State, claim, remove

REPOSITORY = Path(__file__).resolve().parents[2]


def command(directory: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments, env={"SKFLEET_RUN_DIR": str(directory)})


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A directory of a user's, such as SKFLEET_RUN_DIR may name by mistake."""
    (tmp_path / "thesis.tex").write_text("precious")
    (tmp_path / "photos").mkdir()
    return tmp_path


@pytest.mark.parametrize("arguments", [["down"], ["down", "--keep"], ["up", "--vms", "1"]])
def test_commands_refuse_a_directory_of_others(precious: Path, arguments: list[str]) -> None:
    done = command(precious, *arguments)
    assert done.exit_code == 4, done.output
    assert "not empty" in done.output
    assert sorted(path.name for path in precious.iterdir()) == ["photos", "thesis.tex"]


def test_down_leaves_an_empty_directory_of_others(tmp_path: Path) -> None:
    done = command(tmp_path, "down")
    assert "nothing to end" in done.output
    assert tmp_path.is_dir()


def made(directory: Path) -> Run:
    """A run without processes, with an object in its bucket."""
    run = Run(directory)
    with run.lock():
        run.write_state(
            State(subnet="127.9.9", project="p", repository="r", runtime="", time_scale=1)
        )
        (run.objects / "bucket").mkdir(parents=True)
        (run.objects / "bucket" / "model").write_text("the only copy")
    return run


def test_down_says_that_the_bucket_goes(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    done = command(run.root, "down")
    assert f"deleted {run.root}: the bucket" in done.output
    assert "--keep" in done.output
    assert not run.root.exists()


def test_down_keeps_the_bucket_when_asked(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    done = command(run.root, "down", "--keep")
    assert done.exit_code == 0
    assert (run.objects / "bucket" / "model").read_text() == "the only copy"
    assert run.read_state() is not None


def test_run_of_an_earlier_version_can_be_removed(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run.root / ".skfleet-run").unlink()
    assert remove(run.root)


def test_claim_accepts_new_empty_and_own_directories(tmp_path: Path) -> None:
    claim(tmp_path / "new")
    claim(tmp_path / "new")
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty")


def test_hosts_refuse_a_directory_of_others(
    precious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKFLEET_HOSTS", str(precious))
    with pytest.raises(Refused):
        hosts.down()
    with pytest.raises(Refused):
        hosts.stop("photos", None)
    monkeypatch.setenv("SKFLEET_HOSTS", str(precious / "hosts"))
    with pytest.raises(Refused):
        hosts.stop("bake", precious)
    assert (precious / "photos").is_dir()
    assert (precious / "thesis.tex").read_text() == "precious"


def test_make_clean_keeps_what_is_the_users(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "Makefile", tmp_path)
    for path in ("app/src/skfleet.egg-info/PKG-INFO", "local/a/__pycache__/b.pyc",
                 ".skfleet/builds/b", ".skfleet/models/mine/manifest.json", ".venv/pyvenv.cfg",
                 "env/lib/numpy.egg-info/PKG-INFO", "env/__pycache__/x.pyc"):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text("")
    for folder in (
        "ops",
        "testing",
        "loadtest",
        "bench",
        "playbooks",
        "packer",
        "terraform",
        "molecule",
        "roles",
        "inventories",
    ):
        (tmp_path / folder).mkdir()
    done = subprocess.run(
        ["make", "clean"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "kept .skfleet/models:" in done.stdout
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        "Makefile",
        ".skfleet/models/mine/manifest.json",
        "env/lib/numpy.egg-info/PKG-INFO",
        "env/__pycache__/x.pyc",
    }


def test_make_spares_a_directory_that_is_no_environment(precious: Path) -> None:
    done = subprocess.run(
        [REPOSITORY / "requirements/make-venv", precious],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "not empty" in done.stderr
    assert (precious / "thesis.tex").read_text() == "precious"
