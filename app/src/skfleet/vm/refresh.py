"""`skfleet-refresh`: who may call, and the keys that prove it, into files of this host.

The service opens no connection; it rereads these files. Each source is fetched, checked, and replaces
its file only if it differs; a source that is down or sends rubbish changes nothing but `refresh.json`.
Exit codes of --once: 0 all is fresh, 3 a source was not had.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import requests

from skfleet import documents
from skfleet.documents.environment import Environment
from skfleet.errors import DocumentError, SkfleetError, StoreUnavailable
from skfleet.files import replace_file
from skfleet.settings import Settings
from skfleet.vm import log, metadata
from skfleet.vm.host import DEFAULT_DIRECTORY, Host

TIMEOUT_S = 10.0
STATE = "refresh.json"


class SourceState(msgspec.Struct, frozen=True, kw_only=True):
    """How the last look at one source went. Times are RFC 3339, UTC."""

    tried_at: str
    fresh_at: str = ""  # when it was last had and found valid
    changed_at: str = ""
    error: str = ""


class RefreshState(msgspec.Struct, frozen=True, kw_only=True):
    """The form of refresh.json, by name of the file that a source feeds."""

    sources: dict[str, SourceState] = {}


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the identity directory and where its bytes come from, checked."""

    file: str
    fetch: Callable[[], bytes]


def sources(settings: Settings) -> list[Source]:
    """The three sources of a host."""
    return [
        Source("environment.json", lambda: _environment(settings)),
        Source("iap-keys.json", lambda: key_set(settings.iap_keys_url, "EC")),
        Source("google-keys.json", lambda: key_set(settings.google_keys_url, "RSA")),
    ]


def refresh(directory: Path, wanted: list[Source]) -> RefreshState:
    """Look at every source once; write what changed and how it went."""
    known = _known(directory)
    result: dict[str, SourceState] = {}
    for source in wanted:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        before = known.sources.get(source.file, SourceState(tried_at=now))
        try:
            data = source.fetch()
            changed = _differs(directory / source.file, data)
            if changed:
                replace_file(directory / source.file, data, mode=0o644)
        except (SkfleetError, OSError) as error:
            message = error.message if isinstance(error, SkfleetError) else str(error)
            after = msgspec.structs.replace(before, tried_at=now, error=message)
        else:
            changed_at = now if changed else before.changed_at
            after = SourceState(tried_at=now, fresh_at=now, changed_at=changed_at)
        result[source.file] = after
    state = RefreshState(sources=result)
    replace_file(directory / STATE, documents.write(state), mode=0o644)
    return state


def key_set(url: str, kind: str) -> bytes:
    """The JWKS at `url`, as sent; raises DocumentError unless it holds signing keys of this type."""
    try:
        answer = requests.get(url, timeout=TIMEOUT_S)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise StoreUnavailable(
            f"The keys cannot be had: {error}.",
            where=url,
            hint="The VM needs a way to Google's key addresses (NAT or private Google access).",
        ) from None
    try:
        keys = answer.json()["keys"]
        fits = bool(keys) and all(_is_key(key, kind) for key in keys)
    except (ValueError, TypeError, KeyError):
        fits = False
    if not fits:
        raise DocumentError(
            f"The answer is no set of {kind} keys with their ids.",
            where=url,
            hint="Something else answers at this address; check the setting.",
        )
    return answer.content


_MEMBERS = {"EC": ("x", "y", "crv"), "RSA": ("n", "e")}


def _is_key(key: Any, kind: str) -> bool:
    return (
        isinstance(key, dict)
        and key.get("kty") == kind
        and all(isinstance(key.get(name), str) and key[name] for name in ("kid", *_MEMBERS[kind]))
    )


def _environment(settings: Settings) -> bytes:
    # Imported late: google-auth reads the host's environment while it is imported.
    from skfleet.artifacts.store import Store

    fleet = metadata.fleet()
    uri = fleet.document("environment.json")
    data = Store(settings.storage_endpoint, timeout_s=TIMEOUT_S).read(uri).data
    documents.check_fleet(documents.read(Environment, data, where=uri).fleet, fleet.name, where=uri)
    return data


def _differs(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() != data
    except FileNotFoundError:
        return True


def _known(directory: Path) -> RefreshState:
    try:
        return msgspec.json.decode((directory / STATE).read_bytes(), type=RefreshState)
    except (OSError, msgspec.MsgspecError):
        return RefreshState()


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="skfleet-refresh", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--once", action="store_true", help="one look, for a timer")
    parser.add_argument("--interval", type=float, metavar="S", help="default: the host's setting")
    parser.add_argument("--host-dir", type=Path, default=DEFAULT_DIRECTORY)
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Host.read(options.host_dir).enter()
        told: dict[str, str] = {}
        while True:
            state = refresh(settings.identity_dir, sources(settings))
            told = _tell_changes(told, state)
            if options.once:
                sys.exit(3 if any(told.values()) else 0)
            # A fleet that boots at once must not ask at once for ever. What is missing is asked for sooner.
            interval = options.interval or settings.refresh_interval_s
            if any(not source.fresh_at for source in state.sources.values()):
                interval = min(interval, 2.0)
            time.sleep(interval * random.uniform(0.8, 1.0))  # noqa: S311 - not a secret
    except SkfleetError as error:
        print(f"skfleet-refresh: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


def _tell_changes(told: dict[str, str], state: RefreshState) -> dict[str, str]:
    """Log a source when its error comes, changes or goes: an outage is two lines, not one a minute."""
    errors = {name: source.error for name, source in state.sources.items()}
    for name, error in errors.items():
        if error != told.get(name):
            log.write("warning" if error else "info", message=f"{name}: {error or 'fresh'}")
    return errors


if __name__ == "__main__":
    main()
