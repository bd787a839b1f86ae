"""The roles bundle: the Ansible roles that install a release, as one tar with a digest.

A release pins it, so that a VM installs, and goes back to, a release by the roles it was made with.
The same tree gives the same bytes, wherever and whenever it is packed.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from skfleet import declared
from skfleet.documents.edge import EDGE, Edge, parse_edge
from skfleet.documents.slo import SLO
from skfleet.errors import ConfigurationError

# What converge.yml reaches; nothing else of the repository is on a VM.
ROLES = ("release", "runtime")
# Files of a working tree that are no part of a role: their change must not make another release.
_LEFT_OUT_SUFFIXES = (".md", ".pyc", ".orig", ".rej", ".swp")


def make_bundle(repo: Path) -> bytes:
    """The bundle of a checkout; at its root converge.yml, ansible.cfg, edge.yml, slo.yml and `roles/`."""
    contents = {
        EDGE: repo / EDGE,
        SLO: repo / SLO,
        "ansible.cfg": repo / "roles/converge.cfg",
        "converge.yml": repo / "playbooks/converge.yml",
    }
    for role in ROLES:
        root = repo / "roles" / role
        for file in root.rglob("*"):
            if file.is_file() and not _left_out(file.relative_to(root)):
                contents[str(file.relative_to(repo))] = file
    for file in (*contents.values(), *(repo / "roles" / role / "tasks" for role in ROLES)):
        if not file.exists():
            raise ConfigurationError(
                "The repository is not whole.",
                where=str(file),
                hint="Run the command in a checkout of skfleet.",
            )
    declared.load(repo)  # what no role could use stops here
    buffer = io.BytesIO()
    # USTAR: no extended headers, which hold times and differ between versions of Python.
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(contents):
            data = contents[name].read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o644
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def edge_in(bundle: bytes, where: str) -> Edge | None:
    """What the edge.yml of a bundle declares; None for a bundle of before bundles had one."""
    try:
        with tarfile.open(fileobj=io.BytesIO(bundle), mode="r:") as tar:
            file = tar.extractfile(EDGE)
            data = file.read() if file is not None else b""
    except (tarfile.TarError, KeyError):
        return None
    return parse_edge(declared.parse_yaml(data, f"{where}: {EDGE}"), where)


def _left_out(path: Path) -> bool:
    return (
        any(part.startswith((".", "__pycache__")) for part in path.parts)
        or path.name.endswith(_LEFT_OUT_SUFFIXES)
        or path.name.endswith("~")
    )
