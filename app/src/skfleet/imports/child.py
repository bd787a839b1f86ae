"""The process that unpickles: `python -I -m skfleet.imports.child`, the pickle on standard input.

It imports what it needs, gives up everything else (`sandbox`), unpickles, converts, and writes one JSON line
and the estimator as skops bytes. Its parent trusts neither.
"""

from __future__ import annotations

import io
import json
import os
import sys
import warnings
from typing import Any


def main() -> None:
    """The process."""
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = "1"
    sys.setrecursionlimit(10_000)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the pickle prints is no answer
    data = sys.stdin.buffer.read()

    import joblib
    import numpy  # noqa: F401
    import skops.io
    from sklearn.exceptions import InconsistentVersionWarning
    from sklearn.utils import all_estimators

    from skfleet.imports import convert, sandbox

    all_estimators()  # imports all of scikit-learn while files may be read at leisure
    answer: dict[str, Any] = {"sandbox": [], "converted": [], "refused": "", "warnings": []}
    estimator_bytes = b""
    try:
        answer["sandbox"] = sandbox.enter()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # joblib reads what pickle wrote too.
            estimator = joblib.load(io.BytesIO(data))
        answer["warnings"] = sorted(
            {
                str(w.message).splitlines()[0].split(". This might")[0]
                for w in caught
                if issubclass(w.category, InconsistentVersionWarning)
            }
        )
        written_with = {getattr(w.message, "original_sklearn_version", "") for w in caught} - {""}
        answer["original_version"] = " and ".join(sorted(written_with))
        names = getattr(estimator, "feature_names_in_", None)
        estimator, answer["converted"] = convert.modernise(estimator)
        answer["estimator"] = type(estimator).__name__
        answer["names"] = None if names is None else [str(name) for name in names]
        answer["width"] = int(getattr(estimator, "n_features_in_", 0)) or None
        estimator_bytes = skops.io.dumps(estimator)
    except convert.Refused as error:
        answer["refused"] = str(error)
    except BaseException as error:  # noqa: BLE001 - a pickle may raise anything
        answer["refused"] = f"It cannot be unpickled: {type(error).__name__}: {error}"[:500]
    output.write(json.dumps(answer).encode() + b"\n" + estimator_bytes)
    output.flush()
    os._exit(0)  # whatever the pickle registered to run at exit does not


if __name__ == "__main__":
    main()
