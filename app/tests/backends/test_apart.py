"""A backend is proven in a process of its own where its library must not be in one that forks."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from skfleet.backends import apart, base, prove
from skfleet.backends.apart import Proof
from skfleet.documents.manifest import FILE_NAME
from skfleet.errors import IntegrityError, VersionMismatch


def change(artefact: Path, **members: object) -> None:
    """Another manifest; nothing but its own members is compared with it here."""
    path = artefact / FILE_NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), **members}))


def wrong_answers(artefact: Path) -> dict[str, object]:
    golden = json.loads((artefact / FILE_NAME).read_text())["golden"]
    return {**golden, "labels": [1 - label for label in golden["labels"]]}


def test_a_backend_that_answers_right_is_proven(artefact: Path) -> None:
    Proof("linear", artefact).result()


def test_wrong_answers_refuse_the_model(artefact: Path) -> None:
    change(artefact, golden=wrong_answers(artefact))
    with pytest.raises(IntegrityError, match="Golden vector"):
        Proof("linear", artefact).result()


def test_a_backend_that_is_not_here_is_no_failure_of_the_model(artefact: Path) -> None:
    with pytest.raises(VersionMismatch, match="not known to this build"):
        Proof("nonsense", artefact).result()


def test_one_that_takes_too_long_is_ended(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "TIMEOUT_S", 0)
    proof = Proof("linear", artefact)
    with pytest.raises(IntegrityError, match="did not answer"):
        proof.result()
    assert not psutil.pid_exists(proof._process.pid)


def test_signal_that_ends_the_process_refuses_the_model(artefact: Path) -> None:
    proof = Proof("linear", artefact)
    proof._process.send_signal(signal.SIGSEGV)
    with pytest.raises(IntegrityError, match="failed because SIGSEGV ended its process"):
        proof.result()


def test_model_that_takes_too_much_memory_is_refused(
    artefact: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def take(*_: object) -> None:
        raise MemoryError

    limits: list[int] = []
    monkeypatch.setattr(prove, "limit_memory", limits.append)
    monkeypatch.setattr(prove, "open_backend", take)
    monkeypatch.setattr(sys, "argv", ["prove", "linear", str(artefact)])
    assert prove.main() == 1
    assert "takes more memory than its model may" in capsys.readouterr().err
    assert limits == [
        sum(path.stat().st_size for path in artefact.iterdir() if path.name != FILE_NAME)
    ]


def test_memory_of_a_proof_is_limited() -> None:
    program = (
        "from skfleet.backends import apart; apart.MEMORY_BYTES = 1 << 28; apart.limit_memory(0)\n"
        "bytearray(1 << 29)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "MemoryError" in done.stderr


def test_it_runs_until_its_result_is_asked_for(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "AFTER_FORK", frozenset({"linear"}))
    begun: list[str] = []

    class Told(Proof):
        def __init__(self, backend: str, directory: Path) -> None:
            begun.append(backend)
            super().__init__(backend, directory)

    monkeypatch.setattr(base, "Proof", Told)
    finish = base.begin_load(artefact, before_fork=True)
    assert begun == ["linear"]
    assert finish().backend.name == "linear"
    assert begun == ["linear"], "once"


def test_the_next_backend_is_taken_where_the_first_is_not_here(
    artefact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "AFTER_FORK", frozenset({"nonsense", "linear"}))
    change(artefact, backends=["nonsense", "linear"])
    assert base.begin_load(artefact, before_fork=True)().backend.name == "linear"
    change(artefact, backends=["nonsense"])
    with pytest.raises(VersionMismatch, match=r"No backend .* can run here: nonsense"):
        base.begin_load(artefact, before_fork=True)()
    change(artefact, backends=["nonsense", "linear"], golden=wrong_answers(artefact))
    with pytest.raises(IntegrityError):
        base.begin_load(artefact, before_fork=True)()
