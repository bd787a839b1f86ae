"""Cloud Storage with identity, by the real client."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
import requests
from google.api_core import exceptions as api
from google.cloud import storage

from skfleet_local.accounts import ACCOUNTS, PROJECT
from skfleet_local.addresses import STORAGE_PORT, Addresses
from skfleet_local.client import BearerToken
from skfleet_local.cloud.storage import Fault, Storage
from skfleet_local.cloud.tokens import Tokens
from skfleet_local.objects import Content, ObjectStore
from skfleet_local.run import Run
from skfleet_testing.discovery import answer_faults

BUCKET = "test-bucket"
Bucket = Callable[[str], Any]


@pytest.fixture(scope="module")
def proxy(run: Run, addresses: Addresses, tokens: Tokens, sites: Any) -> Storage:
    """The API and the objects behind it, as a thread of their own has them."""

    async def make() -> Storage:
        return Storage(tokens, ObjectStore(run.objects), addresses.storage_url)

    made = asyncio.run_coroutine_threadsafe(make(), sites.loop).result(10)
    sites.open(made.application(), addresses.cloud, STORAGE_PORT)
    client(addresses, tokens, "terraform").create_bucket(BUCKET, timeout=5)
    return made


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


def test_documents_are_as_google_publishes_them(
    bucket: Bucket, addresses: Addresses, tokens: Tokens
) -> None:
    bucket("publisher").blob("builds/5/x").upload_from_string(b"x", if_generation_match=0)
    headers = {"Authorization": f"Bearer {tokens.access_token(ACCOUNTS['operator'])}"}
    for path in ("", "/o", "/o/builds%2F5%2Fx", "/o/nothing"):
        url = f"{addresses.storage_url}/storage/v1/b/{BUCKET}{path}"
        answer = requests.get(url, headers=headers, timeout=10)
        assert answer_faults("GET", url, answer.status_code, answer.json(), "storage.v1") == []


def test_an_object_keeps_what_its_uploader_says_of_it(bucket: Bucket) -> None:
    blob = bucket("deployer").blob("fleets/said/lock.json")
    blob.metadata = {"skfleet-write": "1"}
    blob.upload_from_string(b"{}", content_type="application/json")
    found = bucket("fleet").get_blob(blob.name)
    assert found.metadata == {"skfleet-write": "1"}
    assert found.content_type == "application/json"
    assert found.size == 2
    assert found.generation == blob.generation


def test_a_list_has_pages_in_the_order_of_names(bucket: Bucket) -> None:
    for name in ("b", "a", "ä", "c"):
        bucket("deployer").blob(f"fleets/pages/rollouts/{name}").upload_from_string(b"")
    found = bucket("fleet").list_blobs(prefix="fleets/pages/", page_size=2)
    pages = [[blob.name.rpartition("/")[2] for blob in page] for page in found.pages]
    assert pages == [["a", "b"], ["c", "ä"]]


@pytest.mark.parametrize(
    ("start", "end", "part"), [(0, 3, b"0123"), (4, None, b"456789"), (8, 99, b"89")]
)
def test_a_part_of_an_object_can_be_read(
    bucket: Bucket, start: int, end: int | None, part: bytes
) -> None:
    blob = bucket("deployer").blob("fleets/part/lock.json")
    blob.upload_from_string(b"0123456789")
    assert blob.download_as_bytes(start=start, end=end, checksum=None) == part
    with pytest.raises(api.RequestRangeNotSatisfiable):
        blob.download_as_bytes(start=10, checksum=None)


def test_an_upload_that_arrives_altered_is_not_kept(
    proxy: Storage, bucket: Bucket, addresses: Addresses, tokens: Tokens
) -> None:
    token = tokens.access_token(ACCOUNTS["publisher"])
    begun = set(proxy.objects.directory.iterdir())
    opened = upload(addresses, token, "builds/altered", uploadType="resumable")
    headers = {"Authorization": f"Bearer {token}", "X-Goog-Hash": "crc32c=AAAAAA=="}
    answer = requests.put(opened.headers["Location"], data=b"x", headers=headers, timeout=10)
    assert answer.status_code == 400
    answer = requests.put(opened.headers["Location"], data=b"x", headers=headers, timeout=10)
    assert answer.status_code == 404
    assert not bucket("fleet").blob("builds/altered").exists()
    assert set(proxy.objects.directory.iterdir()) == begun


def test_an_upload_whose_last_answer_was_lost_is_answered_again(
    proxy: Storage, addresses: Addresses, tokens: Tokens
) -> None:
    token = tokens.access_token(ACCOUNTS["publisher"])
    headers = {"Authorization": f"Bearer {token}"}
    location = upload(addresses, token, "builds/lost", uploadType="resumable").headers["Location"]
    question = {**headers, "Content-Range": "bytes */4"}
    assert requests.put(location, headers=question, timeout=10).status_code == 308
    chunk = {**headers, "Content-Range": "bytes 0-3/4"}
    done = requests.put(location, data=b"data", headers=chunk, timeout=10).json()
    assert requests.put(location, headers=question, timeout=10).json() == done


def test_of_many_who_swap_at_once_one_succeeds(bucket: Bucket) -> None:
    blob = bucket("deployer").blob("fleets/race/lock.json")
    blob.upload_from_string(b"0")

    def swap(number: int) -> bool:
        mine = bucket("deployer").blob(blob.name)
        try:
            mine.upload_from_string(str(number), if_generation_match=blob.generation)
        except api.PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(max_workers=8) as pool:
        assert sum(pool.map(swap, range(8))) == 1


def test_objects_outlive_the_process_and_unfinished_uploads_do_not(tmp_path: Path) -> None:
    before = ObjectStore(tmp_path)
    before.create_bucket(BUCKET, "us-central1")
    content = Content(tmp_path)
    content.write(b"kept")
    before.write(BUCKET, "a", content, content.close(), {})
    Content(tmp_path).write(b"unfinished")
    after = ObjectStore(tmp_path)
    after.discard_unfinished()
    assert not list(tmp_path.glob(".upload-*"))
    found = after.find(BUCKET, "a")
    assert found is not None
    with after.open(found) as file:
        assert file.read() == b"kept"
