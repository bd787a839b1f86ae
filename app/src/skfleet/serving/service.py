"""All the parts of one service, put together once, before the fork; both lanes answer from it."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from skfleet import state as converge_state
from skfleet.serving import health, listeners, memory, models
from skfleet.serving.accesslog import AccessLog
from skfleet.serving.admission import Admission
from skfleet.serving.health import Health
from skfleet.serving.identity import Identity
from skfleet.serving.keyfiles import last_fresh
from skfleet.serving.metrics import Metrics
from skfleet.serving.models import Models
from skfleet.settings import Settings

log = logging.getLogger("skfleet.service")

APP_VERSION = "SKFLEET_APP_VERSION"  # of the build: git describe and the digest of its pins


@dataclass(frozen=True, slots=True)
class Content:
    """What is served: the models and the release they belong to. Swapped whole."""

    release: str
    models: Models

    @property
    def release_header(self) -> str:
        """The value of X-Skfleet-Release."""
        return self.release or "none"


class Service:
    """The service of one process; `content` is the only part that a reload replaces."""

    def __init__(self, settings: Settings, content: Content) -> None:
        self.settings = settings
        self.content = content
        self.ports = listeners.by_port(settings)
        self.lane = "fast" if settings.fast_lane else "flask"
        self.identity = Identity(settings.identity_dir)
        objective_s = settings.latency_objective_ms / 1000
        self.admission = Admission(settings.max_in_flight, objective_s=objective_s)
        self.metrics = Metrics(objective_s)
        self.access_log = AccessLog()
        self.reload_failure: str | None = None
        self.generation = 0  # reloads of the master until this process was forked
        self.leaving = False  # a worker that answers its last requests
        self.health = Health(self._describe)
        self._proofs: tuple[Models | None, str | None] = (None, None)
        self._register_checks()

    @classmethod
    def start(cls, settings: Settings, loaded: Models | None = None) -> Service:
        """The service with its models, which are loaded now unless they were before."""
        return cls(settings, Content(settings.release, loaded or models.load(settings)))

    def reload(self, settings: Settings) -> None:
        """Serve what these settings name, if all of it loads; otherwise keep what there is."""
        loaded = models.load(settings)
        if loaded.failures:
            self.reload_failure = "; ".join(f"{k}: {v}" for k, v in loaded.failures.items())
            self.metrics.reload_failures.inc()
            log.error("reload keeps the models as they were: %s", self.reload_failure)
            return
        self.reload_failure = None
        self.content = Content(settings.release, loaded)
        log.info("reload: release %s", self.content.release_header)

    def version(self) -> bytes:
        """The body of `/version`."""
        content = self.content
        body = {
            "release": content.release,
            "app": app_version(),
            "package": _package_version(),
            "models": [
                {
                    "name": served.name,
                    "default": served.name == content.models.default,
                    "digest": served.model.digest,
                    "backend": served.model.backend.name,
                }
                for served in content.models.served.values()
            ],
            "python": platform.python_version(),
            "lane": self.lane,
            "internal_identity": self.identity.internal,
        }
        return msgspec.json.encode(body) + b"\n"

    def local_metrics(self) -> Iterable[Metric]:
        """What every worker of this host would say alike."""
        info = GaugeMetricFamily(
            "skfleet_model_info", "Models served.", labels=["name", "digest", "backend", "release"]
        )
        for served in self.content.models.served.values():
            model = served.model
            info.add_metric(
                [served.name, model.digest, model.backend.name, self.content.release], 1
            )
        yield info
        age = GaugeMetricFamily(
            "skfleet_identity_file_age_seconds",
            "Time since each file that says who may call was last had from its source.",
            labels=["file"],
        )
        identity = self.identity
        identity.look()
        fresh = last_fresh(self.settings.identity_dir)
        for file in (identity.environment, identity.iap_keys, identity.google_keys):
            # Without skfleet-refresh beside us the file's own time is the best there is.
            at = fresh.get(file.name, file.modified_at)
            if at is not None:
                age.add_metric([file.name], max(0.0, time.time() - at))
        yield age
        ready = self.health.readiness().status == 200
        used = memory.service_bytes()
        if used is not None:
            yield GaugeMetricFamily("skfleet_memory_bytes", "Memory of the service.", value=used)
        yield GaugeMetricFamily("skfleet_ready", "Whether /readyz answers 200.", value=float(ready))
        stale = converge_state.read(self.settings.run_dir).stale
        yield GaugeMetricFamily(
            "skfleet_stale",
            "Whether the host serves an earlier release because the desired one is out of reach.",
            value=float(stale),
        )

    def _register_checks(self) -> None:
        run_dir = self.settings.run_dir
        self.health.register("model", self._models_loaded)
        self.health.register("golden", self._golden_pass)
        self.health.register("identity", self._identity_known)
        if self.settings.require_converged:
            self.health.register(
                "converged",
                # A worker that a reload replaces answers for the release before until it is gone.
                lambda: None if self.leaving else health.converged(run_dir, self.content.release),
            )
        self.health.register("drain", lambda: health.not_draining(run_dir))

    def _models_loaded(self) -> str | None:
        failures = self.content.models.failures
        return "; ".join(f"{k}: {v}" if k else v for k, v in failures.items()) or None

    def _golden_pass(self) -> str | None:
        """Proven once more in this process, after the fork; then remembered until the models change."""
        loaded = self.content.models
        if self._proofs[0] is not loaded:
            reasons = [f"{s.name}: {r}" for s in loaded.served.values() if (r := s.prove())]
            self._proofs = (loaded, "; ".join(reasons) or None)
        if not loaded.served:
            return "no model is loaded"
        return self._proofs[1]

    def _identity_known(self) -> str | None:
        self.identity.look()
        return self.identity.problem()

    def _describe(self) -> dict[str, Any]:
        content = self.content
        served = content.models.served.get(content.models.default)
        state = converge_state.read(self.settings.run_dir)
        return {
            "release": content.release,
            "model": None
            if served is None
            else {"name": served.name, "digest": served.model.digest},
            "stale": state.stale,
            "signatures": "required" if state.signatures_required else "not required",
            "internal_identity": self.identity.internal,
            "reload_failure": self.reload_failure,
        }


def app_version() -> str:
    """The build that runs, or the package where no build says what it is."""
    return os.environ.get(APP_VERSION) or _package_version()


def _package_version() -> str:
    try:
        return importlib.metadata.version("skfleet")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
