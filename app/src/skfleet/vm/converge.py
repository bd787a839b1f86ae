"""`skfleet-converge`: bring this host to one release. Everything that changes a VM is this.

It fetches and verifies the release, unpacks the release's own bundle of roles and runs it. A release
that cannot be installed leaves the host as it was. A host that is there already is gone over again:
nothing changes, and what somebody altered by hand is put right.

Exit codes: 0 converged, 1 failed, 2 configuration, 3 the metadata server or the bucket is out of reach.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from skfleet import documents, state
from skfleet.documents.release import Release
from skfleet.errors import SkfleetError, StoreUnavailable
from skfleet.files import replace_file
from skfleet.settings import Settings, release_settings
from skfleet.vm import fallback, lock, log, metadata, playbook, source
from skfleet.vm.host import DEFAULT_DIRECTORY, Host, checked_environment
from skfleet.vm.unpack import unpack

LOCK_PATIENCE_S = 120.0  # longer than a converge takes
POLL_S = 3.0  # between looks for the first desired release
RETRY_FIRST_S, RETRY_MOST_S = 1.0, 30.0
# A booting host that has heard nothing for this long serves what it has.
SILENCE_S = 5.0
# Documents and the bundle are small; a host between drain and activation has no half minute to lose.
STORE_TIMEOUT_S = 10.0
PHASES = ("all", "stage", "activate")


@dataclass(frozen=True, slots=True)
class Converge:
    """One host's way to a release."""

    host: Host
    settings: Settings

    def once(
        self, release_id: str | None, phase: str = "all", *, check: bool = False, boot: bool = False
    ) -> Release:
        """Converge to a release, by default the desired one; raises SkfleetError."""
        if check:  # reads, and leaves not even a lock behind
            return self._converge(release_id, phase, check=True)
        with self._lock() as held:
            return self._converge(release_id, phase, boot=boot, keep_open=(held,))

    @contextmanager
    def _lock(self) -> Iterator[int]:
        with lock.exclusive(self.host.run / "converge.lock", LOCK_PATIENCE_S) as held:
            # Whatever is here belongs to a converge that was killed.
            shutil.rmtree(self.host.work, ignore_errors=True)
            yield held

    def _converge(
        self,
        release_id: str | None,
        phase: str,
        *,
        check: bool = False,
        boot: bool = False,
        keep_open: tuple[int, ...] = (),
    ) -> Release:
        # Imported late: google-auth reads the host's environment while it is imported.
        from skfleet.artifacts.fetch import fetch_object
        from skfleet.artifacts.signing import Trust
        from skfleet.artifacts.store import Store

        started = time.monotonic()
        with step("release"), self._impatience(boot):
            store = Store(
                self.settings.storage_endpoint,
                timeout_s=STORE_TIMEOUT_S,
                trust=Trust.read(self.settings.trusted_keys),
            )
            fleet = metadata.fleet()
            if release_id is None:
                document = source.desired(store, fleet)
            else:
                document = source.named(store, fleet, release_id, self.host)
            release = document.release
            source.check(release)
            variables = self.variables(document, phase)
        scratch = _scratch(None if check else self.host.work)
        try:
            with step("bundle"):
                cache = scratch / "cache" if check else self.host.cache
                bundle = scratch / "bundle"
                unpack(fetch_object(store, release.bundle, cache), bundle)
            if phase == "activate" and not check:
                state.announce(self.host.run, release.id)
            changed = playbook.run(
                self.host, bundle, variables, tell, check=check, keep_open=keep_open
            )
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if phase != "stage" and not check:
            self._write_state(release.id)
        seconds = round(time.monotonic() - started, 2)
        tell({"step": phase, "release": release.id, "changed": changed, "seconds": seconds})
        return release

    def variables(self, document: source.ReleaseDocument, phase: str) -> dict[str, Any]:
        """What `converge.yml` is handed; raises ConfigurationError for what no host can be told."""
        release = document.release
        models = sorted(release.models, key=lambda model: model.name != release.default_model)
        return {
            "skfleet_phase": phase,
            "skfleet_host_directory": str(self.host.directory),
            "skfleet_host_environment": self.host.environment(),
            "skfleet_port_health": self.settings.port_health,
            "skfleet_port_metrics": self.settings.port_metrics,
            "skfleet_release": msgspec.to_builtins(release),
            "skfleet_release_text": document.text,
            "skfleet_service_environment": checked_environment(
                {
                    "SKFLEET_RELEASE": release.id,
                    "SKFLEET_APP_VERSION": release.app.version,
                    "SKFLEET_MODELS": ",".join(
                        f"{model.name}={self.host.cache}/models/{model.manifest.sha256}"
                        for model in models
                    ),
                    "SKFLEET_REQUIRE_CONVERGED": "true",
                    **release_settings(release.settings),
                }
            ),
        }

    def boot(self, poll_s: float = POLL_S) -> Release:
        """Converge to the desired release however long it takes, and keep the service up meanwhile."""
        pause = RETRY_FIRST_S
        made = False
        while True:
            try:
                return self.once(None, boot=True)
            except source.NoDesiredRelease as error:
                self.remember(error.message, boot=True)
                tell({"step": "wait", "reason": error.message})
                wait = poll_s
            except lock.Busy as error:  # a rollout is at it; its state is not ours to write
                tell({"step": "wait", "reason": error.message})
                wait = poll_s
            except (SkfleetError, OSError) as error:
                self.remember(_sentence(error), boot=True)
                tell({"step": "failed", "reason": str(error)})
                if isinstance(error, StoreUnavailable):
                    self._serve_fallback(_sentence(error))
                wait, pause = pause, min(pause * 2, RETRY_MOST_S)
            made = made or self._make_from_image()
            time.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - spreads a fleet's requests

    def remember(self, reason: str, *, boot: bool = False) -> None:
        """Write why the last converge failed; what the host runs stays what it was.

        At boot nothing is known yet: a release of an earlier boot is served, and called stale.
        """
        known = state.read(self.host.run)
        current = self.host.current()
        if known.release is not None:
            self._write_state(known.release, stale=known.stale, reason=reason)
        elif boot and current is not None:
            self._write_state(current.name, stale=True, reason=reason)
        else:
            self._write_state(None, reason=reason)

    def _write_state(self, release: str | None, *, stale: bool = False, reason: str = "") -> None:
        state.write(
            self.host.run,
            release,
            stale=stale,
            reason=reason,
            signatures_required=any(self.settings.trusted_keys.glob("*.pub")),
        )

    @contextmanager
    def _impatience(self, boot: bool) -> Iterator[None]:
        """Serve what is here when a booting host hears nothing, before the clients' own timeouts end."""
        if not boot or self.host.current() is None or state.read(self.host.run).release is not None:
            yield
            return
        reason = f"The bucket has not answered for {SILENCE_S:.0f} s."
        timer = threading.Timer(SILENCE_S, self.remember, args=(reason,), kwargs={"boot": True})
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _serve_fallback(self, reason: str) -> None:
        """Serve the image's release while the bucket is away, where the image says so."""
        from skfleet.artifacts.fetch import fetch_object
        from skfleet.artifacts.signing import Trust
        from skfleet.artifacts.store import Store

        if self.host.current() is not None:
            return
        try:
            found = fallback.read(self.host.fallback)
            fleet = metadata.fleet()
            if found is None or fleet != metadata.Fleet.parse(found.fleet):
                return
            document = source.installed(found.release, fleet, self.host)
            release = document.release
            variables = self.variables(document, "activate")
            with self._lock(), step("fallback"):
                # What is in the cache and verifies is not asked for anywhere.
                store = Store(trust=Trust.read(self.settings.trusted_keys))
                bundle = fetch_object(store, release.bundle, self.host.cache)
                admitted = self.host.identity / "environment.json"
                if not admitted.exists():
                    replace_file(admitted, documents.write(found.environment), mode=0o644)
                self._play(bundle, variables)
                self._write_state(release.id, stale=True, reason=reason)
        except (SkfleetError, OSError) as error:
            tell({"step": "failed", "reason": str(error)})

    def _make_from_image(self) -> bool:
        """Let the image's own roles install the units where no release's have; True when done."""
        if self.host.current() is not None or not self.host.image_bundle.exists():
            return True
        try:
            with self._lock(), step("image"):
                variables = {
                    "skfleet_phase": "runtime",
                    "skfleet_host_directory": str(self.host.directory),
                }
                self._play(self.host.image_bundle, variables)
        except (SkfleetError, OSError) as error:
            tell({"step": "failed", "reason": str(error)})
            return False
        return True

    def _play(self, bundle: Path, variables: Mapping[str, Any]) -> None:
        """Run a bundle that is here, with the lock held: what this leaves, the next holder clears."""
        scratch = _scratch(self.host.work)
        unpack(bundle, scratch / "bundle")
        playbook.run(self.host, scratch / "bundle", variables, tell)


def tell(line: Mapping[str, Any]) -> None:
    """Log one step of progress; a failed one as an error, which alerts count."""
    failed = "failed" in (line.get("step"), line.get("result"))
    log.write("error" if failed else "info", **line)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Tell how long a step took, once it is done."""
    started = time.monotonic()
    yield
    tell({"step": name, "seconds": round(time.monotonic() - started, 2)})


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="skfleet-converge", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("release", nargs="?", help="id of a release; default: the desired one")
    parser.add_argument("--boot", action="store_true", help="try until it is done")
    parser.add_argument("--only", choices=PHASES[1:], help="one half of a rollout's step")
    parser.add_argument(
        "--check", action="store_true", help="say what would change, change nothing"
    )
    parser.add_argument("--poll", type=float, default=POLL_S, metavar="S", help="for --boot")
    parser.add_argument("--host-dir", type=Path, default=DEFAULT_DIRECTORY)
    options = parser.parse_args(arguments)
    if options.boot and (options.release or options.only or options.check):
        parser.error("--boot takes the desired release, and all of it")
    # Ending by exception removes what is temporary.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        host = Host.read(options.host_dir)
        converge = Converge(host, host.enter())
        if options.boot:
            converge.boot(options.poll)
            return
        try:
            converge.once(options.release, options.only or "all", check=options.check)
        except lock.Busy:
            raise  # the other one's state is not ours to write
        except SkfleetError as error:
            if not options.check:
                wanted = options.release or "the desired release"
                converge.remember(f"Converging to {wanted} failed: {_sentence(error)}")
            raise
    except SkfleetError as error:
        print(f"skfleet-converge: {error}", file=sys.stderr)  # noqa: T201 - a command's message
        sys.exit(error.exit_code)


def _sentence(error: Exception) -> str:
    return error.message if isinstance(error, SkfleetError) else f"{error}."


def _scratch(parent: Path | None) -> Path:
    if parent is not None:
        parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="bundle-", dir=parent))


if __name__ == "__main__":
    main()
