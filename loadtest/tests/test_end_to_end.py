"""Locust's own leader and workers against a real listener: the verdicts that people rely on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import psutil
import pytest

from skfleet.polling import wait_until
from skfleet_loadtest import TREE, verdict
from skfleet_loadtest.flights import ANY_RELEASE, Expectation, Flights, write
from skfleet_loadtest.verdict import Verdict, Word

pytestmark = [pytest.mark.fleet, pytest.mark.load]

ROWS = [[float(i >> b & 1) for b in range(4)] for i in range(16)]
EXPECTED = Expectation(
    labels=[i % 2 for i in range(16)],
    probabilities=[[1 - i / 16, i / 16] for i in range(16)],
    tolerance=1e-9,
)


class Fleet(ThreadingHTTPServer):
    """Answers the form, V1 and V2 rightly, until told to pause or to lie."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.open = threading.Event()
        self.open.set()
        self.lies = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body are two writes: without this each answer waits for a delayed acknowledgement.
    disable_nagle_algorithm = True
    server: Fleet

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.open.wait(30)
        if self.path == "/":
            text = body.decode().removeprefix("x=")
            index = ROWS.index(msgspec.json.decode(text, type=list[float]))
            answer = {"model_prediction": f"[{self._label(index)}]", "received_data": {"x": text}}
        elif self.path == "/v2/models/m/infer":
            asked = msgspec.json.decode(body)
            index = ROWS.index(asked["inputs"][0]["data"])
            probabilities = EXPECTED.probabilities[index]
            answer = {
                "model_name": "m",
                "id": asked["id"],
                "outputs": [
                    {"name": "predict", "shape": [1], "data": [self._label(index)]},
                    {"name": "predict_proba", "shape": [1, 2], "data": probabilities},
                ],
            }
        else:
            rows = [ROWS.index(row) for row in msgspec.json.decode(body)["instances"]]
            answer = {
                "predictions": [self._label(row) for row in rows],
                "probabilities": [EXPECTED.probabilities[row] for row in rows],
            }
        data = msgspec.json.encode(answer)
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Skfleet-Release", "r1")
        self.end_headers()
        self.wfile.write(data)

    def _label(self, row: int) -> int:
        return EXPECTED.labels[row] ^ self.server.lies

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    server = Fleet()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.open.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def loadtest(fleet: Fleet, tmp_path: Path) -> Callable[..., tuple[int, Verdict]]:
    """Run `python -m skfleet_loadtest run`; `meanwhile` gets the process once load is on."""
    flights = tmp_path / "flights.json"
    write(Flights(model="m", rows=ROWS, expected={ANY_RELEASE: EXPECTED}), flights)

    def run(
        *options: str, meanwhile: Callable[[psutil.Process], None] = lambda process: None
    ) -> tuple[int, Verdict]:
        command = [sys.executable, "-m", "skfleet_loadtest", "run"]
        command += ["--target", fleet.url, "--flights", str(flights), "--run", "test"]
        command += ["--results", str(tmp_path), "--warm-up", "2", *options]
        environment = {**os.environ, "PYTHONPATH": str(TREE / "loadtest")}
        with subprocess.Popen(command, cwd=TREE, env=environment) as process:

            def has_started() -> bool:
                assert process.poll() is None, _log(tmp_path)
                return "Shape worker starting" in _log(tmp_path)

            wait_until(has_started, 60, lambda: f"load ({_log(tmp_path)})", interval_s=0.2)
            meanwhile(psutil.Process(process.pid))
            code = process.wait(timeout=60)
        assert (tmp_path / "test/verdict.json").exists(), _log(tmp_path)
        return code, verdict.read(tmp_path / "test")

    return run


def _log(results: Path) -> str:
    path = results / "test/locust.log"
    return path.read_text() if path.exists() else ""


def test_every_request_of_every_worker_is_counted(
    loadtest: Callable[..., tuple[int, Verdict]], tmp_path: Path
) -> None:
    code, judged = loadtest(
        "--rate", "40", "--duration", "6", "--workers", "2", "--arrivals", "constant"
    )
    assert code == 3
    assert judged.verdict is Word.INVALID
    assert all(reason.startswith("too few requests") for reason in judged.reasons)
    assert (judged.workers.finished, judged.workers.expected) == (2, 2)
    assert judged.rate_asked == 40
    assert judged.by_release["r1"]["requests"] == judged.requests
    assert judged.requests == judged.by_release["r1"]["right"]
    assert "<svg" in (tmp_path / "test/report.html").read_text()


def test_a_pause_of_the_fleet_fails_the_run(
    loadtest: Callable[..., tuple[int, Verdict]], fleet: Fleet
) -> None:
    def pause(process: psutil.Process) -> None:
        time.sleep(4)
        fleet.open.clear()
        time.sleep(3)
        fleet.open.set()

    code, judged = loadtest(
        "--rate", "40", "--duration", "8", "--workers", "1", "--abort", "never", meanwhile=pause
    )
    assert code == 1
    assert judged.verdict is Word.FAIL
    assert any(reason.startswith("latency") for reason in judged.reasons)


def test_a_worker_that_is_killed_makes_the_run_invalid(
    loadtest: Callable[..., tuple[int, Verdict]],
) -> None:
    def kill(process: psutil.Process) -> None:
        time.sleep(4)
        leader = next(child for child in process.children() if "locust" in child.cmdline())
        leader.children()[0].send_signal(signal.SIGKILL)

    code, judged = loadtest("--rate", "20", "--duration", "8", "--workers", "2", meanwhile=kill)
    assert code == 3
    assert judged.reasons[0].startswith("missing workers: 1 of 2")


def test_wrong_answers_with_status_200_fail_the_run(
    loadtest: Callable[..., tuple[int, Verdict]], fleet: Fleet
) -> None:
    fleet.lies = True
    code, judged = loadtest("--rate", "20", "--duration", "4", "--workers", "1", "--abort", "never")
    assert code == 1
    assert (judged.wrong, judged.failures) == (judged.requests, 0)
    assert any(reason.startswith("answers") for reason in judged.reasons)
