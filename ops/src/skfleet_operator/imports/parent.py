"""The process that unpickles, as its parent starts, inspects and ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO

import msgspec

from skfleet.errors import DocumentError, IntegrityError
from skfleet_operator.imports import sandbox
from skfleet_operator.imports.answer import MAX_LINE_BYTES, Answer, Statement
from skfleet_operator.imports.scan import MAX_BYTES
from skfleet_operator.text import printable

__all__ = ["MAX_BYTES", "Child"]

COMMAND = [sys.executable, "-I", "-m", "skfleet_operator.imports.child"]
TIMEOUT_S = 180.0
# One thread: Landlock holds the thread that asks for it.
ENVIRONMENT = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}


class Child:
    """One run of `skfleet_operator.imports.child`: `restrictions`, then `answer`. Nothing of it stays."""

    def __init__(self, where: str, max_bytes: int) -> None:
        self._where = where
        self._max_bytes = max_bytes
        # What is written there before the sandbox is ours; in it, no file can be written.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=ENVIRONMENT,
            start_new_session=True,  # no terminal, and one group to end
        )
        self._late = threading.Timer(TIMEOUT_S, self._kill)
        self._late.daemon = True
        self._late.start()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._late.cancel()
        self._kill()
        with suppress(BrokenPipeError):
            self._process.__exit__(kind, error, trace)  # closes the pipes and waits
        self._errors.close()

    def restrictions(self) -> tuple[list[str], dict[str, str]]:
        """(what the process may not do, what of that this system cannot hold it to: why).

        Nothing of the pickle was sent yet, so the process still says the truth; what the kernel shows of it
        is checked all the same.
        """
        line = self._output.readline(MAX_LINE_BYTES)
        try:
            statement = msgspec.json.decode(line, type=Statement)
        except msgspec.MsgspecError:
            raise self._ended() from None
        try:
            wrong = [] if sys.platform != "linux" else _wrong(self._process.pid, statement.missing)
        except OSError:  # it is gone
            raise self._ended() from None
        if wrong:
            raise IntegrityError(
                f"The sandbox does not hold the process that unpickles: {', '.join(wrong)}.",
                where=self._where,
            )
        return [*statement.held, "a session of its own, without a terminal"], statement.missing

    def answer(self, content: bytes) -> tuple[Answer, bytes]:
        """Send the pickle; (what came back, the estimator as skops bytes). Neither is to be trusted."""
        assert self._process.stdin is not None  # noqa: S101 - a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.write(content)
            self._process.stdin.close()
        line = self._output.readline(MAX_LINE_BYTES)
        estimator = self._output.read(self._max_bytes + 1)
        if len(estimator) > self._max_bytes:
            raise DocumentError(
                f"The converted model is larger than {self._max_bytes >> 20} MiB.",
                where=self._where,
                hint="Raise --max-mib if the model is that large.",
            )
        try:
            return msgspec.json.decode(line, type=Answer).printable(), estimator
        except msgspec.MsgspecError as error:
            if not line:
                raise self._ended() from None
            raise DocumentError(
                f"Invalid answer of the process that unpickles: {printable(str(error))}.",
                where=self._where,
            ) from None

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None  # noqa: S101 - a pipe
        return self._process.stdout

    def _kill(self) -> None:
        if self._process.returncode is None:  # so its id is still its own
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _ended(self) -> DocumentError:
        """The failure of a process that did not answer."""
        late = not self._late.is_alive()
        self._late.cancel()
        self._kill()
        code = self._process.wait()
        if late:
            return DocumentError(
                f"Unpickling took longer than {TIMEOUT_S:.0f} s.", where=self._where
            )
        self._errors.seek(0)
        lines = self._errors.read(1 << 20).decode(errors="replace").strip().splitlines()
        return DocumentError(
            f"The process that unpickles ended with {code}: {printable((lines or ['no message'])[-1], 300)}",
            where=self._where,
            hint=f"It has {sandbox.MEMORY_BYTES >> 30} GiB of memory and {sandbox.CPU_S} s of CPU; "
            "or the pickle ended it.",
        )


def _wrong(pid: int, missing: dict[str, str]) -> list[str]:
    """What the kernel shows of a process and the sandbox does not allow."""
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
    )
    expected = {"Threads": "1", "NoNewPrivs": "1", "Seccomp": "2"}
    if sandbox.SECCOMP in missing:
        del expected["Seccomp"]
    if missing.keys() >= {sandbox.SECCOMP, sandbox.LANDLOCK}:
        del expected["NoNewPrivs"]
    wrong = [
        f"{name} is {status.get(name, 'unknown')}"
        for name, value in expected.items()
        if status.get(name) != value
    ]
    if sandbox.NOBODY_USER not in missing and "0" in status["Uid"].split():
        wrong.append("it is root")
    if os.getsid(pid) != pid:
        wrong.append("it shares our session")
    limits = Path(f"/proc/{pid}/limits").read_text()
    for name, (_, value) in sandbox.LIMITS.items():
        if not re.search(rf"^{name} +{value} +{value} ", limits, re.MULTILINE):
            wrong.append(f"'{name}' is not {value}")
    return wrong
