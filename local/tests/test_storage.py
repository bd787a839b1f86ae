"""Cloud Storage with identity: the real client through the proxy to the real fake server."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import jwt
import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage

from skfleet_local import objects, processes
from skfleet_local.accounts import ACCOUNTS, PROJECT
from skfleet_local.addresses import STORAGE_PORT, Addresses
from skfleet_local.client import BearerToken
from skfleet_local.cloud.storage import Fault, Storage
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.run import Run

BUCKET = "test-bucket"
Bucket = Callable[[str], Any]


@pytest.fixture(scope="module")
def proxy(run: Run, addresses: Addresses, tokens: Tokens, sites: Any) -> Iterator[Storage]:
    """The proxy and fake-gcs-server behind it."""
    server = processes.spawn(objects.command(run, addresses), os.environ, run.log("storage"))
    made = Storage(tokens, addresses.objects_url)
    sites.open(made.application(), addresses.cloud, STORAGE_PORT)
    deadline = time.monotonic() + 10
    while True:
        try:
            client(addresses, tokens, "terraform").create_bucket(BUCKET, timeout=5)
            break
        except api.ServiceUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    yield made
    processes.kill(lambda: [server])


def client(addresses: Addresses, tokens: Tokens, account: str) -> Any:
    return storage.Client(
        project=PROJECT,
        credentials=BearerToken(tokens.access_token(ACCOUNTS[account])),
        client_options={"api_endpoint": addresses.storage_url},
    )


@pytest.fixture
def bucket(proxy: Storage, addresses: Addresses, tokens: Tokens) -> Iterator[Bucket]:
    """The bucket as an account."""
    yield lambda account: client(addresses, tokens, account).bucket(BUCKET)
    proxy.break_(Fault())


@pytest.mark.parametrize(
    ("account", "name", "allowed"),
    [
        ("publisher", "models/flight-delay/abc/manifest.json", True),
        ("publisher", "builds/1.0/wheelhouse.tar", True),
        ("publisher", "bundles/abc.tar", True),
        ("publisher", "releases/r1.json", True),
        ("publisher", "fleets/local/desired.json", False),
        ("publisher", "fleets/local/environment.json", False),
        ("deployer", "releases/r2.json", True),
        ("deployer", "fleets/local/desired.json", True),
        ("deployer", "fleets/local/lock.json", True),
        ("deployer", "fleets/local/rollouts/1.json", True),
        ("deployer", "models/flight-delay/abc/model", False),
        ("deployer", "fleets/local/environment.json", False),
        ("terraform", "fleets/local/environment.json", True),
        ("terraform", "fleets/local/desired.json", False),
        ("fleet", "models/flight-delay/x", False),
        ("fleet", "fleets/local/desired.json", False),
        ("caller", "models/flight-delay/x", False),
        ("stranger", "fleets/local/environment.json", False),
    ],
)
def test_each_account_writes_its_own_prefixes_alone(
    bucket: Bucket, account: str, name: str, allowed: bool
) -> None:
    blob = bucket(account).blob(name)
    if allowed:
        blob.upload_from_string(b"{}", if_generation_match=0)
        assert bucket("fleet").blob(name).download_as_bytes() == b"{}"
    else:
        with pytest.raises(api.Forbidden, match=ACCOUNTS[account].email):
            blob.upload_from_string(b"{}", if_generation_match=0)


@pytest.mark.parametrize("account", ["caller", "user", "stranger"])
def test_only_the_project_reads(bucket: Bucket, account: str) -> None:
    bucket("publisher").blob(f"builds/read/{account}").upload_from_string(
        b"x", if_generation_match=0
    )
    with pytest.raises(api.Forbidden):
        bucket(account).blob(f"builds/read/{account}").download_as_bytes()
    with pytest.raises(api.Forbidden):
        list(bucket(account).list_blobs())


def test_immutable_objects_are_never_replaced(bucket: Bucket) -> None:
    blob = bucket("publisher").blob("builds/2/once")
    blob.upload_from_string(b"first", if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        blob.upload_from_string(b"second", if_generation_match=0)
    with pytest.raises(api.Forbidden, match="delete"):
        blob.upload_from_string(b"second")
    with pytest.raises(api.Forbidden):
        blob.delete()
    assert blob.download_as_bytes() == b"first"


def test_the_latest_model_moves_by_compare_and_swap(bucket: Bucket) -> None:
    blob = bucket("publisher").blob("models/m/latest.json")
    blob.upload_from_string(b"1", if_generation_match=0)
    seen = blob.generation
    blob.upload_from_string(b"2", if_generation_match=seen)
    with pytest.raises(api.PreconditionFailed):
        blob.upload_from_string(b"3", if_generation_match=seen)


def test_large_bodies_pass_whole_by_resumable_upload(bucket: Bucket, addresses: Addresses) -> None:
    data = os.urandom(20 * 1024 * 1024)
    blob = bucket("publisher").blob("builds/3/wheelhouse.tar", chunk_size=8 * 1024 * 1024)
    blob.upload_from_string(data, checksum="crc32c", if_generation_match=0)
    assert bucket("fleet").blob(blob.name).download_as_bytes(checksum="crc32c") == data
    # By the link in the object's own document too, which must not lead past the proxy.
    found = bucket("fleet").get_blob(blob.name)
    assert found.media_link.startswith(addresses.storage_url)
    assert found.self_link.startswith(addresses.storage_url)
    assert found.download_as_bytes(checksum="crc32c") == data


def test_a_large_immutable_object_is_never_replaced(bucket: Bucket) -> None:
    """The library uploads what is large by a resumable session, whose precondition is easily lost."""
    blob = bucket("publisher").blob("builds/4/wheelhouse.tar")
    first = os.urandom(9 * 1024 * 1024)
    blob.upload_from_string(first, if_generation_match=0)
    with pytest.raises(api.PreconditionFailed):
        blob.upload_from_string(os.urandom(9 * 1024 * 1024), if_generation_match=0)
    assert bucket("fleet").blob(blob.name).download_as_bytes() == first


def test_a_pinned_generation_is_served_or_nothing(bucket: Bucket) -> None:
    blob = bucket("deployer").blob("fleets/pin/lock.json")
    blob.upload_from_string(b"old")
    old = blob.generation
    blob.upload_from_string(b"new")
    reader = bucket("fleet")
    assert reader.blob(blob.name, generation=blob.generation).download_as_bytes() == b"new"
    with pytest.raises(api.NotFound):
        reader.blob(blob.name, generation=old).download_as_bytes()
    with pytest.raises(api.PreconditionFailed):
        reader.blob(blob.name).download_as_bytes(if_generation_match=old)
    with pytest.raises(api.PreconditionFailed):
        reader.blob(blob.name).reload(if_generation_match=old)


def upload(addresses: Addresses, token: str, name: str, **query: str) -> requests.Response:
    return requests.post(
        f"{addresses.storage_url}/upload/storage/v1/b/{BUCKET}/o",
        params={"uploadType": "media", "name": name, "ifGenerationMatch": "0", **query},
        headers={"Authorization": f"Bearer {token}"} if token else {},
        data=b"{}",
        timeout=10,
    )


def test_tokens_that_prove_nothing_get_401(
    proxy: Storage, addresses: Addresses, tokens: Tokens
) -> None:
    publisher = ACCOUNTS["publisher"]
    claims = {"email": publisher.email, "exp": int(time.time()) - 60}
    expired = "ya29.local." + jwt.encode(claims, tokens.access_secret, algorithm="HS256")
    forged = "ya29.local." + jwt.encode({**claims, "exp": 1 << 32}, b"0" * 32, algorithm="HS256")
    id_token = tokens.id_token(publisher, "anything")
    for token in ("", "nonsense", expired, forged, id_token, "ya29.local." + id_token):
        answer = upload(addresses, token, "builds/none/1")
        assert answer.status_code == 401, token
        assert answer.json()["error"]["code"] == 401
    assert upload(addresses, tokens.access_token(publisher), "builds/none/1").status_code == 200


@pytest.mark.parametrize(
    "name", ["builds/../fleets/local/desired.json", "builds//x", "builds/./x", "../x"]
)
def test_names_cannot_climb_out_of_their_prefix(
    proxy: Storage, addresses: Addresses, tokens: Tokens, name: str
) -> None:
    token = tokens.access_token(ACCOUNTS["publisher"])
    assert upload(addresses, token, name).status_code == 400


def test_an_upload_names_one_object(proxy: Storage, addresses: Addresses, tokens: Tokens) -> None:
    token = tokens.access_token(ACCOUNTS["publisher"])
    answer = requests.post(
        f"{addresses.storage_url}/upload/storage/v1/b/{BUCKET}/o"
        "?uploadType=resumable&name=builds/a&ifGenerationMatch=0",
        headers={"Authorization": f"Bearer {token}"},
        data=json.dumps({"name": "fleets/local/environment.json"}),
        timeout=10,
    )
    assert answer.status_code == 400


def test_an_upload_session_belongs_to_who_opened_it(
    proxy: Storage, addresses: Addresses, tokens: Tokens
) -> None:
    token = tokens.access_token(ACCOUNTS["publisher"])
    opened = upload(addresses, token, "builds/session", uploadType="resumable")
    location = opened.headers["Location"]
    assert location.startswith(addresses.storage_url)
    stranger = tokens.access_token(ACCOUNTS["deployer"])
    answer = requests.put(
        location, data=b"x", headers={"Authorization": f"Bearer {stranger}"}, timeout=10
    )
    assert answer.status_code == 404


@pytest.mark.parametrize("path", [f"/{BUCKET}/fleets/local/environment.json", "/_internal/config"])
def test_nothing_but_the_json_api_is_reachable(
    proxy: Storage, addresses: Addresses, tokens: Tokens, path: str
) -> None:
    token = tokens.access_token(ACCOUNTS["operator"])
    answer = requests.get(
        addresses.storage_url + path, headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    assert answer.status_code == 404


def test_it_fails_as_told_and_mends_as_told(
    proxy: Storage, addresses: Addresses, tokens: Tokens, bucket: Bucket
) -> None:
    blob = bucket("deployer").blob("fleets/fault/lock.json")
    blob.upload_from_string(b"x")
    proxy.break_(Fault(mode="unavailable"))
    with pytest.raises(api.ServiceUnavailable):
        blob.download_as_bytes(retry=None)
    proxy.break_(Fault(mode="down"))
    with pytest.raises((requests.ConnectionError, ConnectionError)):
        blob.download_as_bytes(retry=None)
    proxy.break_(Fault(mode="slow", delay_s=0.3))
    began = time.monotonic()
    assert blob.download_as_bytes() == b"x"
    assert time.monotonic() - began >= 0.3
    proxy.break_(Fault(mode="unavailable", seconds=0.2))
    time.sleep(0.3)
    assert blob.download_as_bytes(retry=None) == b"x"
