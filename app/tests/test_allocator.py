"""What a large body took is there for the next one, without asking the kernel page by page."""

from __future__ import annotations

import subprocess
import sys

import pytest

REQUESTS = 100
# As a body that arrives in two reads, is joined, and is copied once more.
SCRIPT = f"""
import resource, sys
from skfleet import allocator
if sys.argv[1] == "kept" and not allocator.keep_freed():
    sys.exit("no mallopt")

def request():
    pieces = [b"x" * (256 << 10), b"y" * (64 << 10)]
    bytearray(b"".join(pieces))

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(20):
    request()
before = faults()
for _ in range({REQUESTS}):
    request()
print(faults() - before)
"""


def faults(how: str) -> int:
    """Pages asked of the kernel by some requests."""
    command = [sys.executable, "-c", SCRIPT, how]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "no mallopt" in done.stderr:
        pytest.skip("this C library has no mallopt: glibc has")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_pages_are_asked_for_once() -> None:
    assert faults("kept") < REQUESTS
    assert faults("as it is") > 10 * REQUESTS, "the control: without it each request asks anew"
