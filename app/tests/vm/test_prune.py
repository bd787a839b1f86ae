"""What a host may go back to is kept, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "roles/release/files/prune.py"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Six releases, oldest first; r1 and r2 share build and model, the others have their own."""
    root, cache = tmp_path / "opt/skfleet", tmp_path / "var/lib/skfleet/cache"
    for number in range(1, 7):
        share = max(number, 2)
        directory = root / f"releases/r{number}"
        directory.mkdir(parents=True)
        document = {
            "app": {"sha256": f"app{share}"},
            "bundle": {"sha256": f"bundle{number}"},
            "models": [{"name": "m", "manifest": {"sha256": f"model{share}"}}],
        }
        (directory / "release.json").write_text(json.dumps(document))
        os.utime(directory, (number, number))
        (root / f"builds/app{share}").mkdir(parents=True, exist_ok=True)
        (cache / f"models/model{share}").mkdir(parents=True, exist_ok=True)
        (cache / "objects").mkdir(parents=True, exist_ok=True)
        (cache / f"objects/bundle{number}").write_bytes(b"x")
        (cache / f"objects/app{share}").write_bytes(b"x")
    (cache / "uv").mkdir()
    (root / "current").symlink_to("releases/r6")
    (root / "previous").symlink_to("releases/r1")
    (tmp_path / "run/skfleet").mkdir(parents=True)
    return tmp_path


def prune(prefix: Path, keep: int, check: str = "false") -> list[str]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(prefix), str(keep), check],
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(str(Path(line).relative_to(prefix)) for line in done.stdout.splitlines())


def names(prefix: Path, folder: str) -> list[str]:
    return sorted(path.name for path in (prefix / folder).iterdir())


def test_current_previous_and_newest_others_are_kept(prefix: Path) -> None:
    prune(prefix, keep=1)
    assert names(prefix, "opt/skfleet/releases") == ["r1", "r5", "r6"]


def test_what_kept_releases_share_with_removed_ones_is_kept(prefix: Path) -> None:
    prune(prefix, keep=0)
    assert names(prefix, "opt/skfleet/builds") == ["app2", "app6"]
    assert names(prefix, "var/lib/skfleet/cache/models") == ["model2", "model6"]
    assert names(prefix, "var/lib/skfleet/cache/objects") == ["app2", "app6", "bundle1", "bundle6"]


def test_staged_release_is_kept(prefix: Path) -> None:
    (prefix / "run/skfleet/staged.json").write_text('{"release": "r3"}')
    prune(prefix, keep=0)
    assert names(prefix, "opt/skfleet/releases") == ["r1", "r3", "r6"]


def test_wheels_go_with_the_builds_they_were_for(prefix: Path) -> None:
    assert "var/lib/skfleet/cache/uv" in prune(prefix, keep=1)
    assert not (prefix / "var/lib/skfleet/cache/uv").exists()


def test_nothing_is_removed_twice_or_for_nothing(prefix: Path) -> None:
    assert prune(prefix, keep=9) == []
    prune(prefix, keep=0)
    assert prune(prefix, keep=0) == []


def test_check_removes_nothing(prefix: Path) -> None:
    told = prune(prefix, keep=0, check="true")
    assert told
    assert prune(prefix, keep=0) == told
