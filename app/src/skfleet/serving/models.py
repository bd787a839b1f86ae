"""The models a process serves, loaded before the fork and replaced whole on reload.

A model that cannot be loaded is no reason to stop: the process is live, not ready, and says why.
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from skfleet.backends import Model, begin_load
from skfleet.backends.base import verify_golden
from skfleet.documents import manifest
from skfleet.errors import ConfigurationError, SkfleetError
from skfleet.serving.errors import ModelNotFound, ModelNotLoaded
from skfleet.serving.protocols.rows import RowCheck
from skfleet.settings import Settings

log = logging.getLogger("skfleet.models")

# A fetch that hangs must not keep /livez silent for ever. Above a slow download of a large model.
FETCH_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Served:
    """One model with the check of its rows."""

    name: str
    model: Model
    rows: RowCheck

    def prove(self) -> str | None:
        """Run the golden vectors in this process; the reason when they fail."""
        try:
            verify_golden(self.model.backend, self.model.manifest)
        except Exception as error:  # noqa: BLE001 - a backend may fail in any way; none may end us
            return _one_line(error)
        return None


@dataclass(frozen=True, slots=True)
class Models:
    """All models of a process. `failures` holds the reason for each that is configured and missing."""

    default: str = ""
    served: Mapping[str, Served] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str | None = None) -> Served:
        """The model by name, or the default; raises ModelNotLoaded or ModelNotFound."""
        name = self.default if name is None else name
        found = self.served.get(name)
        if found is not None:
            return found
        if name in self.failures or not self.served:
            raise ModelNotLoaded(
                "The model is not loaded on this VM.",
                where=name,
                hint="Try again; /readyz on the health listener says why.",
            )
        raise ModelNotFound(
            f"No model '{name}' is served here.",
            where="path",
            hint="Served: " + ", ".join(sorted(self.served)) + ".",
        )


def load(settings: Settings, fetch: Callable[[str], Path] | None = None) -> Models:
    """The models of SKFLEET_MODELS, or the one of MODEL_URI. Never raises: failures are kept."""
    return begin(settings, fetch)()


def begin(settings: Settings, fetch: Callable[[str], Path] | None = None) -> Callable[[], Models]:
    """As `load`, in two steps: what is proven in a process of its own is on its way until the second."""
    fetch = fetch or fetch_model
    begun: list[tuple[str, str, Callable[[], Model] | Exception]] = []
    try:
        wanted = _wanted(settings)
    except ConfigurationError as error:
        return _nothing(_one_line(error))
    if not wanted:
        return _nothing("No model is configured (SKFLEET_MODELS or MODEL_URI).")
    for name, source in wanted:
        try:
            directory = fetch(source) if source.startswith("gs://") else Path(source)
            begun.append((name, source, begin_load(directory, before_fork=True)))
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must stay live
            begun.append((name, source, error))
    return lambda: _finish(begun)


def _finish(begun: Sequence[tuple[str, str, Callable[[], Model] | Exception]]) -> Models:
    served: dict[str, Served] = {}
    failures: dict[str, str] = {}
    default = ""
    for name, source, load_or_error in begun:
        key = name
        try:
            if isinstance(load_or_error, Exception):
                raise load_or_error
            model = load_or_error()
            key = name or model.name
            served[key] = Served(key, model, RowCheck(model.manifest.features))
            log.info("model loaded: %s %s, backend %s", key, model.digest, model.backend.name)
        except Exception as error:  # noqa: BLE001 - the same: one model that fails leaves the others
            failures[key] = _one_line(error)
            log.error("model '%s' (%s) cannot be loaded: %s", key, source, _one_line(error))
        default = default or key
    return Models(default, served, failures)


def _nothing(reason: str) -> Callable[[], Models]:
    return lambda: Models(failures={"": reason})


def fetch_model(uri: str) -> Path:
    """The verified local directory of a model in the bucket.

    A process of its own fetches it and ends before we fork, so that this one never holds a client,
    a socket or a credential.
    """
    command = [sys.executable, "-m", "skfleet.artifacts.fetch_command", "model", uri]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SkfleetError(
            f"Fetching the model took longer than {FETCH_TIMEOUT_S:.0f} s.", where=uri
        ) from None
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SkfleetError(f"The model cannot be fetched: {lines[0]}", where=uri)
    return Path(done.stdout.strip())


def _wanted(settings: Settings) -> list[tuple[str, str]]:
    """(name, source) of each model, the default first; the name is empty where the manifest says it."""
    if settings.models:
        pairs = [item.partition("=") for item in settings.models.split(",")]
        wanted = [(name.strip(), source.strip()) for name, _, source in pairs]
        names = [name for name, _ in wanted]
        if not all(name and source for name, source in wanted) or len(set(names)) != len(names):
            raise ConfigurationError(
                "SKFLEET_MODELS is not a list of name=directory.",
                where="SKFLEET_MODELS",
                hint="Write name=directory,name=directory; each name once.",
            )
        return wanted
    if settings.model_uri:
        uri = settings.model_uri
        if not uri.startswith("gs://") and uri.endswith("/" + manifest.FILE_NAME):
            uri = uri.removesuffix(manifest.FILE_NAME)
        return [("", uri)]
    return []


def _one_line(error: Exception) -> str:
    if isinstance(error, SkfleetError):
        return error.message
    return f"{type(error).__name__}: {error}".splitlines()[0]
