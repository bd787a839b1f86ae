"""gunicorn's configuration: `gunicorn --config python:skfleet.serving.gunicorn`.

Everything is derived from Settings. The names without underscore that gunicorn knows are its
settings and hooks; it ignores the rest.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Any

from skfleet import allocator
from skfleet.serving import accepting, listeners, logs, models
from skfleet.settings import Settings

# Before numpy is imported (with the models): its BLAS would start threads in the process that forks.
for _variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

SERVICE_ENV = "SKFLEET_SERVICE_ENV"
MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
# What a reload may change; everything else needs a restart.
RELOADED = ("SKFLEET_RELEASE", "SKFLEET_MODELS", "MODEL_URI")

settings = Settings.from_environ()
logs.configure(settings.log_level)

wsgi_app = "skfleet.serving.application:application"
bind = listeners.binds(settings)
workers = settings.workers
worker_class = "skfleet.serving.worker.Worker"
threads = 1  # of gunicorn; Flask's are the application's
preload_app = True
asgi_loop = "uvloop"
asgi_lifespan = "off"
keepalive = settings.keepalive_s
graceful_timeout = settings.graceful_timeout_s
timeout = 60  # of the heartbeat, not of a request: a worker that hangs this long is killed
worker_connections = 10_000  # a queue nobody sees; `max_in_flight` sheds load long before
backlog = 2048
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
control_socket_disable = True  # it would be a thread, and a socket under $HOME
# No peer, not even on loopback, may change a request's scheme, path or address by a header.
forwarded_allow_ips = ""
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 16380  # an ID token with many claims
accesslog = None  # the application writes it, at a fraction of the cost
errorlog = "-"
loglevel = settings.log_level
logger_class = logs.JsonLogger
proc_name = "skfleet"


def _metrics_dir(run_dir: Path) -> Path:
    """An empty directory for the metrics of this master's processes; removes those of dead ones."""
    parent = run_dir if os.access(run_dir, os.W_OK) else Path(tempfile.gettempdir())
    for old in parent.glob("skfleet-metrics-*"):
        process = old.name.rpartition("-")[2]
        if process.isdigit() and not Path("/proc", process).exists():
            shutil.rmtree(old, ignore_errors=True)
    path = parent / f"skfleet-metrics-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700)
    return path


# Before prometheus_client is imported: it decides then whether its values are files.
_metrics_path = _metrics_dir(settings.run_dir)
os.environ[MULTIPROC_DIR] = str(_metrics_path)
# Begun before worker and application are imported, which takes as long as a proof in a process of its own.
finish_loading = models.begin(settings)


def generation() -> int:
    """How often this master has reloaded; its workers read it to learn why they are told to stop."""
    try:
        return int((_metrics_path / "generation").read_text())
    except (OSError, ValueError):
        return 0


def when_ready(_server: Any) -> None:
    """The last moment before the first fork."""
    _freeze()


def on_reload(server: Any) -> None:
    """HUP: the models anew, in the master, before the new workers are forked.

    An exception here would end the master, so none leaves.
    """
    from skfleet.serving.application import service

    service.generation += 1
    try:
        (_metrics_path / "generation").write_text(str(service.generation))
        service.reload(Settings.from_environ({**os.environ, **_reloaded_environ()}))
    except Exception as error:
        service.reload_failure = f"{type(error).__name__}: {error}"
        service.metrics.reload_failures.inc()
        server.log.exception("reload keeps the models as they were")
    _freeze()


def post_fork(server: Any, worker: Any) -> None:
    """A worker's first moment: until now the master's handlers were its own, and nobody reads its queue."""
    worker.hear_stop()
    with contextlib.suppress(queue.Empty):
        while True:
            if server.SIG_QUEUE.get_nowait() == signal.SIGTERM:
                os.kill(os.getpid(), signal.SIGTERM)


def post_worker_init(_worker: Any) -> None:
    """After the fork, before the first request: what a worker opens for itself is open, and proven."""
    from skfleet.serving.application import service

    allocator.keep_freed()
    service.health.readiness()


def child_exit(_server: Any, worker: Any) -> None:
    """The gauges of a worker end with it."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]
    accepting.forget(worker.age)


def worker_exit(_server: Any, _worker: Any) -> None:
    """What access log and metrics still hold."""
    from skfleet.serving.application import service

    service.metrics.flush()
    service.access_log.flush()


def on_exit(_server: Any) -> None:
    """The metrics end with the master."""
    shutil.rmtree(_metrics_path, ignore_errors=True)


def _freeze() -> None:
    """Take what exists out of the collector's sight, so that workers share its pages as they are."""
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _reloaded_environ() -> dict[str, str]:
    """The variables of a release that a reload takes over, from its service.env."""
    path = os.environ.get(SERVICE_ENV)
    if not path:
        return {}
    lines = Path(path).read_text().splitlines()
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in RELOADED}
