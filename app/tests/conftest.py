"""The small model and the object store of these tests."""

from skfleet_testing.small_model import (
    artefact,
    bucket,
    estimator,
    golden_rows,
    store,
    write_tiny,
)

__all__ = ["artefact", "bucket", "estimator", "golden_rows", "store", "write_tiny"]
