"""Whether a release's models fit the memory that a VM gives the service, measured before it is written.

Measured is the service itself: its processes, with these models, on the backends that the build has.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from skfleet.artifacts.fetch import fetch_model
from skfleet.artifacts.store import Store
from skfleet.declared import read_slo
from skfleet.documents.release import ModelPin
from skfleet.documents.slo import SLO, memory_limit_mib
from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_operator.builds.wheelhouse import EXTRAS

MIB = 1024 * 1024
TIMEOUT_S = 300.0
# The library behind each extra of a build.
LIBRARIES = {"onnx": "onnxruntime"}


class TooLarge(SkfleetError):
    """The models need more memory than the service has."""

    exit_code = 4


class CannotWeigh(SkfleetError):
    """This machine cannot run the models that a VM would."""


class Weight(msgspec.Struct, frozen=True, kw_only=True):
    """What the service took. `backends`: by model."""

    bytes: int
    backends: dict[str, str]


def limit_mib(repo: Path) -> int:
    """The service's memory in MiB, as the checkout's slo.yml says."""
    path = repo / SLO
    if not path.is_file():
        raise ConfigurationError(
            "The memory that models must fit is not known here.",
            where=str(path),
            hint="Work in a checkout of skfleet, or name it with --repo.",
        )
    return memory_limit_mib(read_slo(path), str(path))


def weigh(store: Store, models: Sequence[ModelPin], workers: int, extras: Iterable[str]) -> Weight:
    """Run the service's processes with these models; raises CannotWeigh where they do not load here."""
    without = [LIBRARIES[name] for name in sorted(EXTRAS.keys() - set(extras))]
    with tempfile.TemporaryDirectory(prefix="skfleet-weigh-") as cache:
        pins = {model.name: model.manifest for model in models}
        directories = {
            name: fetch_model(store, pin.uri, Path(cache), pin.generation, pin.sha256)
            for name, pin in pins.items()
        }
        return weigh_directories(directories, workers, without)


def weigh_directories(
    models: Mapping[str, Path], workers: int, without: Sequence[str] = ()
) -> Weight:
    """The same of artefact directories."""
    listed = ",".join(f"{name}={directory}" for name, directory in models.items())
    where = ", ".join(models)
    hint = "Look at it with `skfleet model verify`; the VMs' stage would refuse it too."
    try:
        done = subprocess.run(
            [sys.executable, "-m", "skfleet.serving.weigh", str(workers), *without],
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "SKFLEET_MODELS": listed},
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )
        answer = json.loads(done.stdout) if done.returncode == 0 else None
    except subprocess.TimeoutExpired:
        raise CannotWeigh(
            f"The models did not load within {TIMEOUT_S:.0f} s.", where=where, hint=hint
        ) from None
    except ValueError:
        answer = None
    if answer is None:
        said = done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"]
        raise CannotWeigh(f"The models cannot be weighed: {said[-1]}.", where=where, hint=hint)
    if "failures" in answer:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in answer["failures"].items())
        raise CannotWeigh(f"The models do not load: {reasons}", where=where, hint=hint)
    return msgspec.convert(answer, Weight)


def check(weight: Weight, workers: int, limit: int) -> None:
    """Raise TooLarge where the service needs more than `limit` MiB."""
    used = weight.bytes / MIB
    if used <= limit:
        return
    served = ", ".join(f"{name} by {backend}" for name, backend in weight.backends.items())
    ways = [f"fewer workers (--set workers={workers - 1})"] if workers > 1 else []
    if len(weight.backends) > 1:
        ways.append("fewer models")
    ways.append(f"a smaller model (of a forest: max_depth), or more memory ({SLO})")
    raise TooLarge(
        f"The service would take {used:.0f} MiB with these models and {workers} workers, and has "
        f"{limit} MiB: {served}.",
        where="models",
        hint="Try " + ", ".join(ways) + ".",
    )
