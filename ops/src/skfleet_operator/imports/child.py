"""The process that unpickles: `python -I -m skfleet_operator.imports.child`, the pickle on standard input.

1. It imports what it needs, gives up everything else (`sandbox`) and says on one line what holds.
2. Its parent inspects it, and only then sends the pickle and closes the pipe.
3. It unpickles, converts, and writes one JSON line and the estimator as skops bytes; both untrusted.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import warnings

import joblib
import msgspec
import skops.io
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.utils import all_estimators

from skfleet_operator.imports import convert, sandbox
from skfleet_operator.imports.answer import Answer, Statement

# Imported by unpickling, converting or writing, and not yet by scikit-learn's own modules. What is not
# imported before the sandbox cannot be imported in it.
LAZY = (
    "bz2 gzip lzma zlib encodings.latin_1 encodings.ascii encodings.unicode_escape copyreg decimal "
    "numpy.core.multiarray numpy.core.numeric numpy.core._multiarray_umath numpy.core.numerictypes "
    "numpy.random._pickle numpy.ma numpy.lib.format"
).split()


def main() -> None:
    """The process."""
    output, pickle = sys.stdout.buffer, sys.stdin.buffer
    held, missing = enter()
    output.write(msgspec.json.encode(Statement(held=held, missing=missing)) + b"\n")
    output.flush()
    sys.stdout = sys.stderr = io.StringIO()  # what the pickle prints is no answer
    data = pickle.read()
    if not data:  # refused by the parent
        os._exit(0)
    answer, estimator = convert_pickle(data)
    output.write(msgspec.json.encode(answer) + b"\n")
    output.write(estimator)
    output.flush()
    os._exit(0)  # whatever the pickle registered to run at exit does not


def enter() -> tuple[list[str], dict[str, str]]:
    """Import what pickles need, then enter the sandbox; what it returns."""
    sys.setrecursionlimit(10_000)
    all_estimators()  # imports all of scikit-learn
    for name in LAZY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    return sandbox.enter()


def convert_pickle(data: bytes) -> tuple[Answer, bytes]:
    """(what there is to say, the estimator of today as skops bytes)."""
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # joblib reads what pickle wrote too.
            estimator = joblib.load(io.BytesIO(data))
        old = [w.message for w in caught if isinstance(w.message, InconsistentVersionWarning)]
        names = getattr(estimator, "feature_names_in_", None)
        estimator, converted = convert.modernise(estimator)
        return Answer(
            converted=converted,
            warnings=sorted(
                {str(message).splitlines()[0].split(". This might")[0][:500] for message in old}
            )[:100],
            original_version=" and ".join(sorted({m.original_sklearn_version for m in old})),
            estimator=type(estimator).__name__,
            names=None if names is None else [str(name) for name in names],
            width=int(getattr(estimator, "n_features_in_", 0)) or None,
        ), skops.io.dumps(estimator)
    except convert.Refused as error:
        return Answer(refused=str(error)[:2000]), b""
    except BaseException as error:  # noqa: BLE001 - a pickle may raise anything
        return Answer(refused=f"It cannot be unpickled: {type(error).__name__}: {error}"[:500]), b""


if __name__ == "__main__":
    main()
