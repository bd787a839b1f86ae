"""Who is measured: each server's environment, command and protocol, with two workers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from skfleet_bench.environments import OURS, OURS_PLAIN, REPO
from skfleet_bench.models import Trained

SERVERS = REPO / "bench/servers"
WORKERS = 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is started: its environment, a directory of its own, ports."""

    bin: Path
    directory: Path
    ports: tuple[int, ...]  # the first is asked, unless the command says otherwise

    @property
    def port(self) -> str:
        """The first port, as a command has it."""
        return str(self.ports[0])


@dataclass(frozen=True, slots=True)
class Command:
    """A server's command line, and what its environment has beside the usual."""

    arguments: list[str]
    environ: dict[str, str] = field(default_factory=dict)
    port: int | None = None  # to ask; None: the first
    headers: dict[str, str] = field(default_factory=dict)  # with every request
    turns: dict[str, list[str]] = field(default_factory=dict)  # instead: another value with each


Start = Callable[[Place, Trained], Command]


@dataclass(frozen=True, slots=True)
class Contender:
    """One contender. `default` ones run when ONLY names nobody."""

    name: str
    environment: str
    server: str  # kind, for `protocols`
    packages: tuple[str, ...]  # whose versions are told
    start: Start
    default: bool = True
    inside: bool = False  # a program that measures itself, without HTTP
    single_only: bool = False
    models: tuple[str, ...] = ()  # none: all


def _flask(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/gunicorn", "--workers", str(WORKERS), "--worker-class", "gthread", "--threads", "8",
         "--keep-alive", "650", "--bind", f"127.0.0.1:{place.port}",
         "--chdir", str(SERVERS), "flask_app:app"],
        {"MODEL": str(model.joblib)},
    )  # fmt: skip


def _fastapi(asynchronous: str) -> Start:
    def start(place: Place, model: Trained) -> Command:
        return Command(
            [f"{place.bin}/uvicorn", "--workers", str(WORKERS), "--host", "127.0.0.1", "--port", place.port,
             "--no-access-log", "--app-dir", str(SERVERS), "fastapi_app:app"],
            {"MODEL": str(model.joblib), "ASYNC": asynchronous},
        )  # fmt: skip

    return start


def _mlserver(parallel_workers: int) -> Start:
    def start(place: Place, model: Trained) -> Command:
        environ = {
            "MLSERVER_HOST": "127.0.0.1",
            "MLSERVER_HTTP_PORT": place.port,
            "MLSERVER_GRPC_PORT": str(place.ports[1]),
            "MLSERVER_METRICS_PORT": str(place.ports[2]),
            "MLSERVER_PARALLEL_WORKERS": str(parallel_workers),
            "MLSERVER_MODEL_NAME": model.name,
            "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_sklearn.SKLearnModel",
            "MLSERVER_MODEL_URI": str(model.joblib),
            "MLSERVER_DEBUG": "false",
        }
        return Command([f"{place.bin}/mlserver", "start", str(place.directory)], environ)

    return start


def _bentoml(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/bentoml", "serve", "bentoml_app:Model", "--host", "127.0.0.1", "--port", place.port,
         "--working-dir", str(SERVERS)],
        {"MODEL": str(model.joblib), "WORKERS": str(WORKERS), "BENTOML_HOME": str(place.directory),
         "BENTOML_DO_NOT_TRACK": "1"},
    )  # fmt: skip


def _litserve(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/python", str(SERVERS / "litserve_app.py")],
        {"MODEL": str(model.joblib), "WORKERS": str(WORKERS), "PORT": place.port},
    )


def _kserve(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/python", str(SERVERS / "kserve_app.py"), "--http_port", place.port,
         "--enable_grpc", "false", "--workers", str(WORKERS)],
        {"MODEL": str(model.joblib), "NAME": model.name},
    )  # fmt: skip


def _mlflow(place: Place, model: Trained) -> Command:
    saved = place.directory / "model"
    if not saved.exists():
        save = [
            f"{place.bin}/python",
            str(SERVERS / "mlflow_save.py"),
            str(model.joblib),
            str(saved),
        ]
        subprocess.run(save, check=True, capture_output=True, text=True)
    return Command(
        [f"{place.bin}/mlflow", "models", "serve", "--model-uri", str(saved), "--env-manager", "local",
         "--host", "127.0.0.1", "--port", place.port, "--workers", str(WORKERS)],
        {"MLFLOW_DISABLE_TELEMETRY": "true", "PATH": f"{place.bin}:/usr/bin:/bin"},
    )  # fmt: skip


def _granian(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/granian", "--interface", "wsgi", "--workers", str(WORKERS), "--host", "127.0.0.1",
         "--port", place.port, "--working-dir", str(SERVERS), "granian_app:application"],
        {"LINEAR": str(model.artefact / "linear.json")},
    )  # fmt: skip


def _ceiling(place: Place, model: Trained) -> Command:
    return Command(
        [f"{place.bin}/gunicorn", "--workers", str(WORKERS), "--worker-class", "asgi", "--keep-alive", "650",
         "--config", "python:ceiling_config", "--bind", f"127.0.0.1:{place.port}", "ceiling:application"],
        {"ROWS": str(model.artefact.parent / "rows.json"), "PYTHONPATH": str(SERVERS)},
    )  # fmt: skip


def _table() -> dict[str, Contender]:
    from skfleet_bench import ours

    sklearn = ("scikit-learn", "numpy")
    flask = ("flask", "gunicorn", *sklearn)
    fastapi = ("fastapi", "uvicorn", "uvloop", *sklearn)
    mlserver = ("mlserver", "uvloop", *sklearn)
    skfleet = ("gunicorn", "uvloop", "flask", "onnxruntime", *sklearn)
    serving = ours.serving
    found = [
        Contender("ceiling", OURS, "original", ("gunicorn", "uvloop"), _ceiling,
                  single_only=True, models=("linear",)),
        Contender("handler", OURS, "skfleet", skfleet, ours.handler, inside=True),
        Contender("skfleet", OURS, "skfleet", skfleet, serving(fast=True, iap=False)),
        Contender("skfleet-iap", OURS, "skfleet", skfleet, serving(fast=True, iap=True)),
        Contender("skfleet-iap-fresh", OURS, "skfleet", skfleet,
                  serving(fast=True, iap=True, fresh=True), default=False, single_only=True),
        Contender("skfleet-flask-iap-fresh", OURS, "skfleet", skfleet,
                  serving(fast=False, iap=True, fresh=True), default=False, single_only=True),
        Contender("skfleet-sklearn", OURS_PLAIN, "skfleet", flask, serving(fast=True, iap=False),
                  default=False, models=("forest", "boosting")),
        Contender("skfleet-flask", OURS, "skfleet", skfleet, serving(fast=False, iap=False)),
        Contender("skfleet-flask-iap", OURS, "skfleet", skfleet, serving(fast=False, iap=True)),
        Contender("flask", "flask", "predict", flask, _flask),
        Contender("fastapi-async", "fastapi", "predict", fastapi, _fastapi("1")),
        Contender("fastapi-def", "fastapi", "predict", fastapi, _fastapi("")),
        Contender("mlserver", "mlserver", "v2", mlserver, _mlserver(0)),
        Contender("mlserver-pool", "mlserver", "v2", mlserver, _mlserver(WORKERS)),
        Contender("bentoml", "bentoml", "bentoml", ("bentoml", *sklearn), _bentoml),
        Contender("litserve", "litserve", "predict", ("litserve", *sklearn), _litserve, default=False),
        Contender("kserve", "kserve", "v2", ("kserve", *sklearn), _kserve, default=False),
        Contender("mlflow", "mlflow", "mlflow", ("mlflow", *sklearn), _mlflow, default=False),
        Contender("granian", "granian", "original", ("granian", "numpy"), _granian, default=False,
                  single_only=True, models=("linear",)),
    ]  # fmt: skip
    return {contender.name: contender for contender in found}


CONTENDERS = _table()
