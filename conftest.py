"""For all tests: what is long, and that the time an example takes on a busy machine is no promise."""

import os

import hypothesis
import pytest

hypothesis.settings.register_profile("skfleet", deadline=None)
hypothesis.settings.load_profile("skfleet")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is marked `full` runs with `make test-full`; pytest says how many there are.

    Molecule's scenarios name the tests that they want of their fleet: all of those run.
    """
    if os.environ.get("SKFLEET_TEST_FULL") or os.environ.get("SKFLEET_TEST_FLEET"):
        return
    long = [item for item in items if item.get_closest_marker("full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
