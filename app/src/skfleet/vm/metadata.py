"""The metadata server: the one thing a VM knows about itself without asking anyone else.

It holds one key of ours, `skfleet-fleet`: the address of the fleet in the bucket.
"""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

from skfleet.errors import ConfigurationError, SkfleetError

ATTRIBUTE = "skfleet-fleet"
TIMEOUT_S = 2.0
PAUSES_S = (0.2, 0.5)  # between the attempts; the server is on the VM's own host

_FLEET = re.compile(
    r"^gs://(?P<bucket>[a-z0-9][a-z0-9._-]+)/fleets/(?P<name>[a-z0-9][a-z0-9._-]*)$"
)


class MetadataUnavailable(SkfleetError):
    """The metadata server cannot be reached or is none; worth trying again later."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Fleet:
    """Where a fleet's documents are."""

    bucket: str
    name: str

    @classmethod
    def parse(cls, uri: str) -> Fleet:
        """`gs://bucket/fleets/<fleet>`; raises ConfigurationError."""
        match = _FLEET.match(uri.strip().rstrip("/"))
        if match is None:
            raise ConfigurationError(
                f"'{uri.strip()}' is no address of a fleet.",
                where=f"metadata attribute {ATTRIBUTE}",
                hint="Set it to gs://BUCKET/fleets/FLEET.",
            )
        return cls(match["bucket"], match["name"])

    def document(self, name: str) -> str:
        """The address of one of the fleet's own documents."""
        return f"gs://{self.bucket}/fleets/{self.name}/{name}"

    def release(self, release: str) -> str:
        """The address of a release document."""
        return f"gs://{self.bucket}/releases/{release}.json"


def fleet() -> Fleet:
    """The fleet this VM belongs to; raises MetadataUnavailable or ConfigurationError."""
    value = attribute(ATTRIBUTE)
    if value is None:
        raise ConfigurationError(
            "This VM belongs to no fleet.",
            where=f"metadata attribute {ATTRIBUTE}",
            hint="The instance template sets it to gs://BUCKET/fleets/FLEET.",
        )
    return Fleet.parse(value)


def attribute(name: str) -> str | None:
    """An instance attribute, or None where the VM has none of that name."""
    host = os.environ.get("GCE_METADATA_HOST") or "metadata.google.internal"
    url = f"http://{host}/computeMetadata/v1/instance/attributes/{name}"
    # A proxy of the environment must not see, or answer, what is between a VM and its host.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    reason = ""
    for pause in (*PAUSES_S, None):
        try:
            with opener.open(request, timeout=TIMEOUT_S) as answer:
                if answer.headers.get("Metadata-Flavor") == "Google":
                    return str(answer.read().decode())
                reason = "it does not answer as Google's"
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            reason = f"it answers {error.code}"
        except OSError as error:  # URLError and timeouts are OSErrors
            reason = str(getattr(error, "reason", error))
        if pause is not None:
            time.sleep(pause)
    raise MetadataUnavailable(
        f"The metadata server cannot be used: {reason}.",
        where=url,
        hint="On a VM it is always there; elsewhere set GCE_METADATA_HOST.",
    )
