"""The delivery workflows sign what they publish and bake only images that trust a key."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


def steps(workflow: str, job: str) -> dict[str, dict[str, Any]]:
    text = (REPOSITORY / f".github/workflows/{workflow}.yml").read_text()
    return {step.get("name", ""): step for step in yaml.safe_load(text)["jobs"][job]["steps"]}


def run(step: dict[str, Any], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The step's own script, as GitHub runs it."""
    return subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_publish_workflow_stops_without_a_signing_key(tmp_path: Path) -> None:
    step = steps("delivery-publish", "publish")["write the signing key"]
    done = run(step, tmp_path, SIGNING_KEY="", RUNNER_TEMP=str(tmp_path), GITHUB_ENV="env")
    assert done.returncode == 1
    assert "no secret SKFLEET_SIGNING_KEY" in done.stdout


def test_publish_workflow_hands_the_key_over_as_a_private_file(tmp_path: Path) -> None:
    all_steps = steps("delivery-publish", "publish")
    done = run(
        all_steps["write the signing key"], tmp_path,
        SIGNING_KEY="-----BEGIN\nKEY-----", RUNNER_TEMP=str(tmp_path), GITHUB_ENV="env",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    key = tmp_path / "signing-key.pem"
    assert key.read_text() == "-----BEGIN\nKEY-----\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "env").read_text() == f"SKFLEET_SIGNING_KEY={key}\n"
    names = list(all_steps)
    assert names.index("write the signing key") < names.index("build and publish the app")
    assert all_steps["remove the signing key"]["if"] == "always()"


@pytest.mark.parametrize(("keys", "code"), [((), 1), (("fleet-2026.pub",), 0), (("a.pem",), 1)])
def test_bake_workflow_stops_without_a_trusted_key(
    tmp_path: Path, keys: tuple[str, ...], code: int
) -> None:
    (tmp_path / "packer/trusted-keys").mkdir(parents=True)
    for name in keys:
        (tmp_path / "packer/trusted-keys" / name).touch()
    done = run(steps("delivery-bake", "image")["require a trusted key"], tmp_path)
    assert done.returncode == code, done.stdout
