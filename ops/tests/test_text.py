"""Text of strangers does not act on the terminal."""

from __future__ import annotations

import subprocess
import sys

from skfleet_operator.text import printable


def test_printable_escapes_what_a_terminal_acts_on() -> None:
    assert printable("naïve — 数\t\x1b[2J\r\n\x9b\u202e\ud800") == (
        r"naïve — 数\t\x1b[2J\r\n\x9b\u202e\ud800"
    )
    assert printable("a\nb", keep="\n") == "a\nb"
    assert printable("x" * 600) == "x" * 500


def test_command_line_prints_no_control_characters() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "skfleet_operator.cli", "model", "verify", "--path", "away\x1b]0;owned\x07"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert r"away\x1b]0;owned\x07" in done.stderr
