"""Laptop, plan, drift and bake take the same versions: each is named exactly, in one way everywhere."""

from __future__ import annotations

import re

import pytest

from .tree import MODULES, REPOSITORY, TERRAFORM

EXACT = r"\d+\.\d+\.\d+"
WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.yml"))


def test_the_provider_is_one_version() -> None:
    text = (TERRAFORM / "versions.tf").read_text(encoding="utf-8")
    (version,) = re.findall(r'source += "hashicorp/google"\s+version += "([^"]+)"', text)
    assert re.fullmatch(f"= {EXACT}", version)


@pytest.mark.parametrize("module", MODULES)
def test_the_root_s_provider_is_one_that_the_modules_take(module: str) -> None:
    root = (TERRAFORM / "versions.tf").read_text(encoding="utf-8")
    taken = tuple(map(int, re.findall(r'version += "= (\d+)\.(\d+)', root)[0]))
    text = (TERRAFORM / f"modules/{module}/versions.tf").read_text(encoding="utf-8")
    for low_major, low_minor, high in re.findall(r'version += ">= (\d+)\.(\d+), < (\d+)"', text):
        assert (int(low_major), int(low_minor)) <= taken < (int(high), 0)


def test_packer_s_plugins_are_one_version_each() -> None:
    text = (REPOSITORY / "packer/plugins.pkr.hcl").read_text(encoding="utf-8")
    versions = re.findall(r'^ +version = "([^"]+)"', text, re.MULTILINE)
    assert len(versions) == text.count("source ")
    for version in versions:
        assert re.fullmatch(f"= {EXACT}", version)


@pytest.mark.parametrize(
    "setting",
    [r"terraform_version: (.*?)(?:,|$)", r"setup-packer@.*\n +with:\s*\{?\s*version: (.*?)[,}\s]"],
)
def test_workflows_take_one_version(setting: str) -> None:
    texts = [path.read_text(encoding="utf-8") for path in WORKFLOWS]
    versions = {v for text in texts for v in re.findall(setting, text, re.MULTILINE)}
    assert len(versions) == 1
    assert re.fullmatch(EXACT, versions.pop())


def test_every_workflow_that_runs_terraform_or_packer_names_its_version() -> None:
    for path in WORKFLOWS:
        text = path.read_text(encoding="utf-8")
        for tool in ("terraform", "packer"):
            if re.search(rf"^ +(?:- run: )?{tool} (?:init|plan|build)", text, re.MULTILINE):
                assert f"hashicorp/setup-{tool}@" in text, path.name
