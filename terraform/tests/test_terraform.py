"""Terraform, offline: format, validity and tests of the root and every module, and the environments' plans.

Everything happens in a copy, so that neither .terraform nor a lock file is left in the tree. The provider
comes from wherever Terraform is configured to find it (TF_CLI_CONFIG_FILE: a mirror), else from its registry.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

TERRAFORM = Path(__file__).resolve().parents[1]
REPOSITORY = TERRAFORM.parent
DOCUMENTS = ("slo.yml", "edge.yml")  # what the tree reads from beside it
MODULES = sorted(path.name for path in (TERRAFORM / "modules").iterdir() if path.is_dir())
ENVIRONMENTS = sorted(path.stem for path in (TERRAFORM / "environments").glob("*.tfvars"))
DIRECTORIES = [".", *(f"modules/{name}" for name in MODULES)]

HOW_TO_GET_TERRAFORM = "install Terraform 1.11 or newer and put it on PATH"
HOW_TO_GET_PROVIDER = (
    "let Terraform reach its provider registry, or set TF_CLI_CONFIG_FILE to a CLI configuration "
    "whose provider_installation names a mirror with hashicorp/google"
)


def missing(what: str, how: str) -> None:
    """Skip with what is missing and how to get it; fail where nothing may be skipped."""
    reason = f"{what}; {how}"
    if os.environ.get("SKFLEET_NO_SKIP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass
class Tree:
    """A copy of the tree, and Terraform in it."""

    root: Path
    environment: dict[str, str]

    def run(self, directory: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments],
            cwd=self.root / directory, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def initialise(self, directory: str) -> None:
        """`terraform init`; without a provider there is nothing to test."""
        done = self.run(directory, "init", "-backend=false", "-input=false", "-no-color")
        if done.returncode != 0 and "provider" in done.stderr:
            missing(
                f"the Google provider cannot be had: {done.stderr.strip()[:300]}",
                HOW_TO_GET_PROVIDER,
            )
        insist(done)


def insist(done: subprocess.CompletedProcess[str]) -> str:
    """What Terraform said; where it failed, that is the failure's message."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    if shutil.which("terraform") is None:
        missing("terraform is not on PATH", HOW_TO_GET_TERRAFORM)
    base = tmp_path_factory.mktemp("terraform")
    shutil.copytree(
        TERRAFORM, base / "terraform",
        ignore=shutil.ignore_patterns(".terraform", ".terraform.lock.hcl", "*.tfstate*", "__pycache__"),
    )  # fmt: skip
    for name in DOCUMENTS:
        shutil.copy(REPOSITORY / name, base / name)
    plugins = base / "plugins"
    plugins.mkdir()
    environment = {
        **os.environ,
        "TF_PLUGIN_CACHE_DIR": str(plugins),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        # Every run of a test reads the provider's whole schema anew; a tenth of that is collecting garbage.
        "GOGC": "400",
    }
    tree = Tree(base / "terraform", environment)
    for directory in DIRECTORIES:  # one after another: the plugin cache takes no two at once
        tree.initialise(directory)
    return tree


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
