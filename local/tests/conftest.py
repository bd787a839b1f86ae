"""Fixtures: parts of the cloud in this process, and whole fleets with a stub as their VMs' software."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from skfleet.polling import wait_until
from skfleet_local import keys, processes
from skfleet_local.addresses import Addresses, candidates, first_taken
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.run import Run, State

REPOSITORY = Path(__file__).resolve().parents[2]


class Sites:
    """aiohttp sites in a thread of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self._runners: list[web.AppRunner] = []

    def open(self, app: web.Application, address: str, port: int) -> None:
        async def start() -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.TCPSite(runner, address, port).start()
            self._runners.append(runner)

        asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)

    def open_unix(self, app: web.Application, path: Path) -> None:
        async def start() -> None:
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
            await runner.setup()
            await web.UnixSite(runner, path).start()
            self._runners.append(runner)

        asyncio.run_coroutine_threadsafe(start(), self.loop).result(10)

    def close(self) -> None:
        async def stop() -> None:
            for runner in self._runners:
                await runner.cleanup()

        asyncio.run_coroutine_threadsafe(stop(), self.loop).result(10)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


@pytest.fixture(scope="module")
def sites() -> Iterator[Sites]:
    opened = Sites()
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run directory that nothing runs in."""
    made = Run(tmp_path_factory.mktemp("run"))
    (made.root / "log").mkdir()
    made.objects.mkdir()
    return made


@pytest.fixture(scope="module")
def addresses(run: Run) -> Addresses:
    """Loopback addresses where nobody listens."""
    return next(a for a in candidates(run.root) if not first_taken(a.listeners(1, (9080,))))


@pytest.fixture(scope="module")
def tokens(run: Run, addresses: Addresses) -> Tokens:
    """The run's keys."""
    keys.make(run, addresses.token_url)
    return Tokens.load(run)


@pytest.fixture(scope="session")
def stub_runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image's environment that is a stub."""
    folder = tmp_path_factory.mktemp("stub") / "runtime"
    script = Path(__file__).parent / "stub_runtime.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@dataclass(frozen=True, slots=True)
class Fleet:
    """A run and its command line."""

    run: Run

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`skfleet-local …` about this run, in a process of its own."""
        result = subprocess.run(
            [sys.executable, "-m", "skfleet_local.cli", *arguments],
            env={**os.environ, "SKFLEET_RUN_DIR": str(self.run.root)},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )
        if check:
            assert result.returncode == 0, f"{arguments}: {result.stdout}\n{result.stderr}"
        return result

    @contextmanager
    def watching(self) -> Iterator[Iterator[str]]:
        """The lines of `status --watch` as they come; Ctrl-C at the end, which is no failure."""
        process = subprocess.Popen(
            [sys.executable, "-m", "skfleet_local.cli", "status", "--watch", "--interval", "0.5"],
            env={**os.environ, "SKFLEET_RUN_DIR": str(self.run.root)},
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            yield iter(process.stdout)
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()

    @property
    def state(self) -> State:
        return self.run.require_state()

    def environment(self) -> dict[str, str]:
        """client.env."""
        lines = self.run.client_env.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


StartFleet = Callable[..., Fleet]


@pytest.fixture
def make_fleet() -> Callable[[Path], Fleet]:
    """A fleet in a directory of the test's choice, not started; the test ends it."""
    return lambda root: Fleet(Run(root))


@pytest.fixture(scope="module")
def start_fleet(
    tmp_path_factory: pytest.TempPathFactory, stub_runtime: Path
) -> Iterator[StartFleet]:
    """Boot fleets of stub VMs; all are ended after the module, whatever the tests did to them."""
    fleets: list[Fleet] = []

    def start(*options: str) -> Fleet:
        fleet = Fleet(Run(tmp_path_factory.mktemp("fleet") / "run"))
        fleets.append(fleet)
        fleet.command("up", "--runtime", str(stub_runtime), *options)
        return fleet

    yield start
    for fleet in fleets:
        fleet.command("down")
        assert not processes.of_run(fleet.run.root)


def wait_for(what: str, seconds: float, condition: Callable[[], Any]) -> Any:
    """The first true answer; fails the test where there is none in time."""
    return wait_until(condition, seconds, what)


@pytest.fixture(scope="session")
def eventually() -> Callable[[str, float, Callable[[], Any]], Any]:
    return wait_for
