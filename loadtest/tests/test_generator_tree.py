"""A load generator runs from the tree that playbooks/loadtest.yml packs, with requirements/loadtest.txt."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import yaml

from skfleet_loadtest import TREE
from skfleet_testing.distributions import link

CODE = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from locust.main import main
main()
"""


def packed() -> list[str]:
    """The paths that the playbook packs."""
    plays = yaml.safe_load((TREE / "playbooks/loadtest.yml").read_text())
    task = next(task for task in plays[0]["tasks"] if task["name"].startswith("Pack the tree"))
    return [
        name for name in task["ansible.builtin.command"]["argv"][1:] if not name.startswith("-")
    ]


def test_generator_loads_its_users_from_the_packed_tree(tmp_path: Path) -> None:
    tree, site = tmp_path / "tree", tmp_path / "site"
    for name in packed():
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (TREE / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
            shutil.copytree(TREE / name, target, ignore=ignored)
        else:
            shutil.copy(TREE / name, target)
    pins = (TREE / "requirements/loadtest.txt").read_text()
    for name in re.findall(r"(?m)^([\w.-]+)==", pins):
        try:
            link(metadata.distribution(name), site)
        except metadata.PackageNotFoundError:
            continue  # of another platform
    done = subprocess.run(
        [sys.executable, "-S", "-c", CODE, str(site), "-f", "loadtest/locustfile.py", "--list"],
        cwd=tree,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "FormUser" in done.stdout
