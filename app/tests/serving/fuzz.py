"""The fuzzer: `python -m tests.serving.fuzz SECONDS CORPUS` with app/ on the path; prints one JSON object.

atheris (libFuzzer) keeps inputs that reach new code of the service, of gunicorn's parser and of the bridge to
Flask. A finding ends it with a traceback, and the input is kept in CORPUS.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path

import atheris
import psutil

with atheris.instrument_imports(include=["skfleet.serving", "gunicorn.asgi", "a2wsgi"]):
    from .fuzz_inputs import PIECES, mutate, seeds, stream_of
    from .fuzz_target import Target

WARM_SHARE = 0.1  # share of the time after which memory is first measured
LONGEST = 8192  # bytes of an input


class Run:
    """Counts, and states at the end what was seen."""

    def __init__(self, target: Target, seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        self._began = time.monotonic()
        self._statuses: dict[int, int] = {}
        self._inputs = 0
        self._warm_bytes = 0

    def one(self, data: bytes) -> None:
        """One input."""
        self._inputs += 1
        for status in self._target.check(*stream_of(data)):
            self._statuses[status] = self._statuses.get(status, 0) + 1
        passed = time.monotonic() - self._began
        if not self._warm_bytes and passed > WARM_SHARE * self._seconds:
            self._warm_bytes = psutil.Process().memory_info().rss
        if passed > self._seconds:
            self._report()
            os._exit(0)  # libFuzzer's own end runs no handler

    def _report(self) -> None:
        """One line of JSON."""
        now = psutil.Process().memory_info().rss
        seen = {
            "inputs": self._inputs,
            "seconds": round(time.monotonic() - self._began),
            "answers": dict(sorted(self._statuses.items())),
            "memory_mb": [self._warm_bytes >> 20, now >> 20],
        }
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Fuzz for so many seconds, or until something is found."""
    seconds, corpus = float(sys.argv[1]), Path(sys.argv[2])
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds()):
        (corpus / f"seed-{index}").write_bytes(seed)
    words = corpus.parent / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in piece) for piece in PIECES if len(piece) < 64)
    words.write_text("".join(f'"{word}"\n' for word in escaped))
    directory = Path(tempfile.mkdtemp(prefix="skfleet-fuzz-"))
    run = Run(Target(directory), seconds)

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        generator = random.Random(seed)  # noqa: S311 - it draws inputs, and can be repeated
        changed = (
            mutate(data, generator)
            if generator.random() < 0.5
            else atheris.Mutate(data, len(data) + 64)
        )
        return changed[:most]

    options = [f"-max_len={LONGEST}", "-timeout=60", "-rss_limit_mb=4096", "-verbosity=0",
               f"-artifact_prefix={corpus.parent}/finding-", f"-dict={words}"]  # fmt: skip
    atheris.Setup([sys.argv[0], *options, str(corpus)], run.one, custom_mutator=mutator)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
