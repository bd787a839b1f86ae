"""Read edge.yml and slo.yml: of a checkout, or as they were when this package's wheel was built.

Both are at the checkout's root. The build writes them into the wheel as `declared.json`, since a build
that only serves has no YAML. On a VM those of the release's roles bundle come first (roles/release).
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import msgspec

from skfleet.documents.edge import EDGE, Edge, parse_edge
from skfleet.documents.slo import SLO, Slo, parse_slo
from skfleet.errors import DocumentError

PACKAGED = "declared.json"


class Declared(msgspec.Struct, frozen=True, kw_only=True):
    """Both documents."""

    edge: Edge
    slo: Slo


def load(repository: Path) -> Declared:
    """The declarations of a checkout; raises DocumentError."""
    return _declared(whole(repository), str(repository))


def read_edge(path: Path) -> Edge:
    """Read an edge.yml; raises DocumentError naming the field."""
    return parse_edge(_read(path), str(path))


def read_slo(path: Path) -> Slo:
    """Read an slo.yml; raises DocumentError naming the field."""
    return parse_slo(_read(path), str(path))


def whole(repository: Path) -> dict[str, Any]:
    """Both documents of a checkout whole, as `declared.json` holds them; raises DocumentError."""
    return {"edge": _read(repository / EDGE), "slo": _read(repository / SLO)}


def parse_yaml(text: str | bytes, where: str) -> Any:
    """What YAML says; raises DocumentError where it is none."""
    import yaml  # Ansible brings it; a build that only serves has none

    try:
        return yaml.safe_load(text)
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise _unreadable(error, where) from None


@functools.cache
def declared() -> Declared:
    """The declarations of this package: those of its wheel, or of the checkout it is imported from."""
    package = Path(__file__).parent
    packaged = package / PACKAGED
    if packaged.exists():
        return _declared(msgspec.json.decode(packaged.read_bytes()), str(packaged))
    return load(package.parents[2])


def _read(path: Path) -> Any:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(error, str(path)) from None
    return parse_yaml(text, str(path))


def _unreadable(error: Exception, where: str) -> DocumentError:
    return DocumentError(
        f"{Path(where).name} cannot be read: {error}.",
        where=where,
        hint="Work in a whole checkout of skfleet.",
    )


def _declared(found: dict[str, Any], where: str) -> Declared:
    return Declared(edge=parse_edge(found["edge"], where), slo=parse_slo(found["slo"], where))
