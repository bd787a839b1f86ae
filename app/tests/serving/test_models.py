"""Loading: what cannot be loaded is said, kept, and never ends the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skfleet.errors import SkfleetError
from skfleet.serving import models
from skfleet.serving.errors import ModelNotFound, ModelNotLoaded
from skfleet.settings import Settings

from .calls import Call, call
from .lanes import LANES

FORM = "application/x-www-form-urlencoded"


def test_the_first_model_is_the_default(artefact: Path) -> None:
    loaded = models.load(Settings(models=f"b={artefact}, a={artefact}"))
    assert (loaded.default, sorted(loaded.served), loaded.failures) == ("b", ["a", "b"], {})
    assert loaded.get().name == "b"
    with pytest.raises(ModelNotFound):
        loaded.get("c")


def test_one_model_by_uri_has_its_manifests_name(artefact: Path) -> None:
    for uri in (str(artefact), f"{artefact}/manifest.json"):
        loaded = models.load(Settings(model_uri=uri))
        assert (loaded.default, list(loaded.served)) == ("tiny", ["tiny"])


def test_a_model_in_the_bucket_is_fetched_first(artefact: Path) -> None:
    asked = []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        return artefact

    loaded = models.load(Settings(model_uri="gs://b/models/m/manifest.json#7"), fetch)
    assert asked == ["gs://b/models/m/manifest.json#7"]
    assert loaded.default == "tiny"


def test_a_fetch_that_fails_says_the_fetchers_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(SkfleetError, match="cannot be fetched"):
        models.fetch_model("gs://b/m/manifest.json")


def test_a_fetch_is_a_process_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\necho {tmp_path}\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    assert models.fetch_model("gs://b/m/manifest.json#3") == tmp_path
    assert (tmp_path / "arguments").read_text().split() == [
        "-m", "skfleet.artifacts.fetch_command", "model", "gs://b/m/manifest.json#3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(models="tiny"),
        Settings(models="a=/x,a=/y"),
        Settings(models="tiny=/nowhere"),
        Settings(model_uri="/nowhere"),
    ],
)
def test_what_cannot_be_loaded_is_a_reason(settings: Settings) -> None:
    loaded = models.load(settings)
    assert not loaded.served
    assert all(loaded.failures.values())
    with pytest.raises(ModelNotLoaded):
        loaded.get()


def test_a_damaged_model_is_not_served(artefact: Path) -> None:
    (artefact / "linear.json").write_bytes(b"{}")
    assert "not what was published" in models.load(Settings(models=f"m={artefact}")).failures["m"]


def test_without_a_model_the_service_is_live_and_says_why(
    make_service: Callable[..., Any], iap_header: dict[str, str]
) -> None:
    service = make_service(models="tiny=/nowhere")
    for make in LANES.values():
        ask = make(service)
        assert ask(call("GET", "/livez", port=8082)).status == 200
        ready = ask(call("GET", "/readyz", port=8082))
        assert ready.status == 503
        assert "tiny" in ready.json["checks"]["model"]["reason"]
        assert ready.json["model"] is None
        for path, kind in (("/", FORM), ("/v1/models/tiny:predict", "application/json")):
            answer = ask(call("POST", path, b"x=[0]", content_type=kind, **iap_header))
            assert (answer.status, answer.json["code"]) == (503, "model_not_loaded")


def test_one_model_that_fails_leaves_the_others_and_no_readiness(
    make_service: Callable[..., Any], artefact: Path, iap_header: dict[str, str]
) -> None:
    service = make_service(models=f"tiny={artefact},lost=/nowhere")
    for make in LANES.values():
        ask = make(service)
        assert ask(call("GET", "/v1/models/tiny", **iap_header)).status == 200
        assert ask(call("GET", "/v1/models/lost", **iap_header)).status == 503
        assert ask(call("GET", "/v1/models/else", **iap_header)).status == 404
        assert ask(call("GET", "/readyz", port=8082)).status == 503


# Reload


def test_a_reload_serves_the_new_release(
    make_service: Callable[..., Any], artefact: Path, iap_header: dict[str, str]
) -> None:
    service = make_service()
    lanes = [make(service) for make in LANES.values()]
    row = json.dumps({"instances": [[0, 1] * 18 + [1]]}).encode()

    def predict(name: str) -> Call:
        path = f"/v1/models/{name}:predict"
        return call("POST", path, row, content_type="application/json", **iap_header)

    for ask in lanes:
        assert ask(predict("tiny")).headers["x-skfleet-release"] == "r1"
    service.reload(Settings(release="r2", models=f"new={artefact}"))
    for ask in lanes:
        answer = ask(call("GET", "/v1/models/new", **iap_header))
        assert (answer.status, answer.headers["x-skfleet-release"]) == (200, "r2")
        assert ask(call("GET", "/v1/models/tiny", **iap_header)).status == 404
        assert ask(predict("new")).headers["x-skfleet-release"] == "r2"
        assert ask(predict("tiny")).status == 404


def test_a_reload_that_fails_keeps_everything_and_says_why(
    make_service: Callable[..., Any], artefact: Path
) -> None:
    service = make_service()
    before = service.content
    service.reload(Settings(release="r2", models=f"tiny={artefact},lost=/nowhere"))
    assert service.content is before
    assert "lost" in service.reload_failure
    ready = LANES["flask"](service)(call("GET", "/readyz", port=8082))
    assert ready.status == 200
    assert "lost" in ready.json["reload_failure"]
    metrics = LANES["flask"](service)(call("GET", "/metrics", port=8083)).body
    assert b"skfleet_reload_failures_total 1.0" in metrics
    service.reload(Settings(release="r2", models=f"tiny={artefact}"))
    assert service.reload_failure is None
    assert service.content.release == "r2"


# What a process imports


def run(code: str, *, environ: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def environ(artefact: Path, run_dir: Path, identity_dir: Any) -> dict[str, str]:
    return {
        "SKFLEET_MODELS": f"tiny={artefact}",
        "SKFLEET_RUN_DIR": str(run_dir),
        "SKFLEET_IDENTITY_DIR": str(identity_dir.path),
    }


def test_the_configuration_bounds_blas_before_numpy_is_there(environ: dict[str, str]) -> None:
    code = """
        import sys
        import skfleet.serving.gunicorn
        assert "numpy" not in sys.modules
        import skfleet.serving.application
        import threadpoolctl
        print({pool["num_threads"] for pool in threadpoolctl.threadpool_info()})
    """
    said = run(code, environ={**environ, "OPENBLAS_NUM_THREADS": "2"})
    assert said.splitlines()[-1] == "{1}"


def test_a_worker_that_ends_writes_its_last_lines(environ: dict[str, str]) -> None:
    code = """
        import asyncio
        from skfleet.serving import gunicorn
        from skfleet.serving.application import service

        async def last_moment():
            service.access_log.soon(b"the last line\\n")

        asyncio.run(last_moment())
        gunicorn.worker_exit(None, None)
    """
    assert "the last line" in run(code, environ=environ)


def test_a_linear_model_is_served_without_scikit_learn(environ: dict[str, str]) -> None:
    code = """
        import sys
        from skfleet.serving.application import service
        assert service.content.models.get().model.backend.name == "linear"
        heavy = {"sklearn", "scipy", "skops", "pandas", "onnxruntime", "google.cloud", "requests"}
        print(sorted(heavy & set(sys.modules)))
    """
    assert run(code, environ=environ).strip() == "[]"


def test_without_the_models_libraries_the_service_is_live_and_not_ready(
    environ: dict[str, str],
) -> None:
    code = """
        import sys
        for name in ("numpy", "sklearn", "scipy", "skops"):
            sys.modules[name] = None  # as where it is not installed
        from skfleet.serving.application import service
        print(service.health.readiness().status, service.content.models.failures)
    """
    said = run(code, environ=environ)
    assert said.startswith("503")
    assert "numpy" in said
