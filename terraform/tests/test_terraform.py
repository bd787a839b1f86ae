"""Terraform, offline: format, validity and tests of the root and every module, and the environments' plans.

Everything happens in a copy, so that neither .terraform nor a lock file is left in the tree.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from .tree import DIRECTORIES, ENVIRONMENTS, REPOSITORY, TERRAFORM, Tree, insist

Job = tuple[str, ...]


def environment_job(name: str) -> Job:
    """The plans of one environment's tfvars file."""
    return (
        ".", "test", "-no-color",
        "-test-directory=tests/environments", f"-var-file=environments/{name}.tfvars",
    )  # fmt: skip


def jobs() -> list[Job]:
    """Directory and arguments of all that is run, the longest first."""
    environments = [environment_job(name) for name in ENVIRONMENTS]
    tests = [(directory, "test", "-no-color") for directory in DIRECTORIES]
    validations = [(directory, "validate", "-no-color") for directory in DIRECTORIES]
    tests.sort(
        key=lambda job: (job[0] != ".", -runs_in(job[0]))
    )  # the root plans every module each time
    return [*tests, *environments, *validations]


def runs_in(directory: str) -> int:
    """How many runs the tests of a directory have."""
    files = (TERRAFORM / directory / "tests").glob("*.tftest.hcl")
    return sum(path.read_text(encoding="utf-8").count("\nrun ") for path in files)


Done = Callable[..., str]


@pytest.fixture(scope="session")
def done(tree: Tree) -> Iterator[Done]:
    """What a job said. All are started at once, as many at a time as there are cores."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        running = {job: pool.submit(tree.run, *job) for job in jobs()}
        yield lambda *job: insist(running[job].result())
        for future in running.values():
            future.cancel()


def test_format(tree: Tree) -> None:
    insist(tree.run(".", "fmt", "-check", "-recursive", "-no-color"))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_terraform_test(done: Done, directory: str) -> None:
    assert f"{runs_in(directory)} passed, 0 failed" in done(directory, "test", "-no-color")


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_environment_plans(done: Done, name: str) -> None:
    assert "2 passed, 0 failed" in done(*environment_job(name))


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("directory", DIRECTORIES)
def test_validate(done: Done, directory: str) -> None:
    done(directory, "validate", "-no-color")


def sources() -> list[Path]:
    """Every file of the tree as it is in the repository."""
    return [
        path
        for path in sorted(TERRAFORM.rglob("*"))
        if path.is_file() and ".terraform" not in path.parts and "__pycache__" not in path.parts
    ]


def test_no_lock_file_is_kept() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--", "terraform"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    assert ".terraform.lock.hcl" not in listed
    assert ".tfstate" not in listed


def test_nothing_names_a_package_registry() -> None:
    # Assembled here, so that this file does not name one either.
    hosts = re.compile(
        "|".join(
            re.escape(".".join(parts))
            for parts in (
                ("registry", "terraform", "io"),
                ("releases", "hashicorp", "com"),
                ("pypi", "org"),
                ("pythonhosted", "org"),
                ("proxy", "golang", "org"),
                ("registry", "npmjs", "org"),
                ("ghcr", "io"),
            )
        )
    )
    named = [str(path) for path in sources() if hosts.search(path.read_text(encoding="utf-8"))]
    assert not named


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_every_module_explains_itself(directory: str) -> None:
    readme = TERRAFORM / directory / "README.md"
    assert readme.is_file()
    text = readme.read_text(encoding="utf-8")
    declared = (TERRAFORM / directory / "variables.tf").read_text(encoding="utf-8")
    for name in re.findall(r'^variable "(\w+)"', declared, re.MULTILINE):
        assert f"`{name}`" in text, f"{readme} does not speak of the variable {name}"
    outputs = (TERRAFORM / directory / "outputs.tf").read_text(encoding="utf-8")
    for name in re.findall(r'^output "(\w+)"', outputs, re.MULTILINE):
        assert f"`{name}`" in text, f"{readme} does not speak of the output {name}"


@pytest.mark.parametrize("directory", DIRECTORIES)
def test_variables_are_typed_and_said(directory: str) -> None:
    """Every variable has a type and a description, and is nullable = false unless null means 'none'."""
    declared = (TERRAFORM / directory / "variables.tf").read_text(encoding="utf-8")
    for block in re.split(r'^(?=variable ")', declared, flags=re.MULTILINE)[1:]:
        name = block.split('"')[1]
        assert re.search(r"^  type +=", block, re.MULTILINE), name
        assert re.search(r"^  description +=", block, re.MULTILINE), name
        none_is_meant = re.search(r"^  default += null$", block, re.MULTILINE)
        assert none_is_meant or re.search(r"^  nullable\s+= false$", block, re.MULTILINE), name


def test_every_validation_is_tried() -> None:
    """A validation without a run that expects it to fail is a guess."""
    for directory in DIRECTORIES:
        declared = (TERRAFORM / directory / "variables.tf").read_text(encoding="utf-8")
        validations = len(re.findall(r"^  validation \{", declared, re.MULTILINE))
        runs = sum(
            len(
                re.findall(
                    r"^  expect_failures\s+= \[var\.",
                    path.read_text(encoding="utf-8"),
                    re.MULTILINE,
                )
            )
            for path in (TERRAFORM / directory / "tests").glob("*.tftest.hcl")
        )
        assert runs >= validations, (
            f"{directory}: {validations} validations, {runs} runs that expect one"
        )
