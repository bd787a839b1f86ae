"""How a model answers: one small interface, several backends.

A backend is chosen when the model is published (the fastest that reproduces the golden vectors) and
proven again when it is loaded.
"""

from skfleet.backends.base import Backend, Model, begin_load, load_model

__all__ = ["Backend", "Model", "begin_load", "load_model"]
