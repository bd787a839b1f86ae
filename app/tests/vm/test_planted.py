"""Documents are data: a VM evaluates nothing of them, and installs the bytes that were published."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from skfleet import documents
from skfleet.documents.release import Release
from skfleet.errors import ConfigurationError, DocumentError
from skfleet.settings import release_settings


class Plants:
    """Texts that touch a file of their own where anybody evaluates them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._count = 0

    def __call__(self) -> str:
        """As a comment, a statement and an expression of a template, and for a shell."""
        file = self._next()
        run = f"lookup('pipe', 'touch {file}')"
        return (
            f"{{# c #}}{{% if {run} %}}x{{% endif %}}{{{{ {run} }}}}"
            f"$(touch {file})`touch {file}`';touch {file};'\";touch {file};\""
        )

    def name(self) -> str:
        """One that an object's name can hold."""
        return f"{{{{lookup('pipe','touch${{IFS}}{self._next()}')}}}}"

    def _next(self) -> Path:
        self._count += 1
        return self.directory / str(self._count)

    def ran(self) -> list[str]:
        """What was evaluated."""
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
def plant(tmp_path: Path) -> Plants:
    directory = tmp_path / "ran"
    directory.mkdir()
    return Plants(directory)


@pytest.fixture(scope="module")
def vm(make_vm: Any) -> Iterator[Any]:
    with make_vm() as result:
        yield result


def planted(cloud: Any, plant: Plants) -> bytes:
    """Publish and desire a release with a plant wherever any text is taken; the document's bytes."""
    made = msgspec.to_builtins(cloud.release("model-of-others"))
    model = json.loads(json.dumps(made["models"][0]))
    folder = f"models/{plant.name()}"
    manifest = json.loads(cloud.store.read(model["manifest"]["uri"]).data)
    for entry in manifest["files"]:
        source = model["manifest"]["uri"].rsplit("/", 1)[0]
        cloud.put(f"{folder}/{entry['name']}", cloud.store.read(f"{source}/{entry['name']}").data)
    manifest |= {"created_at": plant(), "estimator": plant(), "training": {plant(): [plant()]}}
    pin = cloud.put(f"{folder}/manifest.json", json.dumps(manifest).encode())
    wheels = cloud.store.read(made["app"]["uri"]).data
    app = cloud.put(f"builds/{plant.name()}/wheelhouse.tar", wheels)
    bundle = cloud.put(f"bundles/{plant.name()}.tar", cloud.bundle)
    document = {
        **made,
        "id": "planted",
        "created_at": plant(),
        "created_by": plant(),
        "notes": plant() + "\n\x00\x1b[2J\u2028é\U0001f600 {{ unclosed",
        "app": {**made["app"], **msgspec.to_builtins(app)},
        "bundle": msgspec.to_builtins(bundle),
        "models": [{"name": "tiny", "manifest": msgspec.to_builtins(pin)}],
        # Of a newer writer: kept, and read by nobody here.
        "later": {plant(): plant(), "__ansible_unsafe": {"__ansible_unsafe": plant()}},
    }
    data = json.dumps(document).encode()  # not as we write it
    stored = cloud.put("releases/planted.json", data)
    entry = {
        "release": "planted",
        "document": msgspec.to_builtins(stored),
        "at": plant(),
        "by": plant(),
        "reason": plant(),
    }
    desired = {"schema_version": 1, "fleet": "test", "current": entry, "history": [entry]}
    cloud.put("fleets/test/desired.json", json.dumps(desired).encode())
    return data


def test_converge_evaluates_nothing_of_a_release_and_installs_its_bytes(
    vm: Any, plant: Plants
) -> None:
    data = planted(vm.cloud, plant)
    vm.converge()
    assert plant.ran() == []
    assert vm.machine.served() == "planted"
    installed = vm.machine.prefix / "opt/skfleet/current/release.json"
    assert installed.read_bytes() == data
    # What is installed is found to be the same, and can be left for another.
    assert vm.converge("planted", "--only", "stage")[-1]["changed"] == 0
    vm.converge("model-of-others")
    assert vm.machine.served() == "model-of-others"
    assert plant.ran() == []


NAMES = [
    ("id",),
    ("default_model",),
    ("models", 0, "name"),
    ("models", 0, "manifest", "sha256"),
    ("app", "version"),
    ("app", "sha256"),
    ("bundle", "sha256"),
]
ADDRESSES = [("app", "uri"), ("bundle", "uri"), ("models", 0, "manifest", "uri")]


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "a\n", "a\nB=c", "../a", "-a", "a b"])
@pytest.mark.parametrize("place", NAMES, ids=lambda place: ".".join(map(str, place)))
def test_name_of_a_release_is_refused_unless_it_is_one(place: tuple[Any, ...], text: str) -> None:
    assert_refused(place, text)


@pytest.mark.parametrize("text", ["gs://bucket/a\n", "gs://bucket/a 1 b", "gs://bucket/a\tb"])
@pytest.mark.parametrize("place", ADDRESSES, ids=lambda place: ".".join(map(str, place)))
def test_address_in_a_release_is_one_word(place: tuple[Any, ...], text: str) -> None:
    assert_refused(place, text)


def assert_refused(place: tuple[Any, ...], text: str) -> None:
    document = base()
    part: Any = document
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = text
    with pytest.raises(DocumentError):
        documents.read(Release, json.dumps(document).encode(), "here")


@pytest.mark.parametrize(
    "value",
    [
        "info\nLD_PRELOAD=/tmp/x.so",
        "info\rX=1",
        "info\x0bX=1",
        "info\x1cX=1",
        "info\x85X=1",
        "info\u2028X=1",
        {"a": "b"},
        "{{ 1 }}",
    ],
)
def test_setting_of_a_release_cannot_set_another_variable(value: Any) -> None:
    with pytest.raises(ConfigurationError):
        release_settings({"log_level": value})


def base() -> dict[str, Any]:
    """A release document to change."""
    digest = "0" * 64
    pin = {"uri": "gs://bucket/a", "generation": 1, "sha256": digest}
    document: dict[str, Any] = {
        "id": "a",
        "created_at": "2026-01-01T00:00:00Z",
        "created_by": "t",
        "app": {**pin, "version": "1.0", "python": "3.11", "platform": "p"},
        "bundle": dict(pin),
        "models": [{"name": "tiny", "manifest": dict(pin)}],
        "default_model": "tiny",
    }
    return document


@pytest.mark.parametrize("name", ["../../../../tmp/x", "--only=stage"])
def test_converge_refuses_what_is_no_name_of_a_release(vm: Any, name: str) -> None:
    done = vm.machine.converge("--", name)
    assert done.returncode == 2
    assert "Invalid release" in done.stderr
