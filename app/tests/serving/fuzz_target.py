"""A service that a fuzzer feeds bytes: the real connection class over a transport in memory, no sockets.

Each finding is an AssertionError: an answer of 5xx, an error of another shape, bytes that belong to no
answer, a stream answered otherwise when it is cut in two, or a parser that raised what nobody expected.
"""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from gunicorn.config import Config
from gunicorn.glogging import Logger
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from skfleet.artifacts.directory import read_manifest
from skfleet.backends.base import Model, open_backend
from skfleet.documents.manifest import Feature
from skfleet.serving.fast import FastLane
from skfleet.serving.listeners import Listener
from skfleet.serving.models import Models, Served
from skfleet.serving.probes import Probes
from skfleet.serving.protocols.rows import RowCheck
from skfleet.serving.service import Content, Service
from skfleet.serving.worker import Protocol
from skfleet.settings import Settings
from skfleet_operator.models.publish import write_artefact

from .conftest import IAP_AUDIENCE, IdentityDir, google_signer, iap_signer

ERROR_FIELDS = {"error", "code", "where", "hint"}
PATIENCE_S = 20.0
MOMENT_S = 1e-4  # while Flask's threads work: a loop that spins would keep them from it
ENVIRONMENT = {
    "schema_version": 1,
    "fleet": "fuzz",
    "iap": {"audiences": [IAP_AUDIENCE]},
    "internal": {"identity": "none", "audiences": [], "allowed_callers": []},
}
# Name → the backend that answers. No feature has a limit but those of `digits`.
MODELS = {
    "digits": "linear",
    "forest": "sklearn",
    "graph": "onnx",
    "sum": "linear",
    "mixed": "sklearn",
}


def make_models(root: Path) -> Models:
    """One small model of each backend and kind, written below `root`; the first is the default."""
    generator = np.random.default_rng(1)
    bits = generator.integers(0, 2, (200, 37))
    numbers = generator.normal(0, 1, (200, 3))
    sign = (numbers[:, 0] > 0).astype(int)
    pairs = zip(["a", "b"] * 100, numbers[:, 0].tolist(), strict=True)
    text = np.array([[letter, number] for letter, number in pairs], object)
    wide = [Feature(name=name) for name in "xyz"]
    forest = RandomForestClassifier(3, max_depth=3, random_state=0).fit(numbers, sign)
    columns = ColumnTransformer(
        [("text", OneHotEncoder(sparse_output=False), [0])], remainder="passthrough"
    )
    # Name → (estimator, features, rows).
    sources: dict[str, tuple[Any, list[Feature], Any]] = {
        "digits": (
            LogisticRegression().fit(bits, bits[:, 0]),
            [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)],
            bits,
        ),
        "forest": (forest, wide, numbers),
        "graph": (forest, wide, numbers),
        "sum": (LinearRegression().fit(numbers, numbers.sum(axis=1) * 7), wide, numbers),
        "mixed": (
            make_pipeline(columns, LogisticRegression()).fit(text, sign),
            [Feature(name="t", categories=["a", "b"]), Feature(name="n")],
            text,
        ),
    }  # fmt: skip
    served = {}
    for name, (estimator, features, rows) in sources.items():
        directory = root / name
        sample = rows.tolist()
        write_artefact(directory, name=name, estimator=estimator, features=features,
                       golden_rows=sample, sample=sample)  # fmt: skip
        manifest, digest = read_manifest(directory)
        model = Model(name, digest, manifest, open_backend(MODELS[name], directory, manifest))
        served[name] = Served(name, model, RowCheck(manifest.features))
    return Models("digits", served)


class Wire(asyncio.Transport):
    """The client's end: what was written, and whether the connection is still open."""

    def __init__(self, port: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"sockname": ("127.0.0.1", port), "peername": ("127.0.0.1", 1)})
        self._loop = loop
        self.protocol: Any = None
        self.written = bytearray()
        self.is_open = True

    def write(self, data: Any) -> None:
        self.written += data

    def writelines(self, list_of_data: Any) -> None:
        for data in list_of_data:
            self.written += data

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return not self.is_open

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.call_soon(self.protocol.connection_lost, None)

    abort = close


class Findings(logging.Handler):
    """Warnings and errors of the service: each is something that nobody expected."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(logging.Formatter("%(name)s: %(message)s").format(record))


class Target:
    """One service, fed stream after stream."""

    def __init__(self, root: Path) -> None:
        for name in ("identity", "run"):
            (root / name).mkdir(parents=True)
        IdentityDir(root / "identity", [iap_signer()], [google_signer()], ENVIRONMENT).write()
        settings = Settings(release="fuzz", identity_dir=root / "identity", run_dir=root / "run",
                            max_body_bytes=64 * 1024)  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self.service = Service(settings, Content("fuzz", make_models(root / "models")))
        self.service.access_log._write = lambda _: None
        ports = {listener: port for port, listener in self.service.ports.items()}
        self.ports = (ports[Listener.INTERNAL], ports[Listener.HEALTH], ports[Listener.IAP])
        # Here: it changes the process that imports it.
        from skfleet.serving import gunicorn as configuration

        self._config = Config()
        for name in (
            "keepalive",
            "limit_request_line",
            "limit_request_fields",
            "limit_request_field_size",
        ):
            self._config.set(name, getattr(configuration, name))
        lane = FastLane(self.service)
        self._worker: Any = SimpleNamespace(
            asgi=lane, cfg=self._config, log=Logger(self._config), loop=self._loop, nr_conns=0, nr=0,
            max_requests=2**62, alive=True, stopping=False, state={}, connections=set(),
            share=SimpleNamespace(closed=lambda: None), probes=Probes(lane),
        )  # fmt: skip
        self._findings = Findings()
        for logger in ("skfleet", "gunicorn.error"):
            logging.getLogger(logger).handlers = [self._findings]
            logging.getLogger(logger).propagate = False

    def check(self, stream: bytes, cut: int = 0, port: int = 0) -> list[int]:
        """Feed a stream whole, and in two pieces; the statuses of its answers. Raises AssertionError."""
        port = self.ports[port % len(self.ports)]
        whole = self._exchange([stream], port)
        if 0 < cut < len(stream):
            pieces = self._exchange([stream[:cut], stream[cut:]], port)
            assert pieces == whole, f"{whole} whole, {pieces} when cut at {cut}"
        return whole

    def _exchange(self, pieces: list[bytes], port: int) -> list[int]:
        self._findings.found.clear()
        written = self._loop.run_until_complete(self._feed(pieces, port))
        assert not self._findings.found, self._findings.found[0]
        return answers(written)

    async def _feed(self, pieces: list[bytes], port: int) -> bytes:
        wire = Wire(port, self._loop)
        wire.protocol = protocol = Protocol(self._worker)
        protocol.connection_made(wire)
        await asyncio.sleep(0)
        for piece in pieces:
            if wire.is_open:
                protocol.data_received(piece)
            await self._settle(protocol)
        protocol._let_go()  # what is held for a moment
        await self._settle(protocol)
        wire.close()
        await asyncio.sleep(0)
        protocol._request_ready.set()  # or its task would wait for its grace period
        async with asyncio.timeout(PATIENCE_S):
            while not protocol._task.done():
                await asyncio.sleep(MOMENT_S)
        assert self.service.admission.in_flight == 0, "a request never gave its place back"
        return bytes(wire.written)

    async def _settle(self, protocol: Any) -> None:
        """Until all that is there is answered."""
        async with asyncio.timeout(PATIENCE_S):
            for _ in range(3):
                await asyncio.sleep(0)
                while self._is_busy(protocol):
                    await asyncio.sleep(MOMENT_S)

    def _is_busy(self, protocol: Any) -> bool:
        whole = protocol._whole
        if protocol._closed:
            return False
        parser = protocol._callback_parser
        waits = whole is not None and whole.waits
        return bool(protocol._early or waits or (protocol._current_request and parser.is_complete))


def answers(written: bytes) -> list[int]:
    """The statuses of all answers in what was written; each is checked."""
    statuses = []
    rest = written
    while rest:
        head, separator, rest = rest.partition(b"\r\n\r\n")
        assert separator, f"not an answer: {head[:80]!r}"
        lines = head.split(b"\r\n")
        version, status, *_ = lines[0].split(b" ")
        assert version in (b"HTTP/1.1", b"HTTP/1.0"), head[:80]
        statuses.append(int(status))
        if status == b"100":
            continue
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:])
        length = int(headers[b"content-length"])
        assert b"x-skfleet-release" in headers, head
        # An answer to HEAD has none; then the rest begins the next one, or there is no rest.
        is_head = rest[:5] == b"HTTP/" or not rest
        body, rest = (b"", rest) if is_head else (rest[:length], rest[length:])
        assert is_head or len(body) == length, "an answer that is cut short"
        assert statuses[-1] < 500, (statuses[-1], body)
        if statuses[-1] >= 400 and body:
            assert headers[b"content-type"] == b"application/json", head
            error = json.loads(body)
            assert set(error) == ERROR_FIELDS, body
            assert all(isinstance(value, str) for value in error.values()), body
            assert error["error"], body
            assert error["code"], body
    return statuses
