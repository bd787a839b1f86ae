"""Tokens: as the real google-auth gets them, on a VM and with a key file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import jwt
import pytest
import requests
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from skfleet_local import keys
from skfleet_local.accounts import ACCOUNTS, FLEET, PROJECT, PROJECT_NUMBER
from skfleet_local.addresses import IDENTITY_PORT, METADATA_PORT, Addresses
from skfleet_local.cloud import identity, metadata
from skfleet_local.cloud.metadata import Facts
from skfleet_local.cloud.tokens import Refused, Tokens
from skfleet_local.run import Run

FACTS = Facts(
    name="skfleet-ab12",
    id=7_000_000_000_000_000_123,
    zone="us-central1-b",
    address="127.0.0.1",
    created_at="2026-01-01T00:00:00.000+00:00",
    attributes={"skfleet-fleet": "gs://bucket/fleets/x", "other-key": "v"},
    account=FLEET,
)


@pytest.fixture(scope="module")
def vm(addresses: Addresses, tokens: Tokens, sites: Any) -> str:
    """Where the VM's metadata server listens."""
    address = next(addresses.vms())
    sites.open(metadata.application(tokens, lambda: FACTS), address, METADATA_PORT)
    return f"{address}:{METADATA_PORT}"


@pytest.fixture(scope="module")
def token_url(addresses: Addresses, tokens: Tokens, sites: Any) -> str:
    app = identity.application(tokens, addresses.token_url)
    sites.open(app, addresses.cloud, IDENTITY_PORT)
    return addresses.token_url


def on_vm(vm: str, code: str) -> Any:
    """Run Python as a program of the VM would, and return the JSON it prints."""
    environment = {
        "PATH": os.environ["PATH"],
        "GCE_METADATA_HOST": vm,
        "GCE_METADATA_IP": vm,
        "NO_PROXY": "127.0.0.0/8",
    }
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_google_auth_finds_the_vms_account_and_project(vm: str, tokens: Tokens) -> None:
    found = on_vm(
        vm,
        "import google.auth, google.auth.transport.requests as t, json\n"
        "c, project = google.auth.default(['https://www.googleapis.com/auth/cloud-platform'])\n"
        "c.refresh(t.Request())\n"
        "print(json.dumps([type(c).__module__, c.service_account_email, project, c.token]))",
    )
    assert found[:3] == ["google.auth.compute_engine.credentials", FLEET.email, PROJECT]
    assert tokens.check_access_token(found[3]) == FLEET


def test_google_auth_gets_an_id_token_for_the_audience(vm: str, tokens: Tokens) -> None:
    token = on_vm(
        vm,
        "import google.oauth2.id_token as i, google.auth.transport.requests as t, json\n"
        "print(json.dumps(i.fetch_id_token(t.Request(), 'https://ours')))",
    )
    assert tokens.check_id_token(token, "https://ours") == FLEET
    with pytest.raises(Refused):
        tokens.check_id_token(token, "https://other")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert claims["google"]["compute_engine"]["instance_name"] == FACTS.name


def ask(vm: str, path: str, **headers: str) -> requests.Response:
    return requests.get(
        f"http://{vm}{path}", headers={"Metadata-Flavor": "Google", **headers}, timeout=5
    )


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("instance/attributes/skfleet-fleet", "gs://bucket/fleets/x"),
        ("instance/name", FACTS.name),
        ("instance/id", str(FACTS.id)),
        ("instance/zone", f"projects/{PROJECT_NUMBER}/zones/us-central1-b"),
        ("instance/hostname", f"{FACTS.name}.us-central1-b.c.{PROJECT}.internal"),
        ("instance/service-accounts/default/email", FLEET.email),
        ("project/project-id", PROJECT),
        ("project/numeric-project-id", str(PROJECT_NUMBER)),
        ("instance/attributes/", "skfleet-fleet\nother-key\n"),
    ],
)
def test_metadata_has_the_published_paths(vm: str, path: str, text: str) -> None:
    answer = ask(vm, f"/computeMetadata/v1/{path}")
    assert (answer.status_code, answer.text) == (200, text)
    assert answer.headers["Metadata-Flavor"] == "Google"


def test_recursive_answers_are_json_with_camel_case_names(vm: str) -> None:
    instance = ask(vm, "/computeMetadata/v1/instance/?recursive=true").json()
    assert instance["serviceAccounts"]["default"]["email"] == FLEET.email
    assert instance["attributes"]["skfleet-fleet"] == "gs://bucket/fleets/x"
    attributes = ask(vm, "/computeMetadata/v1/instance/attributes/?recursive=true").json()
    assert attributes == FACTS.attributes


def test_metadata_is_for_the_vm_alone(vm: str) -> None:
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert requests.get(f"http://{vm}{path}", timeout=5).status_code == 403
    assert ask(vm, path, **{"X-Forwarded-For": "1.2.3.4"}).status_code == 403
    assert ask(vm, "/computeMetadata/v1/instance/attributes/none").status_code == 404


def test_key_files_get_access_and_id_tokens(run: Run, tokens: Tokens, token_url: str) -> None:
    file = str(keys.key_file(run, ACCOUNTS["deployer"]))
    access = service_account.Credentials.from_service_account_file(
        file, scopes=["https://www.googleapis.com/auth/devstorage.read_write"]
    )
    access._perform_refresh_token(Request())  # without its look-up at Google's own servers
    assert tokens.check_access_token(access.token) == ACCOUNTS["deployer"]
    ids = service_account.IDTokenCredentials.from_service_account_file(file, target_audience="a")
    ids.refresh(Request())
    assert tokens.check_id_token(ids.token, "a") == ACCOUNTS["deployer"]


def assertion(run: Run, account: str, **changes: Any) -> str:
    info = json.loads(keys.key_file(run, ACCOUNTS[account]).read_bytes())
    now = int(time.time())
    claims = {
        "iss": info["client_email"],
        "aud": info["token_uri"],
        "scope": "x",
        "iat": now,
        "exp": now + 600,
        **changes,
    }
    kid = info["private_key_id"]
    return jwt.encode(claims, info["private_key"], algorithm="RS256", headers={"kid": kid})


def test_the_token_endpoint_refuses_what_proves_nothing(
    run: Run, tokens: Tokens, token_url: str
) -> None:
    now = int(time.time())
    bad = {
        "expired": assertion(run, "deployer", iat=now - 700, exp=now - 100),
        "for somebody else": assertion(run, "deployer", aud="https://oauth2.example"),
        "too long": assertion(run, "deployer", exp=now + 7200),
        "another's name": assertion(run, "deployer", iss=ACCOUNTS["terraform"].email),
        "nonsense": "a.b.c",
    }
    form = {"grant_type": identity.JWT_BEARER}
    for name, token in bad.items():
        answer = requests.post(token_url, data={**form, "assertion": token}, timeout=5)
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), name
    good = {**form, "assertion": assertion(run, "deployer")}
    assert requests.post(token_url, data=good, timeout=5).status_code == 200


def test_published_keys_verify_what_is_issued(
    addresses: Addresses, tokens: Tokens, token_url: str
) -> None:
    for url, token, algorithm in (
        (addresses.google_keys_url, tokens.id_token(FLEET, "a"), "RS256"),
        (addresses.iap_keys_url, tokens.assertion(ACCOUNTS["user"], "a"), "ES256"),
    ):
        key = jwt.PyJWKClient(url).get_signing_key_from_jwt(token)
        assert jwt.decode(token, key.key, algorithms=[algorithm], audience="a")["email"]


def test_a_verified_token_is_refused_once_it_has_expired(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tokens.id_token(FLEET, "cached")
    assert tokens.check_id_token(token, "cached") == FLEET
    later = time.time() + 4000
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(Refused, match="expired"):
        tokens.check_id_token(token, "cached")


def test_private_keys_are_for_their_owner_alone(run: Run, tokens: Tokens) -> None:
    for folder in (run.keys, run.identity):
        assert folder.stat().st_mode & 0o077 == 0
        assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())
