"""The proportional set size is the kernel's, and a process that is gone is told apart from none."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import pytest

from skfleet.pss import pss_bytes

ROLLUP = """\
55d0c000-7ffd000 ---p 00000000 00:00 0                                  [rollup]
Rss:               21000 kB
Pss:               12345 kB
Pss_Dirty:          9000 kB
"""


def test_memory_of_processes_is_added_up(tmp_path: Path) -> None:
    for pid in (1, 2):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "smaps_rollup").write_text(ROLLUP)
    assert pss_bytes([1, 2], proc=tmp_path) == 2 * 12345 * 1024
    assert pss_bytes([], proc=tmp_path) == 0


def test_missing_process_is_an_error_unless_it_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1/smaps_rollup").write_text(ROLLUP)
    with pytest.raises(FileNotFoundError):
        pss_bytes([1, 2], proc=tmp_path)
    assert pss_bytes([1, 2], proc=tmp_path, skip_missing=True) == 12345 * 1024


def test_process_that_is_ending_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1/smaps_rollup").write_text("")
    assert pss_bytes([1], proc=tmp_path) == 0


def test_own_memory_is_what_psutil_reads() -> None:
    own = psutil.Process()
    assert pss_bytes([os.getpid()]) == pytest.approx(own.memory_full_info().pss, rel=0.2)
