"""The store's promises against a real object server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from skfleet.artifacts.store import Store
from skfleet.documents.release import Pin
from skfleet.errors import (
    DocumentError,
    IntegrityError,
    LostRace,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
)


def test_created_object_is_never_overwritten(store: Store, bucket: str) -> None:
    generation = store.create(f"{bucket}/a", b"one")
    with pytest.raises(ObjectExists):
        store.create(f"{bucket}/a", b"two")
    assert store.read(f"{bucket}/a").data == b"one"
    assert store.read(f"{bucket}/a").generation == generation


def test_publisher_that_died_can_start_over(store: Store, bucket: str) -> None:
    assert store.create(f"{bucket}/a", b"one") == store.create(f"{bucket}/a", b"one")


def test_swap_refuses_a_generation_that_moved(store: Store, bucket: str) -> None:
    first = store.swap(f"{bucket}/a", b"1", 0)
    store.swap(f"{bucket}/a", b"2", first)
    with pytest.raises(LostRace):
        store.swap(f"{bucket}/a", b"3", first)
    with pytest.raises(LostRace):
        store.swap(f"{bucket}/a", b"3", 0)
    assert store.read(f"{bucket}/a").data == b"2"


def test_concurrent_updates_are_all_kept(store: Store, bucket: str) -> None:
    uri = f"{bucket}/counter"

    def add_ten() -> None:
        for _ in range(10):
            store.update(uri, lambda s: str(int(s.data) + 1 if s else 1).encode(), attempts=100)

    threads = [threading.Thread(target=add_ten) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(uri).data == b"20"


def test_pinned_digest_is_checked(store: Store, bucket: str) -> None:
    stored_generation = store.create(f"{bucket}/a", b"one")
    with pytest.raises(IntegrityError):
        store.read_pin(Pin(uri=f"{bucket}/a", generation=stored_generation, sha256="0" * 64))


def test_pinned_generation_is_checked(store: Store, bucket: str) -> None:
    generation = store.create(f"{bucket}/a", b"one")
    with pytest.raises((ObjectMissing, LostRace, IntegrityError)):
        store.read(f"{bucket}/a", generation + 1)


def test_missing_object_is_named(store: Store, bucket: str) -> None:
    with pytest.raises(ObjectMissing, match="no such object"):
        store.read(f"{bucket}/none")
    assert store.find(f"{bucket}/none") is None


def test_server_that_is_down_is_unavailable(store: Store) -> None:
    down = Store("http://127.0.0.1:1", timeout_s=0.2)
    with pytest.raises(StoreUnavailable) as caught:
        down.read("gs://b/a")
    assert "SKFLEET_STORAGE_ENDPOINT" in caught.value.hint


@pytest.mark.parametrize("uri", ["", "gs://", "gs://b", "s3://b/a", "gs:///a", "/etc/passwd"])
def test_address_that_is_none_is_refused(store: Store, uri: str) -> None:
    with pytest.raises(DocumentError):
        store.read(uri)


def test_listing_names_what_is_below(store: Store, bucket: str) -> None:
    store.create(f"{bucket}/x/1", b"1")
    store.create(f"{bucket}/x/2", b"2")
    store.create(f"{bucket}/y/1", b"1")
    assert sorted(store.list(f"{bucket}/x/")) == [f"{bucket}/x/1", f"{bucket}/x/2"]


@pytest.fixture
def damaging_url(object_store_url: str) -> Iterator[str]:
    """The object server behind a line that changes the first byte of what is downloaded."""

    class Line(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = requests.get(object_store_url + self.path, timeout=10)
            body = answer.content
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(bytes([body[0] ^ 1]) + body[1:] if "/download/" in self.path else body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Line)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_bytes_damaged_on_their_way_are_refused(
    store: Store, bucket: str, damaging_url: str
) -> None:
    store.create(f"{bucket}/a", b"one")
    with pytest.raises(IntegrityError, match="crc32c"):
        Store(damaging_url, timeout_s=5).read(f"{bucket}/a")
    assert store.read(f"{bucket}/a").data == b"one"
