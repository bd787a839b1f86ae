"""The import that docs/models.md named before the operator's package works for one release more."""

from __future__ import annotations

import pytest

from skfleet_operator.models import publish


def test_old_import_of_write_artefact_works_and_warns() -> None:
    with pytest.warns(DeprecationWarning, match="'write_artefact' from skfleet_operator"):
        from skfleet.artifacts.publish import write_artefact
    assert write_artefact is publish.write_artefact
