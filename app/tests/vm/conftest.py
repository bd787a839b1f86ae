"""One VM on this machine: a prefix, a real supervisor, the real roles, a real object store.

Only the metadata server and the app build are doubles. The build's wheel holds a `gunicorn` that answers
the health routes and a `load_model`, so that a test installs and starts a release in seconds and can
break each part of it.
"""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import google.auth
import google.auth.credentials
import pytest
import yaml

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.documents.desired import Desired, DesiredEntry
from skfleet.documents.manifest import Feature
from skfleet.documents.release import AppPin, ModelPin, Pin, Release
from skfleet.polling import wait_until
from skfleet.vm.platform import host_tags
from skfleet_operator.builds.bundle import make_bundle
from skfleet_operator.models.publish import publish, write_artefact

REPO = Path(__file__).parents[3]
FLEET = "test"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What has a VM of its own is of the area `vm-fleet`."""
    for item in items:
        if "make_vm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.fleet)


STUB = """
import http.server, json, os, pathlib, sys

def gunicorn():
    if {broken}:
        sys.exit("broken application")
    run = pathlib.Path(os.environ["SKFLEET_RUN_DIR"])
    release = os.environ.get("SKFLEET_RELEASE", "")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                state = json.loads((run / "converge.json").read_bytes())
            except OSError:
                state = {{}}
            ready = bool(release) and state.get("release") == release
            body = {{"release": release, "pid": os.getpid(), "environment": dict(os.environ)}}
            if self.path == "/readyz":
                body = {{"ready": ready, "converge": state}}
            self.send_response(503 if self.path == "/readyz" and not ready else 200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())
        def log_message(self, *arguments):
            pass

    class Server(http.server.ThreadingHTTPServer):
        allow_reuse_address = True

    address = (os.environ["SKFLEET_BIND_ADDRESS"], int(os.environ["SKFLEET_PORT_HEALTH"]))
    Server(address, Handler).serve_forever()
"""

BACKENDS = """
def load_model(directory):
    assert (directory / "manifest.json").is_file()
    if {unverifiable}:
        raise ValueError("golden vector 3 differs")
"""


class Metadata:
    """The metadata server and the identity providers' key URLs. `up = False` answers 503 everywhere."""

    def __init__(self) -> None:
        self.attributes: dict[str, str] = {}
        self.flavor = "Google"
        self.up = True
        self.pages: dict[str, bytes] = {}
        self.requests: list[str] = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests.append(self.path)
                status, body = outer.answer(self.path, self.headers.get("Metadata-Flavor"))
                self.send_response(status)
                self.send_header("Metadata-Flavor", outer.flavor)
                kind = "application/json" if body.startswith(b"{") else "application/text"
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, path: str, flavor: str | None) -> tuple[int, bytes]:
        if not self.up:
            return 503, b"down"
        if path in self.pages:
            return 200, self.pages[path]
        if flavor != "Google":
            return 403, b"no flavor"
        attribute = path.removeprefix("/computeMetadata/v1/instance/attributes/")
        if attribute in self.attributes:
            return 200, self.attributes[attribute].encode()
        if path.rstrip("/") in ("", "/computeMetadata/v1"):
            return 200, b"ok"
        if path.startswith("/computeMetadata/v1/project/project-id"):
            return 200, b"test"
        if path.startswith("/computeMetadata/v1/universe"):
            return 200, b"googleapis.com"
        if "/service-accounts/default/token" in path:
            return 200, b'{"access_token": "t", "expires_in": 3600, "token_type": "Bearer"}'
        if "/service-accounts/" in path:
            return 200, b'{"aliases": ["default"], "email": "vm@test", "scopes": ["x"]}'
        return 404, b"not here"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="session")
def make_metadata() -> type[Metadata]:
    return Metadata


@dataclass
class Cloud:
    """A bucket, with what a publisher would have put there."""

    store: Store
    bucket: str
    endpoint: str
    artefact: Path
    bundle: bytes = field(default_factory=lambda: make_bundle(REPO), repr=False)
    _model: ModelPin | None = None

    @property
    def fleet(self) -> str:
        return f"{self.bucket}/fleets/{FLEET}"

    def put(self, name: str, data: bytes) -> Pin:
        uri = f"{self.bucket}/{name}"
        generation = self.store.create(uri, data)
        return Pin(uri=uri, generation=generation, sha256=documents.sha256(data))

    def model(self) -> ModelPin:
        if self._model is None:
            published = publish(self.store, self.bucket, self.artefact, by="test")
            self._model = ModelPin(name="tiny", manifest=published.manifest)
        return self._model

    def release(self, identifier: str, **change: Any) -> Release:
        """Publish a release; what is given replaces a part of it."""
        wheels = change.pop("wheelhouse", None) or wheelhouse()
        bundle = change.pop("bundle", self.bundle)
        python, platform = host_tags()
        python = change.pop("python", python)
        digest = documents.sha256(wheels)[:12]
        app = self.put(f"builds/{digest}/wheelhouse.tar", wheels)
        values: dict[str, Any] = {
            "id": identifier,
            "created_at": "2026-01-01T00:00:00Z",
            "created_by": "test",
            "app": AppPin(
                uri=app.uri,
                generation=app.generation,
                sha256=app.sha256,
                version="1.0",
                python=python,
                platform=platform,
            ),
            "bundle": change.pop("bundle_pin", None)
            or self.put(f"bundles/{documents.sha256(bundle)}.tar", bundle),
            "models": [self.model()],
            "default_model": "tiny",
            "settings": {"workers": 3},
        }
        release = Release(**(values | change))
        self.put(f"releases/{identifier}.json", documents.write(release))
        return release

    def desire(self, identifier: str) -> None:
        document = self.store.read(f"{self.bucket}/releases/{identifier}.json").pin()
        entry = DesiredEntry(
            release=identifier, document=document, at="2026-01-01T00:00:00Z", by="t"
        )
        data = documents.write(Desired(fleet=FLEET, current=entry))
        self.store.update(f"{self.fleet}/desired.json", lambda _: data)


def wheelhouse(
    *,
    broken: bool = False,
    unimportable: bool = False,
    unverifiable: bool = False,
    wrong_hash: bool = False,
    note: str = "",
) -> bytes:
    """A wheelhouse with one wheel, broken as asked."""
    module = STUB.format(broken=broken) + f"# {note}\n"
    name = "skfleet-1.0-py3-none-any.whl"
    wheel = io.BytesIO()
    scripts = "[console_scripts]\ngunicorn = skfleet_stub:gunicorn\n"
    contents = {
        "skfleet_stub.py": module,
        "skfleet/serving/application.py": "1 / 0" if unimportable else "",
        "skfleet/backends.py": BACKENDS.format(unverifiable=unverifiable),
        "skfleet-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: skfleet\nVersion: 1.0\n",
        "skfleet-1.0.dist-info/WHEEL": (
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        ),
        "skfleet-1.0.dist-info/entry_points.txt": scripts,
    }
    record = ""
    for path, text in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        record += f"{path},sha256={digest.decode()},{len(text.encode())}\n"
    contents["skfleet-1.0.dist-info/RECORD"] = record + "skfleet-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in contents.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    digest_hex = "0" * 64 if wrong_hash else documents.sha256(wheel.getvalue())
    return tar_of(
        {
            "requirements.txt": f"skfleet==1.0 --hash=sha256:{digest_hex}\n".encode(),
            f"wheels/{name}": wheel.getvalue(),
        }
    )


def tar_of(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_wheelhouse() -> Callable[..., bytes]:
    return wheelhouse


@pytest.fixture(scope="session")
def make_tar() -> Callable[[dict[str, bytes]], bytes]:
    return tar_of


_machines = itertools.count(2)


def _free_address() -> str:
    """A loopback address of this process's own: runs beside each other do not meet."""
    return f"127.{64 + os.getpid() // 250 % 100}.{os.getpid() % 250}.{next(_machines) % 250}"


class Machine:
    """A VM: a prefix, its host files, and a supervisor that runs what the roles give it."""

    def __init__(self, cloud: Cloud, metadata: Metadata) -> None:
        # Short: a socket's path has at most 107 characters.
        self.prefix = Path(tempfile.mkdtemp(prefix="skvm", dir="/tmp"))
        self.address = _free_address()
        self.health_port = 8082  # that of host.env
        self.host_dir = self.prefix / "etc/skfleet"
        self.run_dir = self.prefix / "run/skfleet"
        self._config = self.prefix / "etc/supervisor/supervisord.conf"
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[str]] = []
        self._make_runtime()
        self._config.parent.mkdir(parents=True)
        (self._config.parent / "conf.d").mkdir()
        self._config.write_text(
            textwrap.dedent(f"""\
                [supervisord]
                nodaemon=true
                user={os.environ.get("USER", "root")}
                logfile={self.prefix}/supervisord.log
                pidfile={self.prefix}/supervisord.pid
                [unix_http_server]
                file={self.prefix}/s.sock
                [rpcinterface:supervisor]
                supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
                [supervisorctl]
                serverurl=unix://{self.prefix}/s.sock
                [include]
                files=conf.d/*.conf
                """)
        )
        self.host_dir.mkdir(parents=True)
        ctl = [f"{sys.prefix}/bin/supervisorctl", "-c", str(self._config)]
        self.supervisorctl = ctl
        (self.host_dir / "host.yml").write_text(
            yaml.safe_dump(
                {
                    "skfleet_prefix": str(self.prefix),
                    "skfleet_become": False,
                    "skfleet_service_manager": "supervisor",
                    "skfleet_bind_address": self.address,
                    "skfleet_loopback_address": self.address,
                    "skfleet_supervisorctl": ctl,
                    "runtime_stop_timeout_s": 5,
                    "release_wait_s": 8,
                }
            )
        )
        self.set_environment(cloud.endpoint, metadata.address)

    def set_environment(
        self, endpoint: str, metadata: str, told: str = "SKFLEET_PORT_HEALTH=8082"
    ) -> None:
        """host.env; `told`: a setting of the host's own, which comes before the release's edge.yml."""
        (self.host_dir / "host.env").write_text(
            textwrap.dedent(f"""\
                # where this host's cloud is
                GCE_METADATA_HOST={metadata}
                GCE_METADATA_IP={metadata}
                SKFLEET_STORAGE_ENDPOINT={endpoint}
                {told}
                SKFLEET_IAP_KEYS_URL=http://{metadata}/iap
                SKFLEET_GOOGLE_KEYS_URL=http://{metadata}/google
                """)
        )

    def _make_runtime(self) -> None:
        """This environment, by links, with a gunicorn that needs no application."""
        runtime = self.prefix / "opt/skfleet/runtime"
        here = Path(sys.prefix)
        (runtime / "bin").mkdir(parents=True)
        for name in ("lib", "pyvenv.cfg"):
            (runtime / name).symlink_to(here / name)
        for program in ("python", "python3", "uv", "skfleet-fetch", "ansible-playbook"):
            (runtime / "bin" / program).symlink_to(here / "bin" / program)
        stub = STUB.format(broken=False)
        gunicorn = runtime / "bin/gunicorn"
        gunicorn.write_text(f"#!{sys.executable}\n{stub}\ngunicorn()\n")
        gunicorn.chmod(0o755)

    def put_image_bundle(self, bundle: bytes) -> None:
        """What an image brings that is not a VM's whole."""
        path = self.prefix / "opt/skfleet/runtime/share/skfleet/bundle.tar"
        path.parent.mkdir(parents=True)
        path.write_bytes(bundle)

    def boot(self) -> None:
        """Start the supervisor."""
        self._supervisor = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until((self.prefix / "s.sock").exists, 10, "supervisor's socket")

    def halt(self) -> None:
        """Stop the supervisor and all it runs; what a reboot ends is gone."""
        if self._supervisor is not None:
            self._supervisor.terminate()
            self._supervisor.wait(20)
            self._supervisor = None
        shutil.rmtree(self.run_dir, ignore_errors=True)

    def command(self, module: str, *arguments: str) -> list[str]:
        python = str(self.prefix / "opt/skfleet/runtime/bin/python")
        return [python, "-m", module, "--host-dir", str(self.host_dir), *arguments]

    def converge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command("skfleet.vm.converge", *arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def start(self, module: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command(module, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._others.append(process)
        return process

    def get(self, route: str) -> tuple[int, dict[str, Any]]:
        """(status, body) of the health listener; status 0: nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://{self.address}:{self.health_port}{route}", timeout=5
            ) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())
        except OSError:
            return 0, {}

    def served(self) -> str | None:
        return self.get("/version")[1].get("release")

    def state(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.run_dir / "converge.json").read_bytes())
        return result

    def link(self, name: str) -> str | None:
        path = self.prefix / "opt/skfleet" / name
        return path.resolve().name if path.is_symlink() else None

    def tree(self) -> dict[str, str]:
        """What is on the host, without what its running programs log."""
        result = {}
        for path in sorted(self.prefix.rglob("*")):
            name = str(path.relative_to(self.prefix))
            # What says when and who, and not what.
            if "__pycache__" in name or name.endswith((".log", ".sock", "converge.json", ".lock")):
                continue
            if path.is_symlink():
                result[name] = f"-> {path.readlink()}"
            elif path.is_file():
                result[name] = documents.sha256(path.read_bytes())
            elif path.is_dir():
                result[name] = "directory"
        return result

    def close(self) -> None:
        for process in self._others:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(20)
            if process.stdout:
                process.stdout.close()
        self.halt()
        shutil.rmtree(self.prefix)


@dataclass(frozen=True)
class Vm:
    """A machine and the world it sees."""

    cloud: Cloud
    metadata: Metadata
    machine: Machine

    def converge(self, *arguments: str) -> list[dict[str, Any]]:
        """Converge, which must go well; the lines of progress."""
        done = self.machine.converge(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="session")
def make_vm(
    object_store_url: str,
    tmp_path_factory: pytest.TempPathFactory,
    estimator: Any,
    golden_rows: Any,
) -> Callable[[], AbstractContextManager[Vm]]:
    """A fresh VM with a bucket of its own, running but not converged."""
    artefact = tmp_path_factory.mktemp("model") / "artefact"
    features = [Feature(name=f"f{i}", low=0, high=1, integer=True) for i in range(37)]
    write_artefact(
        artefact, name="tiny", estimator=estimator, features=features, golden_rows=golden_rows
    )
    anonymous = google.auth.credentials.AnonymousCredentials()

    @contextmanager
    def make() -> Iterator[Vm]:
        bucket = f"vm{secrets.token_hex(4)}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(google.auth, "default", lambda *args, **kwargs: (anonymous, "test"))
            store = Store(object_store_url)
            store._client.create_bucket(bucket)
        metadata = Metadata()
        cloud = Cloud(store, f"gs://{bucket}", object_store_url, artefact)
        metadata.attributes["skfleet-fleet"] = cloud.fleet
        machine = Machine(cloud, metadata)
        try:
            machine.boot()
            yield Vm(cloud, metadata, machine)
        finally:
            machine.close()
            metadata.close()

    return make
