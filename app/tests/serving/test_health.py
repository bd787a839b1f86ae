"""Readiness is judged on this host alone, says which check fails, and never costs much."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from skfleet import state
from skfleet.serving import health
from skfleet.serving.health import Health

from .calls import call
from .conftest import IdentityDir
from .lanes import LANES


def readyz(service: Any) -> tuple[int, dict[str, Any]]:
    """The answer of both lanes, which must be one."""
    service.health._looked_at = float("-inf")
    service.identity._looked_at = float("-inf")
    answers = [make(service)(call("GET", "/readyz", port=8082)) for make in LANES.values()]
    assert answers[0] == answers[1]
    return answers[0].status, answers[0].json


def failing(body: dict[str, Any]) -> dict[str, str]:
    return {name: check["reason"] for name, check in body["checks"].items() if not check["ok"]}


def test_a_whole_service_is_ready(service: Any) -> None:
    status, body = readyz(service)
    assert body["signatures"] == "not required"
    assert (status, body["status"], body["release"], body["stale"]) == (200, "ready", "r1", False)
    assert body["model"] == {
        "name": "tiny",
        "digest": service.content.models.get().model.digest,
    }
    assert body["checks"] == {
        name: {"ok": True} for name in ("model", "golden", "identity", "drain")
    }


def test_liveness_does_not_depend_on_readiness(make_service: Callable[..., Any]) -> None:
    service = make_service(models="", identity_dir=Path("/nowhere"))
    for make in LANES.values():
        answer = make(service)(call("GET", "/livez", port=8082))
        assert (answer.status, answer.body) == (200, b'{"status":"live"}\n')
        assert make(service)(call("GET", "/readyz", port=8082)).status == 503


@pytest.mark.parametrize("name", ["environment.json", "iap-keys.json", "google-keys.json"])
def test_unknown_identity_is_not_ready(
    make_service: Callable[..., Any], identity_dir: IdentityDir, name: str
) -> None:
    (identity_dir.path / name).unlink()
    status, body = readyz(make_service())
    assert status == 503
    assert name in failing(body)["identity"]


def test_a_drain_mark_takes_the_host_out_until_it_expires(service: Any, run_dir: Path) -> None:
    mark = run_dir / "drain.json"
    mark.write_text(json.dumps({"owner": "rollout 7", "expires_at": time.time() + 60}))
    status, body = readyz(service)
    assert (status, failing(body)) == (503, {"drain": "draining for rollout 7"})
    mark.write_text(json.dumps({"owner": "rollout 7", "expires_at": time.time() - 1}))
    assert readyz(service)[0] == 200
    mark.write_text("{")
    assert readyz(service)[0] == 503
    mark.unlink()
    assert readyz(service)[0] == 200


def test_a_host_that_must_converge_is_ready_for_its_own_release_only(
    make_service: Callable[..., Any], run_dir: Path
) -> None:
    service = make_service(require_converged=True)
    assert readyz(service)[0] == 503
    state = run_dir / "converge.json"
    state.write_text(json.dumps({"release": "r0", "stale": False}))
    assert "r0" in failing(readyz(service)[1])["converged"]
    service_without = make_service(require_converged=True, release="")
    state.write_text(json.dumps({"release": ""}))
    assert "converged" in failing(readyz(service_without)[1])
    state.write_text(json.dumps({"release": "r1", "stale": True, "reason": "bucket", "at": "x"}))
    status, body = readyz(service)
    assert (status, body["stale"]) == (200, True)


def test_converge_state_matters_only_where_it_is_asked_for(service: Any, run_dir: Path) -> None:
    (run_dir / "converge.json").write_text(json.dumps({"release": "other", "stale": True}))
    status, body = readyz(service)
    assert (status, body["stale"]) == (200, True)


def test_a_model_that_answers_otherwise_after_the_fork_is_not_ready(service: Any) -> None:
    class Wrong:
        name = "linear"

        def predict(self, rows: Any) -> list[int]:
            return [0] * len(rows)

        def predict_proba(self, rows: Any) -> list[list[float]]:
            return [[1.0, 0.0]] * len(rows)

    served = service.content.models.get()
    object.__setattr__(served.model, "backend", Wrong())
    status, body = readyz(service)
    assert status == 503
    assert "Golden vector" in failing(body)["golden"]


def test_files_are_read_a_few_times_a_second_at_most() -> None:
    now = [0.0]
    looks = []
    checks = Health(dict, clock=lambda: now[0])
    checks.register("counted", lambda: looks.append(1))
    for _ in range(100):
        checks.readiness()
    assert len(looks) == 1
    now[0] = health.LOOK_INTERVAL_S
    checks.readiness()
    assert len(looks) == 2


def test_a_check_that_fails_is_a_reason_and_no_crash() -> None:
    checks = Health(dict)

    def broken() -> str | None:
        raise ZeroDivisionError

    checks.register("broken", broken)
    answer = checks.readiness()
    assert answer.status == 503
    assert b"ZeroDivisionError" in answer.body


def test_names_of_checks_are_unique() -> None:
    checks = Health(dict)
    checks.register("one", lambda: None)
    with pytest.raises(ValueError, match="twice"):
        checks.register("one", lambda: None)


def test_version_says_what_runs(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKFLEET_APP_VERSION", "v1.2-3-gabc+pins.def")
    body = json.loads(service.version())
    served = service.content.models.get()
    assert body["release"] == "r1"
    assert body["app"] == "v1.2-3-gabc+pins.def"
    assert body["models"] == [
        {"name": "tiny", "default": True, "digest": served.model.digest, "backend": "linear"}
    ]
    assert body["lane"] == "fast"
    assert body["python"].startswith("3.")
    assert "pid" not in body
    assert json.loads(service.version())["internal_identity"] == "id-token"


def test_readyz_reports_that_the_host_requires_signatures(service: Any, run_dir: Path) -> None:
    state.write(run_dir, "r1", signatures_required=True)
    assert readyz(service)[1]["signatures"] == "required"
