"""A real gunicorn on loopback, as systemd starts it, and plain HTTP/1.1 to it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from skfleet.polling import wait_until
from skfleet_operator.ports import free_ports

from .calls import Answer

CONFIG = "python:skfleet.serving.gunicorn"
APPLICATION = "skfleet.serving.application:application"
LISTENERS = ("iap", "internal", "health", "metrics")
WORKERS = 2  # the default of SKFLEET_WORKERS


class Gunicorn:
    """One master with its workers; ports are free ones of this moment."""

    def __init__(self, environ: dict[str, str], log: Path, application: str = APPLICATION) -> None:
        self.ports = dict(zip(LISTENERS, free_ports(len(LISTENERS)), strict=True))
        ports = {f"SKFLEET_PORT_{name.upper()}": str(port) for name, port in self.ports.items()}
        inherited = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "--config", CONFIG, application],
                env={**inherited, "SKFLEET_BIND_ADDRESS": "127.0.0.1", **ports, **environ},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def master(self) -> psutil.Process:
        return psutil.Process(self.process.pid)

    def workers(self) -> list[psutil.Process]:
        return self.master.children()

    def request(
        self, method: str, path: str, body: Any = None, *, to: str = "iap", **headers: str
    ) -> Answer:
        """One request on a connection of its own; an iterable body goes chunked."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[to], timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            data = response.read()
            pairs = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, pairs, data)
        finally:
            connection.close()

    def wait_until_live(self, timeout: float = 30) -> None:
        self.wait_for(lambda: self.request("GET", "/livez", to="health").status == 200, timeout)

    def wait_for(self, condition: Any, timeout: float = 15) -> None:
        """Poll until the condition holds; refused connections count as not yet."""

        def holds() -> Any:
            assert self.process.poll() is None, self.log.read_text()
            return condition()

        wait_until(holds, timeout, self.log.read_text, interval_s=0.05, ignore=(OSError,))

    def reload(self) -> None:
        """HUP, and wait until the old workers are gone."""
        # The first worker answers before the second is forked; that one would not be waited for.
        self.wait_for(lambda: len(self.workers()) == WORKERS)
        old = {worker.pid for worker in self.workers()}
        self.process.send_signal(signal.SIGHUP)
        self.wait_for(lambda: self.workers() and not old & {w.pid for w in self.workers()})
        self.wait_until_live()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
