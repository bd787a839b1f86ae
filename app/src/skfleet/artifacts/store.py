"""The bucket: create-only objects, compare-and-swap objects, reads pinned to a generation.

One thin layer over google-cloud-storage that gives failures our names. The client is made by the
caller's process and never before a fork. `SKFLEET_STORAGE_ENDPOINT` points it elsewhere; credentials
are always google-auth's.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import google.auth.exceptions
import requests
from google.api_core import exceptions as api
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from skfleet.artifacts.signing import SUFFIX, WHOLE, Resources, Signer, Trust
from skfleet.documents import sha256
from skfleet.documents.release import Pin
from skfleet.errors import (
    DocumentError,
    IntegrityError,
    LostRace,
    ObjectExists,
    ObjectMissing,
    StoreUnavailable,
)

_MARK = "skfleet-write"


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as read: its bytes and the generation they had."""

    uri: str
    data: bytes
    generation: int

    def pin(self) -> Pin:
        """This generation with its digest, for a document that names it."""
        return Pin(uri=self.uri, generation=self.generation, sha256=sha256(self.data))


def split_uri(uri: str) -> tuple[str, str]:
    """`gs://bucket/name` → (bucket, name); raises DocumentError."""
    parsed = urlparse(uri)
    if parsed.scheme != "gs" or not parsed.netloc or not parsed.path.strip("/"):
        raise DocumentError(
            f"'{uri}' is no Cloud Storage address.", where=uri, hint="Write gs://BUCKET/NAME."
        )
    return parsed.netloc, parsed.path.lstrip("/")


class Store:
    """Objects by `gs://` address. `timeout_s` bounds each request and each series of retries.

    `trust`: whose signatures what is fetched must carry. `signer`: signs what is published.
    """

    def __init__(
        self,
        endpoint: str = "",
        timeout_s: float = 30.0,
        *,
        trust: Trust | None = None,
        signer: Signer | None = None,
    ) -> None:
        self._endpoint = endpoint
        self.trust = trust or Trust()
        self.signer = signer
        self._timeout = timeout_s
        # The library would go on for two minutes; who can wait that long asks again itself.
        self._patience = {"timeout": timeout_s, "retry": DEFAULT_RETRY.with_timeout(timeout_s)}

    @cached_property
    def _client(self) -> Any:
        options = {"api_endpoint": self._endpoint} if self._endpoint else None
        with _named_failures(self._endpoint or "Cloud Storage"):
            return storage.Client(client_options=options)

    def read(self, uri: str, generation: int | None = None) -> Stored:
        """The object's bytes, crc32c checked in transit; `generation` pins which."""
        blob = self._blob(uri, generation)
        with _named_failures(uri):
            data = blob.download_as_bytes(
                checksum="crc32c", if_generation_match=generation, **self._patience
            )
        if generation is not None and blob.generation not in (None, generation):
            raise IntegrityError(
                f"Generation {blob.generation} was served instead of {generation}.",
                where=uri,
                hint="Somebody replaced an immutable object; publish under a new name.",
            )
        return Stored(uri, data, int(blob.generation or 0))

    def read_pin(self, pin: Pin) -> bytes:
        """The bytes a document pinned; raises IntegrityError where they differ."""
        data = self.read(pin.uri, pin.generation).data
        if sha256(data) != pin.sha256:
            raise IntegrityError(
                "The object's SHA-256 is not the pinned one.",
                where=pin.uri,
                hint="Do not use it; publish again and create a new release.",
            )
        return data

    def check_pin(self, pin: Pin) -> None:
        """Raise ObjectMissing unless the pinned generation is there; its bytes are not read."""
        blob = self._blob(pin.uri, pin.generation)
        with _named_failures(pin.uri):
            blob.reload(**self._patience)
        if int(blob.generation) != pin.generation:
            raise ObjectMissing(
                f"Generation {pin.generation} is gone.",
                where=pin.uri,
                hint="Somebody replaced an immutable object; create a new release.",
            )

    def sign(self, uri: str, resources: Resources | None = None, digest: str = "") -> None:
        """Sign a published object, or the files beside a signature's address; nothing without a signer."""
        if self.signer is None:
            return
        if resources is None:
            resources = {WHOLE: digest or sha256(self.read(uri).data)}
            uri += SUFFIX
        there = self.find(uri)
        if there is not None and self.signer.has_signed(there.data, resources, uri):
            return  # otherwise another key made it: this one's replaces it
        signature = self.signer.sign(uri.rsplit("/", 1)[1].removesuffix(SUFFIX), resources)
        self.swap(uri, signature, there.generation if there else 0)

    def check_signature(
        self, uri: str, resources: Resources, cached: Path | None = None
    ) -> bytes | None:
        """The signature's bytes, by a trusted key over these files; None where no key is configured.

        `cached`: a file that may hold it already. Raises IntegrityError.
        """
        if not self.trust.required:
            return None
        if cached is not None and cached.exists():
            data = cached.read_bytes()
            with suppress(IntegrityError):
                self.trust.check(data, resources, str(cached))
                return data
        try:
            data = self.read(uri).data
        except ObjectMissing:
            raise IntegrityError(
                "It is not signed, and this host takes only what is.",
                where=uri,
                hint="Publish it with SKFLEET_SIGNING_KEY, or sign it: `skfleet release sign ID`.",
            ) from None
        self.trust.check(data, resources, uri)
        return data

    def find(self, uri: str) -> Stored | None:
        """Like `read`, or None where there is no such object."""
        try:
            return self.read(uri)
        except ObjectMissing:
            return None

    def create(self, uri: str, data: bytes, content_type: str = "application/octet-stream") -> int:
        """Write an object that must not exist yet, and return its generation.

        The same bytes again are no error, so that a publisher that died can start over;
        other bytes raise ObjectExists.
        """
        blob = self._blob(uri)
        try:
            with _named_failures(uri):
                blob.upload_from_string(
                    data,
                    content_type=content_type,
                    if_generation_match=0,
                    checksum="crc32c",
                    **self._patience,
                )
        except LostRace:
            there = self.read(uri)
            if there.data == data:
                return there.generation
            raise ObjectExists(
                "The object exists with other bytes, and is never overwritten.",
                where=uri,
                hint="Publish under a new version or id.",
            ) from None
        return int(blob.generation)

    def create_from_file(self, uri: str, path: Path) -> int:
        """`create` from a file."""
        return self.create(uri, path.read_bytes())

    def swap(self, uri: str, data: bytes, seen: int) -> int:
        """Replace the object if its generation is still `seen` (0: must not exist); LostRace if not."""
        blob = self._blob(uri)
        # A retry after an answer that got lost meets our own write; this mark tells it apart.
        mark = secrets.token_hex(8)
        blob.metadata = {_MARK: mark}
        try:
            with _named_failures(uri):
                blob.upload_from_string(
                    data,
                    content_type="application/json",
                    if_generation_match=seen,
                    checksum="crc32c",
                    **self._patience,
                )
        except LostRace:
            generation = self._written_by(uri, mark)
            if generation is None:
                raise
            return generation
        return int(blob.generation)

    def update(self, uri: str, change: Callable[[Stored | None], bytes], attempts: int = 5) -> int:
        """Read, change, swap; on a lost race from the start, `attempts` times."""
        for attempt in range(attempts):
            there = self.find(uri)
            try:
                return self.swap(uri, change(there), there.generation if there else 0)
            except LostRace:
                if attempt == attempts - 1:
                    raise
        raise AssertionError("unreachable")

    def list(self, prefix: str) -> Iterator[str]:
        """The addresses below a `gs://bucket/folder/` prefix, in the bucket's order."""
        bucket, name = split_uri(prefix)
        with _named_failures(prefix):
            for blob in self._client.list_blobs(bucket, prefix=name, **self._patience):
                yield f"gs://{bucket}/{blob.name}"

    def delete_below(self, prefix: str) -> None:
        """Delete the objects of a folder, the manifest first: what is half there is nobody's model."""
        uris = sorted(self.list(prefix), key=lambda uri: not uri.endswith("/manifest.json"))
        for uri in uris:
            with _named_failures(uri):
                self._blob(uri).delete(**self._patience)

    def _written_by(self, uri: str, mark: str) -> int | None:
        """The live generation if it carries this mark."""
        blob = self._blob(uri)
        try:
            with _named_failures(uri):
                blob.reload(**self._patience)
        except ObjectMissing:
            return None
        return int(blob.generation) if (blob.metadata or {}).get(_MARK) == mark else None

    def _blob(self, uri: str, generation: int | None = None) -> Any:
        bucket, name = split_uri(uri)
        return self._client.bucket(bucket).blob(name, generation=generation)


def crc32c(data: bytes) -> str:
    """crc32c of bytes in Cloud Storage's form: big-endian, base64."""
    import google_crc32c

    return base64.b64encode(google_crc32c.Checksum(data).digest()).decode()


@contextmanager
def _named_failures(where: str) -> Iterator[None]:
    try:
        yield
    except api.NotFound:
        raise ObjectMissing(
            "There is no such object, or not in that generation.",
            where=where,
            hint="Check the address; `skfleet release list` and `skfleet model list` show what is there.",
        ) from None
    except api.PreconditionFailed:
        raise LostRace(
            "Somebody else wrote the object first; nothing was changed.",
            where=where,
            hint="Look at what is there now and try again.",
        ) from None
    except DataCorruption:
        raise IntegrityError(
            "The bytes that came are not the ones that were stored: their crc32c differs.",
            where=where,
            hint="Try again; if it stays, the object is damaged: publish it again under a new name.",
        ) from None
    except (api.Forbidden, api.Unauthorized) as error:
        raise StoreUnavailable(
            f"Cloud Storage refuses this identity: {error.message}.",
            where=where,
            hint="Check the service account and its role on this prefix (`skfleet doctor`).",
        ) from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise StoreUnavailable(
            f"No usable Google credentials: {error}.",
            where=where,
            hint="On a VM: the service account of the VM. Elsewhere: GOOGLE_APPLICATION_CREDENTIALS.",
        ) from None
    except (api.GoogleAPIError, requests.RequestException, OSError) as error:
        raise StoreUnavailable(
            f"Cloud Storage cannot be reached: {error}.",
            where=where,
            hint="Check the network and SKFLEET_STORAGE_ENDPOINT; then try again.",
        ) from None
