"""HistGradientBoosting for skl2onnx 1.20, which writes a list of booleans where ONNX has whole numbers only.

Its own converters, with that one attribute made whole; nothing else is touched. Like every form, what comes
of it is held against the estimator before it is served (`proving`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Whether a missing value goes to the left, node by node.
ATTRIBUTE = "nodes_missing_value_tracks_true"


class _Container:
    """skl2onnx's container of a graph's nodes, but for that attribute."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> Any:
        """As the container's, with whole numbers."""
        if ATTRIBUTE in attributes:
            attributes[ATTRIBUTE] = [int(value) for value in attributes[ATTRIBUTE]]
        return self._container.add_node(*arguments, **attributes)


@contextmanager
def mended() -> Iterator[None]:
    """Put the mended converters in the places of skl2onnx's own while the block runs."""
    # Its public way to register wants estimators of one's own, not those that it knows.
    from skl2onnx.common._registration import get_converter, register_converter

    aliases = ("SklearnHistGradientBoostingClassifier", "SklearnHistGradientBoostingRegressor")
    own = {alias: get_converter(alias) for alias in aliases}

    def place(convert: Callable[[Any], Callable[..., None]]) -> None:
        for alias, converter in own.items():
            options = converter.get_allowed_options()
            register_converter(alias, convert(converter), overwrite=True, options=options)

    place(_mended)
    try:
        yield
    finally:
        place(lambda converter: converter._fct)


def _mended(own: Callable[..., None]) -> Callable[..., None]:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        own(scope, operator, _Container(container))

    return convert
