"""Locust's users and shape, asked in a process of their own: importing Locust patches the whole process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from skfleet_loadtest import TREE

EVERY_FORM = """
from skfleet_loadtest import users
from skfleet_loadtest.flights import Expectation, Flights
answers = Expectation(labels=[0], probabilities=[[1.0, 0.0]], tolerance=0)
forms = users.forms(Flights(model="m", rows=[[0.0]], expected={"": answers}))
assert {kind.form for kind in users.OPEN} == set(forms), forms
"""
IN_ONE_GO = """
import time
from types import SimpleNamespace
from skfleet_loadtest.shapes import Shape
from skfleet_loadtest.users import OPEN
options = SimpleNamespace(load_profile="spike", rate=200, duration=60, warm_up=0)
environment = SimpleNamespace(
    parsed_options=options, skfleet_leader=SimpleNamespace(aborted=False)
)
shape = Shape()
shape.runner = SimpleNamespace(environment=environment, user_classes=OPEN)
before = 50
for second, wanted in ((25, 200), (45, 50)):
    shape.start_time = time.perf_counter() - second
    users, users_a_second, _ = shape.tick()
    assert users == wanted and users_a_second >= abs(users - before), (users, users_a_second)
    before = users
"""


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(EVERY_FORM, id="every form has its user"),
        pytest.param(IN_ONE_GO, id="a rate changes in one go, up and down"),
    ],
)
def test_users_make_the_load_that_was_asked_for(script: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(TREE / "loadtest")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
