"""Real gunicorns of both worker classes on loopback: sockets, forks, signals, logs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from skfleet.documents.manifest import Feature
from skfleet.serving.metrics import FLUSH_INTERVAL_S

from .conftest import IdentityDir
from .processes import WORKERS, Gunicorn

FORM = "application/x-www-form-urlencoded"
ROW = [0, 1] * 18 + [1]
BODY = b"x=" + str(ROW).encode()
INSTANCES = json.dumps({"instances": [ROW], "parameters": {"probabilities": True}}).encode()

Start = Callable[..., Gunicorn]
FEATURES = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)]


@pytest.fixture(params=["true", "false"], ids=["asgi", "gthread"])
def lane(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(gunicorn: Start, lane: str) -> Gunicorn:
    """A server of the test's own, which may reload, stop and be revoked."""
    return gunicorn(SKFLEET_FAST_LANE=lane)


@pytest.fixture(scope="module", params=["true", "false"], ids=["asgi", "gthread"])
def steady(request: pytest.FixtureRequest, shared_gunicorn: Start) -> Gunicorn:
    """One server for the tests that only ask."""
    return shared_gunicorn(SKFLEET_FAST_LANE=str(request.param), SKFLEET_MAX_BODY_BYTES="4096")


def test_predictions_on_both_listeners_with_identity(
    steady: Gunicorn, iap_header: dict[str, str], bearer_header: dict[str, str]
) -> None:
    for to, header in (("iap", iap_header), ("internal", bearer_header)):
        for _ in range(2):  # through Flask, then with the token known
            form = steady.request("POST", "/", BODY, to=to, content_type=FORM, **header)
            assert form.body.endswith(b'"received_data":{"x":"%s"}}\n' % str(ROW).encode())
            assert form.headers["x-skfleet-release"] == "r1"
            pieces = steady.request(
                "POST", "/", iter([BODY[:9], BODY[9:]]), to=to, content_type=FORM, **header
            )
            assert (pieces.status, pieces.body) == (200, form.body)
            path = "/v1/models/tiny:predict"
            answer = steady.request(
                "POST", path, INSTANCES, to=to, content_type="application/json", **header
            )
            assert set(answer.json) == {"predictions", "probabilities"}
        assert steady.request("POST", "/", BODY, to=to, content_type=FORM).status == 401


def test_the_socket_alone_says_which_listener_it_is(
    steady: Gunicorn, iap_header: dict[str, str], bearer_header: dict[str, str]
) -> None:
    ports = steady.ports
    for to in ("iap", "internal"):
        for host in ("127.0.0.1:8082", f"127.0.0.1:{ports['health']}", f"x:{ports['metrics']}"):
            for path in ("/livez", "/metrics", "/version"):
                assert steady.request("GET", path, to=to, host=host).status == 401
    for path in ("/", "/predict", "/metrics", "/v1/models/tiny"):
        for host in (f"127.0.0.1:{ports['iap']}", f"127.0.0.1:{ports['metrics']}"):
            answer = steady.request(
                "GET", path, to="health", host=host, **iap_header, **bearer_header
            )
            assert (answer.status, answer.json["code"]) == (404, "not_found")
    assert steady.request("GET", "/livez", to="metrics").status == 404
    assert steady.request("GET", "/metrics", to="metrics").status == 200


def raw(steady: Gunicorn, request: bytes, *, to: str = "iap") -> bytes:
    """The status line that raw bytes get."""
    with socket.create_connection(("127.0.0.1", steady.ports[to]), timeout=10) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "headers",
    [
        b"SCRIPT_NAME: /livez\r\n",
        b"PATH_INFO: /livez\r\n",
        b"Script-Name: /livez\r\n",
        b"SERVER_PORT: 8082\r\n",
        b"X-Forwarded-Proto: https\r\nX-Forwarded-Port: 8082\r\nX-Forwarded-For: 1.2.3.4\r\n",
        b"Forwarded: for=1.2.3.4;host=x:8082\r\n",
    ],
)
def test_headers_of_proxies_change_nothing(steady: Gunicorn, headers: bytes) -> None:
    # Also from loopback, which gunicorn would trust by default.
    request = b"GET /livez HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n"
    assert b" 401 " in raw(steady, request)
    assert b" 200 " in raw(steady, request, to="health")
    assert b" 404 " in raw(steady, request.replace(b"/livez HTTP", b"/predict HTTP"), to="health")


def test_an_identity_header_spelt_with_underscores_is_none(
    steady: Gunicorn, iap_header: dict[str, str]
) -> None:
    token = iap_header["x-goog-iap-jwt-assertion"].encode()
    request = b"GET /v1/models/tiny HTTP/1.1\r\nHost: x\r\n%s: " + token + b"\r\n\r\n"
    assert b" 200 " in raw(steady, request % b"X-Goog-IAP-JWT-Assertion")
    assert b" 401 " in raw(steady, request % b"X_GOOG_IAP_JWT_ASSERTION")


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_over_the_limit_is_refused_before_it_is_read(
    steady: Gunicorn, iap_header: dict[str, str], framing: str
) -> None:
    token = iap_header["x-goog-iap-jwt-assertion"].encode()
    head = (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: " + FORM.encode()
        + b"\r\nX-Goog-IAP-JWT-Assertion: " + token + b"\r\n"
    )  # fmt: skip
    for _ in range(2):
        if framing == "length":
            # A gigabyte is announced, and nothing of it is sent: who waits for it never answers.
            answer = raw(steady, head + b"Content-Length: 1073741824\r\n\r\n")
        else:
            chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
            answer = raw(steady, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 2)
        assert b" 413 " in answer
        # Once more with the token known to the fast lane.
        steady.request("POST", "/", BODY, content_type=FORM, **iap_header)


def test_a_connection_serves_many_requests(steady: Gunicorn, iap_header: dict[str, str]) -> None:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", steady.ports["iap"], timeout=10)
    socket_seen = None
    for index in range(20):
        body = BODY if index % 2 else b"x=bad"
        connection.request("POST", "/", body, {"content-type": FORM, **iap_header})
        response = connection.getresponse()
        response.read()
        assert response.status == (200 if index % 2 else 400)
        socket_seen = socket_seen or connection.sock
        assert connection.sock is socket_seen
    connection.close()


# The process


def listening(process: psutil.Process) -> set[int]:
    return {c.laddr.port for c in process.net_connections() if c.status == psutil.CONN_LISTEN}


def sockets(process: psutil.Process) -> int:
    descriptors = Path(f"/proc/{process.pid}/fd")
    return sum(str(link.readlink()).startswith("socket:") for link in descriptors.iterdir())


def test_the_master_holds_no_thread_and_no_socket_but_its_listeners(server: Gunicorn) -> None:
    assert server.master.num_threads() == 1
    assert listening(server.master) == set(server.ports.values())
    assert sockets(server.master) == len(server.ports)
    # Loaded once, by the master: two workers share it.
    assert server.log.read_text().count("model loaded") == 1
    server.reload()
    assert server.master.num_threads() == 1
    assert sockets(server.master) == len(server.ports)


def test_the_service_opens_no_connection(
    steady: Gunicorn, iap_header: dict[str, str], bearer_header: dict[str, str]
) -> None:
    steady.request("POST", "/", BODY, content_type=FORM, **iap_header)
    steady.request("POST", "/", BODY, content_type=FORM, to="internal", **bearer_header)
    steady.request("GET", "/readyz", to="health")
    for process in (steady.master, *steady.workers()):
        for connection in process.net_connections("all"):
            if connection.status == psutil.CONN_LISTEN:
                continue
            # What is left was accepted: its local end is one of our ports. asyncio's own pair of
            # Unix sockets has no address.
            local = getattr(connection.laddr, "port", None)
            assert local in steady.ports.values() or connection.family == socket.AF_UNIX


def test_metrics_add_up_over_workers_and_reloads(
    server: Gunicorn, iap_header: dict[str, str]
) -> None:
    def answered() -> float:
        text = server.request("GET", "/metrics", to="metrics").body.decode()
        wanted = 'skfleet_requests_total{listener="iap",route="/",status="200"} '
        return float(
            next((x for x in text.splitlines() if x.startswith(wanted)), "0 0").split()[-1]
        )

    for _ in range(20):
        server.request("POST", "/", BODY, content_type=FORM, **iap_header)
    # What another worker answered in the last 0.2 s is not told yet.
    server.wait_for(lambda: answered() == 20)
    server.reload()
    for _ in range(5):
        server.request("POST", "/", BODY, content_type=FORM, **iap_header)
    server.wait_for(lambda: answered() == 25)
    time.sleep(2 * FLUSH_INTERVAL_S)
    assert answered() == 25


def test_what_a_killed_worker_had_in_flight_is_not_counted_for_ever(
    server: Gunicorn, iap_header: dict[str, str]
) -> None:
    def in_flight() -> float:
        text = server.request("GET", "/metrics", to="metrics").body.decode()
        return float(text.partition("\nskfleet_requests_in_flight ")[2].split()[0])

    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: 99\r\n"
    token = iap_header["x-goog-iap-jwt-assertion"]
    with socket.create_connection(("127.0.0.1", server.ports["iap"])) as connection:
        connection.sendall(f"{head}X-Goog-IAP-JWT-Assertion: {token}\r\n\r\nx=".encode())
        server.wait_for(lambda: in_flight() == 1)
        for worker in server.workers():
            worker.kill()
        server.wait_for(lambda: in_flight() == 0)


def test_metrics_files_end_with_the_master(gunicorn: Start, lane: str, run_dir: Path) -> None:
    leftover = run_dir / "skfleet-metrics-999999999"  # of a master that was killed
    leftover.mkdir()
    server = gunicorn(SKFLEET_FAST_LANE=lane)
    assert [path.name for path in run_dir.glob("skfleet-metrics-*")] == [
        f"skfleet-metrics-{server.process.pid}"
    ]
    server.stop()
    assert list(run_dir.glob("skfleet-metrics-*")) == []


def test_without_a_model_it_is_live_and_not_ready(
    gunicorn: Start, lane: str, iap_header: dict[str, str]
) -> None:
    server = gunicorn(SKFLEET_FAST_LANE=lane, SKFLEET_MODELS="tiny=/nowhere")
    ready = server.request("GET", "/readyz", to="health")
    assert (ready.status, ready.json["checks"]["model"]["ok"]) == (503, False)
    answer = server.request("POST", "/", BODY, content_type=FORM, **iap_header)
    assert (answer.status, answer.json["code"]) == (503, "model_not_loaded")


def test_a_drain_shows_at_once_in_every_worker(server: Gunicorn, run_dir: Path) -> None:
    def all_say(status: int) -> bool:
        return {server.request("GET", "/readyz", to="health").status for _ in range(20)} == {status}

    assert all_say(200)
    mark = run_dir / "drain.json"
    mark.write_text(json.dumps({"owner": "rollout", "expires_at": time.time() + 60}))
    time.sleep(0.25)
    assert all_say(503)
    assert server.request("GET", "/livez", to="health").status == 200
    mark.unlink()
    time.sleep(0.25)
    assert all_say(200)


def test_a_revoked_caller_is_out_while_it_runs(
    server: Gunicorn, identity_dir: IdentityDir, bearer_header: dict[str, str]
) -> None:
    def statuses() -> set[int]:
        return {
            server.request("POST", "/", BODY, to="internal", content_type=FORM, **bearer_header)
            .status
            for _ in range(20)
        }  # fmt: skip

    assert statuses() == {200}
    identity_dir.environment["internal"]["allowed_callers"] = []
    identity_dir.write_environment()
    time.sleep(1.1)
    assert statuses() == {403}


# Reload


def test_hup_serves_what_the_service_env_now_names(
    gunicorn: Start, lane: str, artefact: Path, tmp_path: Path, iap_header: dict[str, str]
) -> None:
    env = tmp_path / "service.env"
    env.write_text(f"# of release r1\nSKFLEET_RELEASE=r1\nSKFLEET_MODELS=tiny={artefact}\n")
    server = gunicorn(SKFLEET_FAST_LANE=lane, SKFLEET_SERVICE_ENV=str(env))
    env.write_text(f"SKFLEET_RELEASE=r2\nSKFLEET_MODELS=new={artefact}\nSKFLEET_WORKERS=7\n")
    server.reload()
    for _ in range(10):
        answer = server.request("GET", "/v1/models/new", **iap_header)
        assert (answer.status, answer.headers["x-skfleet-release"]) == (200, "r2")
    assert len(server.workers()) == 2  # the number of workers is no matter of a reload


def test_a_worker_that_is_told_to_stop_while_it_starts_stops(server: Gunicorn) -> None:
    """At a stop soon after a start, or at two reloads in a row. Forgotten, it would be killed in the end."""

    def booted() -> list[int]:
        return [
            int(pid)
            for pid in re.findall(r"Booting worker with pid: (\d+)", server.log.read_text())
        ]

    server.wait_for(lambda: len(booted()) == WORKERS)
    server.process.send_signal(signal.SIGHUP)
    while len(booted()) == WORKERS:
        assert server.process.poll() is None
    starting = booted()[-1]
    os.kill(starting, signal.SIGTERM)
    server.wait_for(lambda: not psutil.pid_exists(starting))
    server.wait_for(lambda: len(server.workers()) == WORKERS)


@pytest.mark.parametrize("broken", ["model", "file", "settings"])
def test_hup_that_fails_keeps_what_there_is(
    gunicorn: Start, lane: str, artefact: Path, tmp_path: Path, broken: str
) -> None:
    env = tmp_path / "service.env"
    env.write_text(f"SKFLEET_RELEASE=r1\nSKFLEET_MODELS=tiny={artefact}\n")
    server = gunicorn(SKFLEET_FAST_LANE=lane, SKFLEET_SERVICE_ENV=str(env))
    if broken == "model":
        env.write_text("SKFLEET_RELEASE=r2\nSKFLEET_MODELS=tiny=/nowhere\n")
    elif broken == "settings":
        env.write_text("SKFLEET_RELEASE=r2\nSKFLEET_MODELS=,,\n")
    else:
        env.unlink()
    server.reload()
    ready = server.request("GET", "/readyz", to="health")
    assert (ready.status, ready.json["release"]) == (200, "r1")
    assert ready.json["reload_failure"]
    metrics = server.request("GET", "/metrics", to="metrics").body
    assert b"skfleet_reload_failures_total 1.0" in metrics


# Logs


def test_logs_are_json_and_leave_probes_out(server: Gunicorn, iap_header: dict[str, str]) -> None:
    server.request("POST", "/", BODY, content_type=FORM, **iap_header)
    server.request("POST", "/", BODY, content_type=FORM, **iap_header)
    server.request("GET", "/no\u0022\u000athing".replace("\n", "%0a"), **iap_header)
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    access = [line for line in lines if line["log"] == "access"]
    assert sorted(line["status"] for line in access) == [200, 200, 404]
    assert {line["caller"] for line in access} == {"user@example.com"}
    assert {line["listener"] for line in access} == {"iap"}
    token = iap_header["x-goog-iap-jwt-assertion"]
    assert token[-20:] not in server.log.read_text()


def test_what_libraries_and_python_warn_of_is_json_too() -> None:
    code = """
import logging, warnings
from skfleet.serving import logs
logs.configure("info")
warnings.warn("first\\nsecond", stacklevel=1)
logging.getLogger("asyncio").error("of a library")
logging.getLogger("asyncio").info("not asked for")
logging.getLogger("skfleet.x").info("our own")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["log"] for line in lines] == ["py.warnings", "asyncio", "skfleet.x"]
    assert "first\nsecond" in lines[0]["message"]


def test_a_stop_waits_for_the_thread_whose_answer_was_read(
    gunicorn: Start, iap_header: dict[str, str]
) -> None:
    server = gunicorn("app.tests.serving.late:application")
    assert server.request("GET", "/v1/models/tiny", **iap_header).status == 200
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert [line for line in lines if line.get("level") in ("warning", "error")] == []


# The command


def test_skfleet_serve_becomes_gunicorn(
    artefact: Path, identity_dir: IdentityDir, run_dir: Path, tmp_path: Path
) -> None:
    from skfleet_operator.ports import free_ports

    ports = free_ports(4)
    code = "from skfleet_operator.cli.serve import serve; serve()"
    arguments = [
        "--model-uri", str(artefact), "--bind", "127.0.0.1", "--workers", "1", "--no-fast-lane",
        "--identity-dir", str(identity_dir.path), "--run-dir", str(run_dir), "--release", "r9",
        "--port-iap", ports[0], "--port-internal", ports[1], "--port-health", ports[2],
        "--port-metrics", ports[3],
    ]  # fmt: skip
    server = Gunicorn.__new__(Gunicorn)
    server.ports = dict(zip(("iap", "internal", "health", "metrics"), ports, strict=True))
    server.log = tmp_path / "log"
    with server.log.open("wb") as output:
        server.process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        server.wait_until_live()
        version = server.request("GET", "/version", to="health").json
        assert (version["release"], version["lane"]) == ("r9", "flask")
        assert [model["name"] for model in version["models"]] == ["tiny"]
        assert len(server.workers()) == 1
    finally:
        server.stop()


def test_skfleet_serve_refuses_a_bad_value_before_gunicorn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from click.testing import CliRunner

    from skfleet.errors import ConfigurationError
    from skfleet_operator.cli.serve import serve

    monkeypatch.setenv("SKFLEET_WORKERS", "1")  # the command sets it; afterwards it is as before
    result: Any = CliRunner().invoke(serve, ["--workers", "many"])
    assert isinstance(result.exception, ConfigurationError)
    assert result.exception.where == "SKFLEET_WORKERS"
