"""Identity files with keys made here, services over the small real model, and real gunicorns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from skfleet.files import replace_file

from .processes import APPLICATION, Gunicorn

IAP_AUDIENCE = "/projects/1/global/backendServices/2"
INTERNAL_AUDIENCE = "https://predict.internal"
CALLER = "caller@project.iam.gserviceaccount.com"
PORTS = {"iap": 8080, "internal": 8081, "health": 8082, "metrics": 8083}
OBJECTIVE_MS = 400


@pytest.fixture(scope="package", autouse=True)
def own_declarations() -> Iterator[None]:
    """Ports and an objective of these tests' own: what edge.yml and slo.yml say is no matter of theirs."""
    from skfleet import declared
    from skfleet.documents.edge import Listeners, Loopback, LoopbackListener

    real = declared.declared()
    listeners = {
        name: msgspec.structs.replace(
            getattr(real.edge.listeners, name), port=PORTS[name], also=None
        )
        for name in ("iap", "internal", "health")
    }
    edge = msgspec.structs.replace(
        real.edge,
        listeners=Listeners(**listeners),
        loopback=Loopback(metrics=LoopbackListener(port=PORTS["metrics"])),
    )
    latency = msgspec.structs.replace(
        real.slo.objectives.latency, percentile=90, threshold_ms=OBJECTIVE_MS
    )
    objectives = msgspec.structs.replace(real.slo.objectives, latency=latency)
    own = declared.Declared(edge=edge, slo=msgspec.structs.replace(real.slo, objectives=objectives))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(declared, "declared", lambda: own)
        yield


@dataclass
class Signer:
    """A key of one issuer, with its id."""

    kid: str
    algorithm: str
    key: Any

    def jwk(self) -> dict[str, Any]:
        """The public key as JWKS has it."""
        kind = (
            jwt.algorithms.ECAlgorithm if self.algorithm == "ES256" else jwt.algorithms.RSAAlgorithm
        )
        public = json.loads(kind.to_jwk(self.key.public_key()))
        return {**public, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def sign(self, claims: dict[str, Any], **headers: Any) -> str:
        """A token of these claims; a header given as None is left out."""
        kid = headers.pop("kid", self.kid)
        return jwt.encode(claims, self.key, self.algorithm, {"kid": kid, **headers})


def iap_signer(kid: str = "iap-1") -> Signer:
    return Signer(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))


def google_signer(kid: str = "google-1") -> Signer:
    return Signer(kid, "RS256", rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="session")
def iap_key() -> Signer:
    return iap_signer()


@pytest.fixture(scope="session")
def google_key() -> Signer:
    return google_signer()


def iap_claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": "https://cloud.google.com/iap",
        "aud": IAP_AUDIENCE,
        "iat": now,
        "exp": now + 600,
        "sub": "accounts.google.com:1",
        "email": "user@example.com",
    }
    return _without_none({**claims, **changes})


def google_claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    claims = {
        "iss": "https://accounts.google.com",
        "aud": INTERNAL_AUDIENCE,
        "iat": now,
        "exp": now + 3600,
        "sub": "1",
        "email": CALLER,
        "email_verified": True,
    }
    return _without_none({**claims, **changes})


def _without_none(claims: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in claims.items() if value is not None}


@dataclass
class IdentityDir:
    """The files of `skfleet-refresh`."""

    path: Path
    iap: list[Signer]
    google: list[Signer]
    environment: dict[str, Any] = field(
        default_factory=lambda: {
            "schema_version": 1,
            "fleet": "test",
            "iap": {"audiences": [IAP_AUDIENCE]},
            "internal": {
                "identity": "id-token",
                "audiences": [INTERNAL_AUDIENCE],
                "allowed_callers": [CALLER],
            },
        }
    )

    def write(self) -> None:
        """All three files as they now should be."""
        self.write_environment()
        self.write_keys()

    def write_environment(self) -> None:
        replace_file(
            self.path / "environment.json", json.dumps(self.environment).encode(), mode=0o644
        )

    def write_keys(self) -> None:
        for name, signers in (("iap", self.iap), ("google", self.google)):
            data = json.dumps({"keys": [signer.jwk() for signer in signers]}).encode()
            replace_file(self.path / f"{name}-keys.json", data, mode=0o644)


@pytest.fixture
def identity_dir(tmp_path: Path, iap_key: Signer, google_key: Signer) -> IdentityDir:
    path = tmp_path / "identity"
    path.mkdir()
    files = IdentityDir(path, [iap_key], [google_key])
    files.write()
    return files


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def make_service(artefact: Path, identity_dir: IdentityDir, run_dir: Path) -> Callable[..., Any]:
    """A service over the tiny model; keywords change its settings."""
    from skfleet.serving.service import Service
    from skfleet.settings import Settings

    def make(**changes: Any) -> Any:
        values = {
            "release": "r1",
            "models": f"tiny={artefact}",
            "identity_dir": identity_dir.path,
            "run_dir": run_dir,
        }
        return Service.start(Settings(**{**values, **changes}))

    return make


@pytest.fixture
def service(make_service: Callable[..., Any]) -> Any:
    return make_service()


@pytest.fixture
def iap_header(iap_key: Signer) -> dict[str, str]:
    return {"x-goog-iap-jwt-assertion": iap_key.sign(iap_claims())}


@pytest.fixture
def bearer_header(google_key: Signer) -> dict[str, str]:
    return {"authorization": "Bearer " + google_key.sign(google_claims())}


@pytest.fixture
def gunicorn(
    artefact: Path, identity_dir: IdentityDir, run_dir: Path
) -> Iterator[Callable[..., Gunicorn]]:
    """Starts real gunicorns; keywords are environment variables. All are ended afterwards."""
    started: list[Gunicorn] = []

    def start(application: str = APPLICATION, **environ: str) -> Gunicorn:
        values = {
            "SKFLEET_RELEASE": "r1",
            "SKFLEET_MODELS": f"tiny={artefact}",
            "SKFLEET_IDENTITY_DIR": str(identity_dir.path),
            "SKFLEET_RUN_DIR": str(run_dir),
            "SKFLEET_GRACEFUL_TIMEOUT_S": "5",
        }
        log = run_dir.parent / f"log-{len(started)}"
        server = Gunicorn({**values, **environ}, log, application)
        started.append(server)
        server.wait_until_live()
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture(scope="module")
def shared_gunicorn(
    tmp_path_factory: pytest.TempPathFactory,
    write_tiny: Callable[[Path], Path],
    iap_key: Signer,
    google_key: Signer,
) -> Iterator[Callable[..., Gunicorn]]:
    """The same for tests of a module that only ask: one server for all of them."""
    started: list[Gunicorn] = []

    def start(**environ: str) -> Gunicorn:
        root = tmp_path_factory.mktemp("shared")
        for name in ("identity", "run"):
            (root / name).mkdir()
        IdentityDir(root / "identity", [iap_key], [google_key]).write()
        values = {
            "SKFLEET_RELEASE": "r1",
            "SKFLEET_MODELS": f"tiny={write_tiny(root / 'tiny')}",
            "SKFLEET_IDENTITY_DIR": str(root / "identity"),
            "SKFLEET_RUN_DIR": str(root / "run"),
        }
        server = Gunicorn({**values, **environ}, root / "log")
        started.append(server)
        server.wait_until_live()
        return server

    yield start
    for server in started:
        server.stop()
