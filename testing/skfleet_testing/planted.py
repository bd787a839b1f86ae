"""Texts that leave a file behind where anybody evaluates them."""

from __future__ import annotations

from pathlib import Path


def text(directory: Path) -> str:
    """As a comment, a statement and an expression of a template, and for a shell."""
    file = directory / "ran"
    run = f"lookup('pipe', 'touch {file}')"
    return (
        f"{{# c #}}{{% if {run} %}}x{{% endif %}}{{{{ {run} }}}}"
        f"$(touch {file})`touch {file}`';touch {file};'\";touch {file};\"\n{{{{ unclosed"
    )


def ran(directory: Path) -> bool:
    """Whether anybody did."""
    return (directory / "ran").exists()
