"""Loads skops bytes that anybody may have written, first in a process that may crash:
`python -m skfleet_operator.imports.loading MAX_BYTES < FILE`.

Exit code 0: they can be loaded. 1: refused, with the reason on standard error.
"""

from __future__ import annotations

import io
import subprocess
import sys
from typing import Any

from skfleet.backends import structure
from skfleet.backends.apart import limit_memory
from skfleet.backends.sklearn import TRUSTED_TYPES
from skfleet.errors import IntegrityError, SkfleetError
from skfleet_operator.imports import archive
from skfleet_operator.text import printable

TIMEOUT_S = 120.0


def load(data: bytes, where: str, max_bytes: int) -> Any:
    """The estimator of skops bytes that anybody may have written; raises IntegrityError."""
    import skops.io

    try:
        archive.check(data, max_bytes)
        unknown = sorted(set(skops.io.get_untrusted_types(data=data)) - set(TRUSTED_TYPES))
        if not unknown:
            structure.check_archive(io.BytesIO(data), where)
            return skops.io.loads(data, trusted=list(TRUSTED_TYPES))
    except IntegrityError:
        raise
    except Exception as error:  # noqa: BLE001 - it fails in as many ways as there are bytes
        raise IntegrityError(
            f"What the sandbox answered is not a model: {printable(f'{type(error).__name__}: {error}')}",
            where=where,
        ) from None
    raise IntegrityError(
        f"The model holds types that this server does not trust: {unknown}.",
        where=where,
        hint="Estimators of scikit-learn alone can be served; code of your own cannot.",
    )


def rehearse(data: bytes, where: str, max_bytes: int) -> None:
    """Raise IntegrityError where loading the bytes fails, crashes, does not end or takes all memory."""
    command = [sys.executable, "-m", "skfleet_operator.imports.loading", str(max_bytes)]
    try:
        done = subprocess.run(
            command, input=data, capture_output=True, timeout=TIMEOUT_S, check=False
        )
        code = done.returncode
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    except subprocess.TimeoutExpired:
        code, reason = 1, [f"it is not loaded after {TIMEOUT_S:.0f} s"]
    if code:
        raise IntegrityError(
            f"Loading the model failed because {(reason or [f'its process ended with {code}'])[0]}",
            where=where,
            hint="Do not use the file; train the model again.",
        )


def main() -> int:
    """The command."""
    data, max_bytes = sys.stdin.buffer.read(), int(sys.argv[1])
    limit_memory(len(data))
    try:
        load(data, "", max_bytes)
    except SkfleetError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the answer
        return 1
    except MemoryError:
        print("it takes more memory than a model of its size may.", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
