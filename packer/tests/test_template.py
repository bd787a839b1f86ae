"""The template, as far as the Packer that is here can judge it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import CLOUD, REPOSITORY, Contents, Validate


def said(done: subprocess.CompletedProcess[str]) -> str:
    """Packer wraps its messages."""
    return " ".join((done.stdout + done.stderr).split())


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("key") / "id"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return str(path)


def test_an_image_on_compute_engine_is_a_valid_build(validate: Validate) -> None:
    for debian in ("12", "13"):
        done = validate("googlecompute.image", **CLOUD, debian=debian)
        assert done.returncode == 0, said(done)


def test_the_same_build_is_valid_for_a_host(validate: Validate, key: str) -> None:
    done = validate("null.host", host="192.0.2.1", host_private_key_file=key)
    assert done.returncode == 0, said(done)


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("project_id", "Example Project", "must be a project's id"),
        ("zone", "europe-west1", "must be one zone"),
        ("subnetwork", "Sub_Net", "must be a subnet's name"),
        ("service_account", "1234-compute@developer.gserviceaccount.com", "not for baking"),
        ("debian", "11", "must be 12 or 13"),
        ("source_image", "debian-12", "must pin one image"),
        ("environment", "staging", "must be dev or prod"),
        ("name", "", "at most 20"),
        ("disk_size", "5", "10 to 100 GB"),
        ("trusted_keys", '["nowhere.pub"]', "must be files *.pub that are there"),
    ],
)
def test_a_bad_variable_is_refused_by_name(
    validate: Validate, variable: str, value: str, message: str
) -> None:
    done = validate("googlecompute.image", **(CLOUD | {variable: value}))
    assert done.returncode != 0
    assert f"The {variable}" in said(done)
    assert message in said(done)


def test_missing_contents_are_refused_with_the_command_that_writes_them(
    validate: Validate, tmp_path: Path
) -> None:
    done = validate("googlecompute.image", **(CLOUD | {"contents": str(tmp_path)}))
    assert done.returncode != 0
    assert "write them with `skfleet app image`" in said(done)


def test_the_check_sees_a_misspelt_argument(
    validate: Validate, packer_folder: Path, tmp_path: Path
) -> None:
    """The negative control: what passes above passes for being right."""
    folder = tmp_path / "packer"
    shutil.copytree(packer_folder, folder, ignore=shutil.ignore_patterns("tests"))
    for name in ("playbooks", ".venv", "ansible.cfg"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    assert validate("googlecompute.image", folder=folder, **CLOUD).returncode == 0
    template = folder / "image.pkr.hcl"
    template.write_text(template.read_text().replace("omit_external_ip", "omit_external_address"))
    done = validate("googlecompute.image", folder=folder, **CLOUD)
    assert done.returncode != 0
    assert "omit_external_address" in said(done)


def test_packers_own_style(packer_folder: Path) -> None:
    done = subprocess.run(
        ["packer", "fmt", "-check", str(REPOSITORY / "packer")], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_a_baked_vm_is_reached_by_iap_alone_and_boots_only_what_is_signed() -> None:
    """Of the text: no Packer says what a build would ask of Google."""
    text = (REPOSITORY / "packer/image.pkr.hcl").read_text()
    source = text[text.index('source "googlecompute"') : text.index('source "null"')]
    for name in (
        *("omit_external_ip", "use_internal_ip", "use_iap", "use_os_login"),
        *("enable_secure_boot", "enable_vtpm", "enable_integrity_monitoring"),
    ):
        assert re.search(rf"^\s*{name}\s*= true$", source, re.M), name
    assert re.search(r'^\s*"12" = "debian-12-bookworm-v\d{8}"$', text, re.M)


def test_everything_that_names_the_variables_names_those_there_are() -> None:
    declared = set(
        re.findall(
            r'^variable "(\w+)"', (REPOSITORY / "packer/variables.pkr.hcl").read_text(), re.M
        )
    )
    workflow = (REPOSITORY / ".github/workflows/delivery-bake.yml").read_text()
    assert set(re.findall(r"PKR_VAR_(\w+)", workflow)) <= declared
    guide = (REPOSITORY / "docs/deploy.md").read_text()
    named = set(re.findall(r'-var "(\w+)=', guide))
    assert set(CLOUD) <= named <= declared


def test_keys_of_the_folder_are_trusted_by_every_image(
    packer_folder: Path, make_contents: Contents, tmp_path: Path
) -> None:
    """The label says how many: `skfleet doctor` reads it."""
    folder = tmp_path / "packer"
    shutil.copytree(packer_folder, folder, ignore=shutil.ignore_patterns("tests", "trusted-keys"))
    values = {"contents": str(make_contents()), **CLOUD}
    variables = [f"-var={name}={value}" for name, value in values.items()]

    def evaluate(expression: str) -> str:
        done = subprocess.run(
            ["packer", "console", *variables, str(folder)],
            input=expression, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return done.stdout

    assert '"trusted-keys" = 0' in evaluate("local.labels")
    (folder / "trusted-keys").mkdir()
    (folder / "trusted-keys/fleet-2026.pub").touch()
    assert '"trusted-keys" = 1' in evaluate("local.labels")
    assert "trusted-keys/fleet-2026.pub" in evaluate("local.keys")
