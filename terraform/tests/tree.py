"""A copy of the tree with Terraform in it, offline.

The provider comes from wherever Terraform is configured to find it (TF_CLI_CONFIG_FILE: a mirror), else
from its registry.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def messages(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    """The lines of a command with -json."""
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
