"""Example models that the repository trains from public data."""
