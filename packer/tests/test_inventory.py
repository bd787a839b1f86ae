"""The inventory of an image: a CycloneDX document with what is installed, and where."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest

from .conftest import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "playbooks/filter_plugins"))
from inventory import cyclonedx

FOUND: dict[str, Any] = {
    "system": {"ID": "debian", "VERSION_ID": "12"},
    "debian": [
        {"name": "libssl3", "version": "3.0.19-1", "architecture": "amd64", "source": "openssl"}
    ],
    "python": {
        "runtime": [{"name": "msgspec", "version": "0.19.0"}],
        "builds/abc": [{"name": "msgspec", "version": "0.19.0"}],
    },
}


def test_packages_are_named_as_advisories_name_them() -> None:
    bom = json.loads(cyclonedx(FOUND, {"version": "1.0", "commit": "c0ffee"}))
    urls = [component["purl"] for component in bom["components"]]
    assert "pkg:deb/debian/libssl3@3.0.19-1?arch=amd64&distro=debian-12&upstream=openssl" in urls
    # The same package twice, once in each environment: both are installed, both must be mended.
    assert urls.count("pkg:pypi/msgspec@0.19.0") == 2
    assert {"name": "skfleet:commit", "value": "c0ffee"} in bom["metadata"]["component"][
        "properties"
    ]


def test_a_document_that_the_schema_refuses_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        def __init__(self, _: object) -> None: ...

        def validate_str(self, _: str) -> str:
            return "no"

    monkeypatch.setattr("cyclonedx.validation.json.JsonStrictValidator", Refusing)
    with pytest.raises(ValueError, match="no CycloneDX document"):
        cyclonedx(FOUND, {"version": "1.0"})


def test_the_list_of_this_host_is_read_by_a_bare_python() -> None:
    script = REPOSITORY / "playbooks/files/image/packages.py"
    if shutil.which("dpkg-query") is None:
        pytest.skip("this machine has no dpkg; CI runs on Debian")
    listed = subprocess.run(
        [sys.executable, "-I", str(script)], capture_output=True, text=True, check=True
    )
    found = json.loads(listed.stdout)
    assert {"name", "version", "architecture", "source"} == set(found["debian"][0])
    assert "runtime" in found["python"]
