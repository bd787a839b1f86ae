"""What judges answers' times is marked `load`: nothing else runs beside it."""

from __future__ import annotations

import ast
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Fixtures and commands that send load and whose verdicts are times.
SENDS = ("witnessed",)


def marks(node: ast.expr) -> set[str]:
    """Names after `pytest.mark.` in an expression."""
    return {
        found.attr
        for found in ast.walk(node)
        if isinstance(found, ast.Attribute) and ast.unparse(found.value) == "pytest.mark"
    }


def test_tests_with_a_witness_are_marked_load() -> None:
    looked_at = 0
    for path in sorted((REPOSITORY / "playbooks/tests").glob("test_*.py")):
        tree = ast.parse(path.read_text())
        of_file: set[str] = set()
        for node in tree.body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
                of_file = marks(node.value)
        for node in tree.body:
            if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
                continue
            names = {found.attr for found in ast.walk(node) if isinstance(found, ast.Attribute)}
            if names & set(SENDS):
                looked_at += 1
                own = set().union(*map(marks, node.decorator_list))
                assert "load" in own | of_file, f"{path.name}: {node.name}"
    assert looked_at > 10
