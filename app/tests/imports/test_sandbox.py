"""A pickle that is hostile reaches nothing: no terminal, no process, no file, no network, no kernel."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from skfleet.imports import sandbox

pyseccomp = pytest.importorskip(
    "pyseccomp", reason="needs libseccomp.so.2: apt-get install libseccomp2"
)

HERE = Path(__file__).parent
NATIVE = pyseccomp.Arch.NATIVE
# Later than some libraries know; the same numbers everywhere.
NEW_CALLS = {
    "clone3": 435, "openat2": 437, "pidfd_open": 434, "fchmodat2": 452, "setxattrat": 463,
    "memfd_secret": 447, "io_uring_setup": 425, "mount_setattr": 442, "open_tree": 428, "fsopen": 430,
    "landlock_create_ruleset": 444,
}  # fmt: skip

# uretprobe and uprobe of x86-64: the kernel filters neither, and kills who calls them outside of a probe.
PROBES = [335, 336] if platform.machine() == "x86_64" else []

# Imports a pickle that runs the attacks, as an operator does it; says what came of it and of itself.
RUNNER = """
import ctypes, json, os, pickle, resource, sys
from pathlib import Path
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # what escapes becomes a child of this process
from skfleet.errors import SkfleetError
from skfleet.imports import scan
from skfleet.imports.importing import unpickle
class Evil:
    def __reduce__(self):
        given = {**json.loads(sys.argv[2]), "parent": os.getpid()}
        source = Path(sys.argv[1]).read_text().replace("GIVEN = {}", f"GIVEN = {given!r}")
        return exec, (source, {"__name__": "attacks"})
before = resource.getrlimit(resource.RLIMIT_NOFILE)
try:
    unpickle(pickle.dumps(Evil()), scan.Needs(), "evil")
    message = "it was taken for a model"
except SkfleetError as error:
    message = error.message
print(json.dumps({
    "message": message,
    "limits": before == resource.getrlimit(resource.RLIMIT_NOFILE),
    "left": Path(f"/proc/self/task/{os.getpid()}/children").read_text().split(),
}))
"""


@dataclass
class Scene:
    """What an attack could reach."""

    there: Path
    victim: subprocess.Popen[bytes]

    def given(self) -> dict[str, Any]:
        """For the attacks."""
        source = (HERE / "attacks.py").read_text()
        names = set(re.findall(r'(?:call|forked)\(\s*"(\w+)"', source))
        calls = {}
        for name in names:
            number = NEW_CALLS.get(name) or pyseccomp.resolve_syscall(NATIVE, name)
            if number >= 0:  # this processor has it
                calls[name] = number
        return {
            "there": str(self.there),
            "new": str(self.there.with_name("new")),
            "victim": self.victim.pid,
            "calls": calls,
        }


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """A file and a folder that anybody may write, and another process of the user."""
    tmp_path.chmod(0o777)
    there = tmp_path / "there"
    there.write_text("x")
    there.chmod(0o666)
    os.utime(there, (1_000_000, 1_000_000))
    os.setxattr(there, "user.kept", b"kept")
    with subprocess.Popen(["sleep", "1000"]) as victim:
        yield Scene(there, victim)
        victim.kill()


def run(given: dict[str, Any], terminal: int) -> dict[str, Any]:
    """Import the attacks in a process whose controlling terminal is `terminal`."""
    with subprocess.Popen(
        [sys.executable, "-c", "import fcntl, os, sys; fcntl.ioctl(0, 0x540E, 0); exec(sys.argv.pop(1))",
         RUNNER, str(HERE / "attacks.py"), json.dumps(given)],
        stdin=terminal,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:  # fmt: skip
        output, _ = process.communicate(timeout=240)
    found: dict[str, Any] = json.loads(output)
    return found


def test_hostile_pickle_reaches_nothing(scene: Scene) -> None:
    controller, terminal = os.openpty()
    os.set_blocking(terminal, False)
    given = scene.given()
    given["allowed"] = [pyseccomp.resolve_syscall(NATIVE, name) for name in sandbox.ALLOWED]
    given["allowed"] += PROBES
    found = run(given, terminal)
    assert "attempts, through: [], calls not refused: []" in found["message"]
    assert found["limits"], "the parent's limits changed"
    assert found["left"] == [], "a process outlived the import"
    assert scene.victim.poll() is None
    with pytest.raises(BlockingIOError):  # nothing was typed
        os.read(terminal, 100)
    assert [path.name for path in scene.there.parent.iterdir()] == ["there"]
    status = scene.there.stat()
    assert (scene.there.read_text(), status.st_mode & 0o777) == ("x", 0o666)
    assert (status.st_mtime, status.st_uid) == (1_000_000, os.getuid())
    assert os.listxattr(scene.there) == ["user.kept"]
    os.close(controller)
    os.close(terminal)
