"""Labels and probabilities of rows, as every protocol asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from skfleet.backends import Model
from skfleet.serving.errors import BadRequest

Probabilities = Sequence[Sequence[float]]


def require_probabilities(model: Model, where: str) -> None:
    """Raise BadRequest where the model has none to give."""
    if not model.manifest.has_probabilities:
        raise BadRequest(
            f"Model '{model.name}' gives no probabilities.",
            where=where,
            hint="Ask for labels alone.",
        )


def predict(
    model: Model, rows: Sequence[Sequence[Any]], *, probabilities: bool, where: str = "parameters"
) -> tuple[list[Any], Probabilities | None]:
    """(labels, probabilities where asked for); raises BadRequest where the model has none."""
    if not probabilities:
        return model.backend.predict(rows), None
    require_probabilities(model, where)
    return model.backend.predict(rows), model.backend.predict_proba(rows)
