"""The emulator, and credentials of each kind that an operator may have."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from skfleet_operator.cli.command import main

from .emulator import PROJECT, Google, serve

DEPLOYER = "skfleet-deployer@example-prod.iam.gserviceaccount.com"
PERSON = "jo.doe@example.com"

Skfleet = Callable[..., "Done"]


@pytest.fixture
def google() -> Google:
    made = Google()
    made.users = {DEPLOYER: "sa_104857", PERSON: "jo_doe_example_com"}
    made.admins = {DEPLOYER, PERSON}
    made.tokens = {"deployer": DEPLOYER, "person": PERSON}
    return made


@pytest.fixture
def url(google: Google) -> Iterator[str]:
    server = serve(google)
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(scope="session")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(
        serialization.Encoding.PEM, form, serialization.NoEncryption()
    ).decode()


@pytest.fixture
def environment(tmp_path: Path, url: str, private_key: str) -> dict[str, str]:
    """The operator's: a service account's key file, and no name of a user that VMs know."""
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps(service_account(url, private_key)))
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "USER": "runner",
        "NO_PROXY": "127.0.0.1",
        "GOOGLE_CLOUD_PROJECT": PROJECT,  # as google-github-actions/auth sets it
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "SKFLEET_COMPUTE_ENDPOINT": f"{url}/compute/v1",
        "SKFLEET_OSLOGIN_ENDPOINT": f"{url}/v1",
        "SKFLEET_SSH_DIRECTORY": str(tmp_path / "ssh"),
    }


def service_account(url: str, private_key: str) -> dict[str, str]:
    return {
        "type": "service_account", "project_id": PROJECT, "private_key": private_key,
        "client_email": DEPLOYER, "token_uri": f"{url}/token/deployer",
    }  # fmt: skip


def workload(url: str, token_file: Path, impersonated: str) -> dict[str, object]:
    """As google-github-actions/auth writes it."""
    pool = "locations/global/workloadIdentityPools/skfleet-github/providers/github"
    found: dict[str, object] = {
        "type": "external_account",
        "audience": f"//iam.googleapis.com/projects/1/{pool}",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"{url}/token/federated",
        "credential_source": {"file": str(token_file)},
    }
    if impersonated:
        # google-auth reads the account from the address's end.
        account = f"{impersonated}:generateAccessToken"
        found["service_account_impersonation_url"] = f"{url}/impersonate/serviceAccounts/{account}"
    return found


@dataclass(frozen=True, slots=True)
class Done:
    """How the command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def skfleet(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Skfleet:
    """The command, as an operator runs it, in this process: Google's libraries take a second to import."""

    def run(*arguments: str, **changed: str) -> Done:
        with monkeypatch.context() as patched:
            patched.chdir(environment["HOME"])
            patched.setattr(sys, "argv", ["skfleet", *arguments])
            for name, value in {**environment, **changed}.items():
                patched.setenv(name, value)
            out, err = io.StringIO(), io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    main()
                    code = 0
                except SystemExit as ended:
                    code = int(ended.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    return run
