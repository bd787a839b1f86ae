"""What the tests of the image share: the Packer that is here, and contents that need no build."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from skfleet import documents
from skfleet.vm.platform import host_tags
from skfleet_operator.builds.bundle import make_bundle

REPOSITORY = Path(__file__).resolve().parents[2]
# A build on Compute Engine as docs/deploy.md names it, but for the contents.
CLOUD = {
    "project_id": "example-skfleet-dev",
    "zone": "europe-west1-b",
    "subnetwork": "skfleet-europe-west1",
    "service_account": "skfleet-bake-vm@example-skfleet-dev.iam.gserviceaccount.com",
}

Contents = Callable[..., Path]
Validate = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def make_contents(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """A directory with image.json alone; what is given replaces a part of it."""
    python, platform = host_tags()

    def make(**change: object) -> Path:
        place = tmp_path_factory.mktemp("contents")
        document = {
            "schema_version": 1,
            "version": "0.1.0+v1.2.3.abcdef",
            "python": python,
            "platform": platform,
            "contracts": [1],
            "bundle": documents.sha256(make_bundle(REPOSITORY)),
            "commit": "0" * 40,
            "release": "",
        }
        (place / "image.json").write_text(json.dumps(document | change))
        return place

    return make


@pytest.fixture(scope="session")
def packer_folder() -> Path:
    """The folder for this Packer; skips, or fails where nothing may be skipped, without one."""
    if shutil.which("packer") is None:
        why = "Packer is not installed: apt-get install packer, or a release from HashiCorp"
        assert not os.environ.get("SKFLEET_NO_SKIP"), why
        pytest.skip(why)
    done = subprocess.run(
        [str(REPOSITORY / "packer/folder")], capture_output=True, text=True, check=True
    )
    folder = Path(done.stdout.strip())
    if folder == REPOSITORY / "packer":
        there = subprocess.run(
            ["packer", "plugins", "required", str(folder)],
            capture_output=True,
            text=True,
            check=False,
        )
        if there.returncode != 0 or "No plugins requirement" in there.stdout:
            pytest.skip("Packer's plugins are not installed: packer init packer")
    return folder


@pytest.fixture(scope="session")
def validate(packer_folder: Path, make_contents: Contents) -> Validate:
    """Check one source of the template with the given variables, and in another folder if asked."""
    contents = make_contents()

    def run(
        only: str, folder: Path = packer_folder, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        values = {"contents": str(contents), **variables}
        return subprocess.run(
            [
                "packer",
                "validate",
                f"-only={only}",
                *(f"-var={name}={value}" for name, value in values.items()),
                str(folder),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "CHECKPOINT_DISABLE": "1"},
        )

    return run
