"""What a release changes: fields, and which golden predictions.

The golden rows of both releases' models are asked of both models, loaded here from the bucket as a VM
would load them; nothing is taken from what a manifest says of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from skfleet.artifacts.fetch import fetch_model
from skfleet.artifacts.store import Store
from skfleet.backends import Model, load_model
from skfleet.backends.compare import same_label
from skfleet.documents.release import ModelPin, Release
from skfleet.errors import SkfleetError

EXAMPLES = 5
SAME = 1e-9  # of a probability, or of a regressor's answer relative to it


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """How one model's golden predictions change. `largest`: of a probability's difference."""

    model: str
    rows: int
    labels_changed: int
    probabilities_changed: int
    largest: float
    examples: list[str]  # for people: the row's place, old and new answer

    @property
    def same(self) -> bool:
        """Nothing changes."""
        return not self.labels_changed and not self.probabilities_changed


class NotComparable(SkfleetError):
    """The models of two releases do not take the same rows."""


def golden(store: Store, old: Release, new: Release, cache: Path) -> list[Answers]:
    """Each model that both releases name and that differs; raises where a model cannot be loaded."""
    before = {model.name: model for model in old.models}
    return [
        _compare(_load(store, before[model.name], cache), _load(store, model, cache))
        for model in new.models
        if model.name in before and before[model.name].manifest != model.manifest
    ]


def _load(store: Store, pin: ModelPin, cache: Path) -> Model:
    manifest = pin.manifest
    return load_model(fetch_model(store, manifest.uri, cache, manifest.generation, manifest.sha256))


def _compare(old: Model, new: Model) -> Answers:
    if [f.name for f in old.manifest.features] != [f.name for f in new.manifest.features]:
        raise NotComparable(
            f"Model '{new.name}' takes other features than before: callers' rows mean other things.",
            where=f"models/{new.name}",
            hint="Give it another name, or tell its callers and override with "
            "-e rollout_override=answers -e rollout_reason=….",
        )
    rows = [*old.manifest.golden.rows, *new.manifest.golden.rows]
    labels = list(zip(old.backend.predict(rows), new.backend.predict(rows), strict=True))
    chances = list(zip(_chances(old, rows), _chances(new, rows), strict=True))
    apart = [
        max((abs(a - b) for a, b in zip(x, y, strict=True)), default=0.0)
        if len(x) == len(y)
        else 1.0
        for x, y in chances
    ]
    changed = [i for i, (a, b) in enumerate(labels) if not same_label(a, b, SAME)]
    return Answers(
        model=new.name,
        rows=len(rows),
        labels_changed=len(changed),
        probabilities_changed=sum(difference > SAME for difference in apart),
        largest=max(apart, default=0.0),
        examples=[
            f"row {i}: {labels[i][0]} → {labels[i][1]} "
            f"(probabilities {_short(chances[i][0])} → {_short(chances[i][1])})"
            for i in changed[:EXAMPLES]
        ],
    )


def _chances(model: Model, rows: Sequence[Sequence[Any]]) -> list[list[float]]:
    """Probabilities, empty of a model that gives none."""
    if not model.manifest.has_probabilities:
        return [[] for _ in rows]
    return model.backend.predict_proba(rows)


def _short(values: list[float]) -> str:
    return "/".join(f"{value:.3f}" for value in values)
