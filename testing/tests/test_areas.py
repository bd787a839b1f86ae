"""Areas are directories, each has its tests, and what boots VMs is apart."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from skfleet_testing.__main__ import jobs_for, pytest_arguments, read_testpaths
from skfleet_testing.areas import areas, files_of

REPOSITORY = Path(__file__).resolve().parents[2]


def test_every_test_file_is_in_one_area() -> None:
    tests = [
        str(path.relative_to(REPOSITORY))
        for directory in read_testpaths()
        for path in (REPOSITORY / directory).rglob("test_*.py")
    ]
    found = [file for files in areas(REPOSITORY, read_testpaths()).values() for file in files]
    assert sorted(found) == sorted(tests)


def test_the_guide_names_every_area() -> None:
    guide = (REPOSITORY / "docs/testing.md").read_text()
    assert [area for area in areas(REPOSITORY, read_testpaths()) if f"`{area}`" not in guide] == []


@pytest.mark.parametrize(
    ("area", "directory"),
    [
        ("serving", "app/tests/serving"),
        ("serving-fleet", "app/tests/serving"),
        ("terraform", "terraform/tests"),
        ("apply", "terraform/tests/apply"),
        ("loadtest", "loadtest/tests"),
        ("imports", "ops/tests/imports"),
    ],
)
def test_an_area_is_a_directory(area: str, directory: str) -> None:
    files = files_of(area, REPOSITORY, read_testpaths())
    assert files
    assert {str(Path(file).parent) for file in files} == {directory}


@pytest.mark.parametrize("area", ["none", "", "app/tests/serving", "fleet", "-fleet"])
def test_an_unknown_area_is_refused_with_the_known_ones(area: str) -> None:
    with pytest.raises(ValueError, match=r"Invalid area .*: expected one of .*serving.*terraform"):
        files_of(area, REPOSITORY, read_testpaths())


def test_the_command_refuses_an_unknown_area() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--area=none"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Invalid area 'none': expected one of" in done.stderr


def test_what_measures_load_and_what_boots_a_fleet_has_one_worker() -> None:
    assert "-n" in pytest_arguments("", "beside", 3)
    assert "-n" not in pytest_arguments("", "alone", 3)
    assert jobs_for("", 3) == 3
    assert jobs_for("playbooks-fleet", 3) == 1
    assert jobs_for("client", 3) <= 1, "three workers would take longer to start"
