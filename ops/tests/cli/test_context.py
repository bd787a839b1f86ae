"""How output looks to a person."""

from __future__ import annotations

import pytest

from skfleet_operator.cli.context import print_table


def test_table_prints_no_control_character(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["id", "notes"], [["a", "\x1b[2J\nb\u202e é"], ["long", "–"]])
    assert capsys.readouterr().out == "id    notes\na     \\x1b[2J\\nb\\u202e é\nlong  –\n"
