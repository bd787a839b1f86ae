"""What the service takes with these models: `python -m skfleet.serving.weigh WORKERS [WITHOUT …]`.

Reads SKFLEET_MODELS as the service does, does what gunicorn does until the first request — loads before
the fork, forks, proves in each worker — and prints the bytes of all its processes as JSON. `WITHOUT`:
libraries that the build has not, so that the backends are those that a VM would take.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable

from skfleet.pss import pss_bytes


def main(workers: int, without: list[str]) -> None:
    """Print `{"bytes": …, "backends": {name: backend}}`, or `{"failures": {name: reason}}`."""
    for library in without:
        sys.modules[library] = None  # type: ignore[assignment] # importing it fails from here on
    with tempfile.TemporaryDirectory(prefix="skfleet-weigh-") as directory:
        os.environ.update(
            SKFLEET_IDENTITY_DIR=directory,
            SKFLEET_RUN_DIR=directory,
            SKFLEET_LOG_LEVEL="error",
            SKFLEET_WORKERS=str(workers),
        )
        # Its configuration sets what must be set before NumPy is there.
        from skfleet.serving import gunicorn, worker  # noqa: F401
        from skfleet.serving.application import service

        models = service.content.models
        if models.failures:
            print(json.dumps({"failures": dict(models.failures)}))  # noqa: T201 - the answer
            return
        gunicorn.when_ready(None)
        used = _weigh(workers, service.health.readiness)
        backends = {name: served.model.backend.name for name, served in models.served.items()}
        gunicorn.on_exit(None)
    print(json.dumps({"bytes": used, "backends": backends}))  # noqa: T201 - the answer


def _weigh(workers: int, prove: Callable[[], object]) -> int:
    """Bytes of this process and of workers that have proven the models, each in its own time."""
    children: list[int] = []
    try:
        for _ in range(workers):
            reading, writing = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                prove()
                os.write(writing, b"1")
                signal.pause()
            children.append(child)
            os.close(writing)
            proven = os.read(reading, 1)
            os.close(reading)
            if not proven:
                sys.exit("A worker ended while it proved the models.")
        return pss_bytes([os.getpid(), *children])
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
