"""Raw byte streams and bodies of every route, by a coverage-guided fuzzer: never a 5xx, memory flat.

A quarter of a minute here; `SKFLEET_FUZZ_S` seconds, or an hour, with `make test-full`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

APP = Path(__file__).parents[2]
FINDINGS = Path(__file__).parent / "corpus"
SECONDS = int(
    os.environ.get("SKFLEET_FUZZ_S") or (3600 if os.environ.get("SKFLEET_TEST_FULL") else 8)
)
GROWTH_MB = 64  # of one process with five models, over an hour


def test_seeds_and_earlier_findings_hold(tmp_path: Path) -> None:
    """In a process of its own: the service's configuration changes the one that reads it."""
    program = """
import sys
from pathlib import Path
from tests.serving.fuzz_inputs import seeds, stream_of
from tests.serving.fuzz_target import Target

target = Target(Path(sys.argv[1]))
statuses = [status for seed in seeds() for status in target.check(*stream_of(seed))]
for finding in Path(sys.argv[2]).iterdir():
    target.check(*stream_of(finding.read_bytes()))
print(statuses.count(200))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), str(FINDINGS)],
        cwd=APP, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert int(done.stdout.split()[-1]) > 40, "the seeds of all routes are answered"


@pytest.mark.timeout(SECONDS + 300)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None, reason="needs atheris (x86-64 only): make venv"
)
def test_fuzzer_finds_no_server_error(tmp_path: Path) -> None:
    for finding in FINDINGS.iterdir():
        (tmp_path / "corpus").mkdir(exist_ok=True)
        (tmp_path / "corpus" / finding.name).write_bytes(finding.read_bytes())
    command = [sys.executable, "-m", "tests.serving.fuzz", str(SECONDS), str(tmp_path / "corpus")]
    done = subprocess.run(
        command, cwd=APP, capture_output=True, text=True, check=False, timeout=SECONDS + 280
    )
    assert done.returncode == 0, done.stderr[-4000:] + done.stdout[-2000:]
    seen = json.loads(done.stdout.splitlines()[-1])
    print(seen)  # noqa: T201 - the figures are the evidence
    assert seen["inputs"] > 50
    warm, end = seen["memory_mb"]
    assert end - warm < GROWTH_MB
