"""The fleet of these tests."""

from skfleet_testing.fleet import at_a, fleet

__all__ = ["at_a", "fleet"]
