"""The tree, copied and initialised once."""

from __future__ import annotations

import os
import shutil

import pytest

from .tree import (
    DIRECTORIES,
    DOCUMENTS,
    HOW_TO_GET_TERRAFORM,
    REPOSITORY,
    TERRAFORM,
    Tree,
    missing,
)


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
