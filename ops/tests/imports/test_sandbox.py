"""A pickle that is hostile reaches nothing: no terminal, no process, no file, no network, no kernel."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import platform
import re
import resource
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.utils import all_estimators

from skfleet.errors import IntegrityError, Refused, SkfleetError
from skfleet.polling import wait_until
from skfleet_operator.imports import parent, sandbox, scan
from skfleet_operator.imports.archive import check
from skfleet_operator.imports.importing import unpickle

pyseccomp = pytest.importorskip(
    "pyseccomp", reason="needs libseccomp.so.2: apt-get install libseccomp2"
)

pytestmark = pytest.mark.skipif(
    bool(sandbox.lacking()), reason=f"this system lacks a protection: {sandbox.lacking()}"
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
from skfleet_operator.imports import scan
from skfleet_operator.imports.importing import unpickle
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

# The process that unpickles, where packages are not installed.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({names!r}))
from skfleet_operator.imports.child import main
main()
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


# Sandboxes itself as an ordinary user, who has namespaces of users alone, and runs the attacks.
ORDINARY = """
import ctypes, json, mmap, os, resource, socket, struct, subprocess, sys
from pathlib import Path
from skfleet_operator.imports import sandbox
given = json.loads(sys.argv[2])
source = Path(sys.argv[1]).read_text().replace("GIVEN = {}", f"GIVEN = {given!r}")
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
held, missing = sandbox.enter()
try:
    exec(source, {"__name__": "attacks"})
except ValueError as error:
    print(json.dumps({"message": str(error), "held": held, "missing": missing}), flush=True)
os._exit(0)
"""


def test_ordinary_user_is_as_safe(scene: Scene) -> None:
    given = {**scene.given(), "parent": os.getpid()}
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY, str(HERE / "attacks.py"), json.dumps(given)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["missing"] == {}
    assert found["message"].endswith("through: []")
    assert scene.victim.poll() is None


# A process in the sandbox that runs what it is sent, without the seconds that scikit-learn takes.
PUPPET = """
import json, os, sys
from skfleet_operator.imports import sandbox
held, missing = sandbox.enter()
os.write(1, json.dumps({"held": held, "missing": missing}).encode() + b"\\n")
exec(sys.stdin.buffer.read())
"""


def said_by(monkeypatch: pytest.MonkeyPatch, source: str, max_bytes: int = 1 << 20) -> str:
    """The message of an import whose pickle runs this source."""
    monkeypatch.setattr(parent, "COMMAND", [sys.executable, "-c", PUPPET])
    with pytest.raises(SkfleetError) as refused:
        unpickle(source.encode(), scan.Needs(), "evil", max_bytes=max_bytes)
    return str(refused.value)


def test_answer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    endless = "while True: os.write(1, b'{}\\n' + b'x' * (1 << 20))"
    assert "larger than 8 MiB" in said_by(monkeypatch, endless, 8 << 20)
    assert "larger than" in said_by(monkeypatch, "while True: os.write(1, b'x' * (1 << 20))")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b'{"refused": "\\u001b]0;own\\u0007\\r\\u009b2J\\u202e"}\n', r"\x1b]0;own\x07\r\x9b2J\u202e"),
        (b"\x1b[2J\n", "Invalid answer"),
        (b"[]\n", "Invalid answer"),
        (b'{"names": ["a\\u001b[2J"]}\n', r"a\x1b[2J"),
        (b'{"width": -1}\n', "Invalid answer"),
        (b'{"estimator": 5}\n', "Invalid answer"),
        (b"{}\nPK", "is not a model"),
        (b"", "ended with 0"),
    ],
)  # fmt: skip
def test_answer_is_checked_and_prints_no_control_characters(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, expected: str
) -> None:
    message = said_by(monkeypatch, f"os.write(1, {answer!r}); os._exit(0)")
    assert expected in message
    assert all(character.isprintable() or character == "\n" for character in message)


def test_end_of_the_process_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "ended with 7" in said_by(monkeypatch, "os._exit(7)")
    assert "ended with -" in said_by(monkeypatch, "os.abort()")
    monkeypatch.setattr(parent, "TIMEOUT_S", 0.5)
    assert "took longer than" in said_by(monkeypatch, "while True: pass")


def test_missing_protections_refuse_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its libraries away, the process that unpickles says what it lacks; the pickle is not sent."""
    fitted = pickle.dumps(LogisticRegression().fit([[0], [1]], [0, 1]))
    monkeypatch.setattr(
        parent, "COMMAND", [sys.executable, "-c", WITHOUT.format(names=("landlockpy", "pyseccomp"))]
    )
    with pytest.raises(Refused) as refused:
        unpickle(fitted, scan.Needs(), "model.pkl")
    assert refused.value.exit_code == 4
    assert "seccomp (the package 'pyseccomp' is not installed)" in refused.value.message
    assert "Landlock (the package 'landlockpy' is not installed)" in refused.value.message
    assert "--weaker-sandbox" in refused.value.hint
    found = unpickle(fitted, scan.Needs(), "model.pkl", weaker_sandbox=True)
    assert set(found.missing) == {"seccomp", "Landlock"}
    assert found.answer.estimator == "LogisticRegression"


def test_process_that_is_not_held_gets_no_pickle(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process says of itself is not enough: the kernel shows otherwise."""
    monkeypatch.setattr(
        parent,
        "COMMAND",
        [sys.executable, "-c", "import time\nprint('{\"held\": [\"everything\"], \"missing\": {}}', "
         "flush=True)\ntime.sleep(60)"],
    )  # fmt: skip
    with pytest.raises(IntegrityError, match="Seccomp is 0"):
        unpickle(b"anything", scan.Needs(), "model.pkl")


def test_process_ends_with_its_parent() -> None:
    source = (
        "import pickle\nfrom skfleet_operator.imports import parent, scan\n"
        "child = parent.Child('x', 1)\nprint(child._process.pid, child.restrictions(), flush=True)\n"
        "import time; time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE) as operator:
        assert operator.stdout is not None
        pid = int(operator.stdout.readline().split()[0])
        assert Path(f"/proc/{pid}").exists()
        operator.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 5, "the process's end after its parent's")


def test_archive_that_unpacks_to_more_is_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", "{}")
        archive.writestr("x.npy", bytes(2 << 20))
    with pytest.raises(ValueError, match="unpacks to more than 1 MiB"):
        check(packed.getvalue(), 1 << 20)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("schema.json", json.dumps([{"file": "x.npy"}] * 1000))
        archive.writestr("x.npy", bytes(10 << 10))
    with pytest.raises(ValueError, match="from its own files"):
        check(packed.getvalue(), 1 << 20)


def test_scan_unpacks_no_more_than_allowed() -> None:
    bomb = zlib.compress(bytes(64 << 20))
    tracemalloc.start()
    scan.scan(bomb, max_bytes=1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.full
def test_every_estimator_is_unpickled_without_a_file(tmp_path: Path) -> None:
    """Whatever unpickling and converting import was imported before; skops has no form of Birch."""
    rows = np.abs(np.random.default_rng(0).normal(size=(60, 4)))
    pickles: dict[str, bytes] = {}
    for name, kind in all_estimators():
        if not hasattr(kind, "predict"):  # TSNE and others, which take long
            continue
        for answers in ((rows[:, 0] > 0.6).astype(int), rows[:, 0]):
            with contextlib.suppress(Exception), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                if hasattr(fitted := kind().fit(rows, answers), "predict"):
                    pickles[name] = pickle.dumps(fitted)
                    break
    forest = RandomForestClassifier(3).fit(rows, rows[:, 0] > 0.6)
    for how in (0, *((name, 3) for name in ("zlib", "gzip", "bz2", "lzma", "xz"))):
        joblib.dump(forest, packed := io.BytesIO(), compress=how)
        pickles[str(how)] = packed.getvalue()
    assert len(pickles) > 80
    (tmp_path / "pickles").write_bytes(pickle.dumps(pickles))
    source = (
        "import os, pickle, sys\npickles = pickle.load(open(sys.argv[1], 'rb'))\n"
        "from skfleet_operator.imports import child\nassert child.enter()[1] == {}\n"
        "for name, data in pickles.items():\n"
        "    if why := child.convert_pickle(data)[0].refused: print(name, why)\n"
        "sys.stdout.flush(); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", source, str(tmp_path / "pickles")],
        capture_output=True, text=True, check=True, env={**os.environ, **parent.ENVIRONMENT},
    )  # fmt: skip
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["Birch"]
