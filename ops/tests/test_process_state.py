"""What a user may call as a library leaves the user's process as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OLD = Path(__file__).parent / "imports" / "old"

# In a process of its own: settings that an earlier test left would hide that they are left again.
SESSION = """
import decimal, gc, locale, logging, os, multiprocessing, random, signal, socket, sys, threading, warnings
from pathlib import Path

import numpy as np
import pandas as pd
import onnxruntime
import sklearn
from skl2onnx.common import _registration
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from threadpoolctl import threadpool_info

from skfleet.documents.manifest import Feature
from skfleet_operator.models.publish import write_artefact
from skfleet.backends import load_model
from skfleet.backends.base import open_backend, verify_golden
from skfleet_operator.client.predict import Client
from skfleet_operator.imports.importing import import_model


def state():
    umask = os.umask(0)
    os.umask(umask)
    return {
        "scikit-learn": sklearn.get_config(),
        "warnings": list(warnings.filters),
        "NumPy's errors": np.geterr(),
        "NumPy's printing": np.get_printoptions(),
        "environment": dict(os.environ),
        "signals": {number: signal.getsignal(number) for number in signal.valid_signals()},
        "path": list(sys.path),
        "recursion": sys.getrecursionlimit(),
        "threads": [(pool["prefix"], pool["num_threads"]) for pool in threadpool_info()],
        "python threads": threading.active_count(),
        "random": random.getstate(),
        "NumPy's random": str(np.random.get_state()),
        "logging": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "levels": {n: l.level for n, l in logging.root.manager.loggerDict.items() if hasattr(l, "level")},
        "locale": locale.setlocale(locale.LC_ALL, None),
        "start method": multiprocessing.get_start_method(allow_none=True),
        "directory": os.getcwd(),
        "umask": umask,
        "decimals": str(decimal.getcontext()),
        "timeout": socket.getdefaulttimeout(),
        "garbage": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()),
        "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "converters": {n: c._fct.__module__ for n, c in _registration._converter_pool.items()},
        "pandas": pd.get_option("mode.copy_on_write"),
        "children": Path(f"/proc/self/task/{os.getpid()}/children").read_text(),
    }


room, old, full = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "full"
rows = np.random.default_rng(0).normal(size=(300, 3))
answers = (rows[:, 0] > 0).astype(int)
golden = np.vstack([rows[answers == 0][:60], rows[answers == 1][:60]])
table = pd.DataFrame(rows, columns=list("abc")).assign(t=["x", "y", "z"] * 100)
features = [Feature(name=name) for name in "abc"]
text = Feature(name="t", categories=["x", "y", "z"])
mixed = make_pipeline(
    make_column_transformer((OneHotEncoder(), ["t"]), remainder="passthrough"), LogisticRegression()
).fit(table, answers)
models = {
    "linear": (LogisticRegression().fit(rows, answers), features, golden),
    "forest": (RandomForestClassifier(3).fit(rows, answers), features, golden),
    "boosting": (HistGradientBoostingClassifier(max_iter=3).fit(rows, answers), features, golden),
    "mixed": (mixed, [*features, text], [[*row, "xyz"[i % 3]] for i, row in enumerate(golden.tolist())]),
}


def write(name):
    estimator, described, chosen = models[name]
    write_artefact(room / name, name=name, estimator=estimator, features=described, golden_rows=chosen)


def answer(name):
    model = load_model(room / name)
    for backend in model.manifest.backends:
        verify_golden(open_backend(backend, room / name, model.manifest), model.manifest)


def refuse(call, *arguments):
    try:
        call(*arguments)
    except Exception:
        return
    raise AssertionError("it was not refused")


def imported(path, directory, data, expected):
    import_model(path, "imported", directory, data, expected, weaker_sandbox=True)


def example():
    from skfleet_operator.examples import flight_delay
    flight_delay.example()


calls = {f"{step.__name__} {name}": (step, name) for name in models for step in (write, answer)}
calls["import"] = (imported, old / "binary.pkl", room / "m", old / "rows.csv", old / "binary.csv")
calls["refused import"] = (refuse, imported, old / "forest.pkl", room / "n", None, None)
calls["refused model"] = (refuse, load_model, room)
calls["client"] = (Client, "https://127.0.0.1:1", "token")
if full:
    calls["example"] = (example,)
for name, (call, *arguments) in calls.items():
    before = state()
    call(*arguments)
    after = state()
    for what, value in before.items():
        if after[what] != value:
            print(f"{name} changed {what}: {value} became {after[what]}"[:1000])
"""


@pytest.mark.parametrize("extent", ["usual", pytest.param("full", marks=pytest.mark.full)])
def test_library_calls_leave_the_process_as_it_is(tmp_path: Path, extent: str) -> None:
    # More than one, or a call that leaves fewer threads behind would not show.
    threads = {f"{library}_NUM_THREADS": "2" for library in ("OMP", "OPENBLAS", "MKL")}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, str(tmp_path), str(OLD), extent],
        env={**os.environ, **threads, "OMP_WAIT_POLICY": "passive"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
