"""The image: whole or not there, self-contained, and with the roles that make a host."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from skfleet.errors import SkfleetError
from skfleet_local import image
from skfleet_local.addresses import Addresses
from skfleet_local.run import Run
from skfleet_local.vm import Vm
from skfleet_operator.builds.wheelhouse import RUNTIME_PINS

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.fleet
def test_a_vms_disk_is_made_of_the_image_alone(tmp_path: Path) -> None:
    run = Run(tmp_path / "100% run")
    run.vms.mkdir(parents=True)
    image.bake(run, REPOSITORY)
    assert [path.name for path in run.root.iterdir() if path.name.startswith(".")] == []
    with tarfile.open(run.image / "runtime/share/skfleet/bundle.tar") as bundle:
        assert "converge.yml" in bundle.getnames()
    vm = Vm(run, Addresses("127.20.20"), "vm-1", "127.20.20.11", run.image)
    vm.make_disk()
    converge = vm.prefix / "opt/skfleet/runtime/bin/skfleet-converge"
    result = subprocess.run(
        [str(converge), "--help"], env={"PATH": os.defpath}, capture_output=True, check=False
    )
    assert result.returncode == 0, result.stderr
    # Its own copy of the package, not the checkout's.
    code = "import skfleet; print(skfleet.__file__)"
    python = str(run.image / "runtime/bin/python")
    where = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert where.stdout.startswith(str(run.image))
    host = yaml.safe_load((vm.prefix / "etc/skfleet/host.yml").read_text())
    assert host["skfleet_prefix"] == str(vm.prefix)
    assert "100%% run" in vm.configuration.read_text()


def test_an_image_that_cannot_be_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run")
    run.root.mkdir()
    (tmp_path / "requirements").mkdir()
    (tmp_path / RUNTIME_PINS).write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    monkeypatch.setenv("UV_OFFLINE", "1")
    with pytest.raises(SkfleetError, match="packages"):
        image.bake(run, tmp_path)
    assert list(run.root.iterdir()) == []
