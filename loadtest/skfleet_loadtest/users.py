"""Locust's users. One user of an open profile is one arrival a second, so the number of users that
Locust's shapes, web form and charts speak of is the rate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from locust import User, constant, task

from skfleet_loadtest import protocols
from skfleet_loadtest.flights import Flights

if TYPE_CHECKING:
    from skfleet_loadtest.engine import Engine

_FOREVER_S = 1e7


def forms(flights: Flights) -> dict[str, protocols.Form]:
    """The ways to ask, by the name that users give."""
    return {
        "form": protocols.OriginalForm(flights),
        "v1": protocols.Instances(flights, 1, "v1"),
        "batch": protocols.Instances(
            flights, protocols.BATCH_ROWS, f"v1, batch of {protocols.BATCH_ROWS}"
        ),
        "v2": protocols.Tensors(flights),
    }


class Arrival(User):
    """Adds its arrival to the worker's engine, and is idle: requests wait for no user."""

    abstract = True
    wait_time = constant(_FOREVER_S)
    form = ""

    @property
    def engine(self) -> Engine:
        """The worker's generator."""
        engine: Engine = self.environment.skfleet.engine
        return engine

    @property
    def ways(self) -> dict[str, protocols.Form]:
        """The worker's forms, made once."""
        ways: dict[str, protocols.Form] = self.environment.skfleet.forms
        return ways

    def on_start(self) -> None:
        """One arrival a second more."""
        self.engine.join(self.ways[self.form])

    def on_stop(self) -> None:
        """One less."""
        self.engine.leave(self.ways[self.form])

    @task
    def be_there(self) -> None:
        """Locust needs something to do."""


class FormUser(Arrival):
    """The original form."""

    weight = 2
    form = "form"


class RowsUser(Arrival):
    """V1 with one row and probabilities."""

    weight = 2
    form = "v1"


class BatchUser(Arrival):
    """V1 with a batch."""

    weight = 1
    form = "batch"


class TensorsUser(Arrival):
    """V2 with one row and probabilities."""

    weight = 1
    form = "v2"


class OriginalUser(Arrival):
    """A connection of the original's test: sends, waits for the answer, sends again (a closed loop)."""

    wait_time = constant(0)
    form = "form"

    def on_start(self) -> None:
        """It adds no arrivals: it makes its own."""

    def on_stop(self) -> None:
        """Nothing to undo."""

    @task
    def be_there(self) -> None:
        """One request, timed from its own start: what was due meanwhile is never sent."""
        self.engine.call(self.ways[self.form], time.monotonic())


OPEN: list[type[User]] = [FormUser, RowsUser, BatchUser, TensorsUser]
CLOSED: list[type[User]] = [OriginalUser]


def of_profile(closed: bool, chosen: list[type[User]]) -> list[type[User]]:
    """The classes that a profile starts, of those chosen in the web form or on the command line."""
    wanted = CLOSED if closed else OPEN
    return [kind for kind in chosen if kind in wanted] or wanted
