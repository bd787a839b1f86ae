"""A run: its directory, what is where in it, and what it remembers.

`$SKFLEET_RUN_DIR`, or `.skfleet/run` of the checkout. Everything a run writes is below it, apart from
unix sockets when its path is too long for them.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from skfleet import documents
from skfleet.documents.edge import Listeners
from skfleet.errors import ConfigurationError, Refused, SkfleetError
from skfleet.files import replace_file
from skfleet_local.addresses import Addresses
from skfleet_local.processes import Process

# sun_path holds 108 bytes; supervisor binds `<path>.<pid>` first and renames it.
_SOCKET_PATH_BYTES = 90
MARK = ".skfleet-run"  # in a directory that `down` may delete


class State(msgspec.Struct, kw_only=True):
    """state.json: what a later command, or a later `up`, must know."""

    schema_version: int = 1
    subnet: str
    project: str
    repository: str
    runtime: str  # a ready made environment instead of a built one; empty: built
    time_scale: float
    layers: list[str] = []  # VMs are real hosts, their disks made of these; empty: directories
    listeners: Listeners | None = None  # of edge.yml when the fleet was made
    processes: dict[str, Process] = {}

    @property
    def addresses(self) -> Addresses:
        """The run's addresses."""
        return Addresses(self.subnet)


@dataclass(frozen=True, slots=True)
class Run:
    """The directory of a run and the paths in it."""

    root: Path

    @property
    def state_file(self) -> Path:
        """Addresses, options, processes."""
        return self.root / "state.json"

    @property
    def client_env(self) -> Path:
        """The operator's environment."""
        return self.root / "client.env"

    def client_environment(self) -> dict[str, str]:
        """What it says, by name."""
        pairs = (line.split("=", 1) for line in self.client_env.read_text().splitlines())
        return {name: (shlex.split(value) or [""])[0] for name, value in pairs}

    @property
    def keys(self) -> Path:
        """Service account key files, `<account>.json`."""
        return self.root / "keys"

    @property
    def identity(self) -> Path:
        """Private keys of the identity providers."""
        return self.root / "identity"

    @property
    def tls(self) -> Path:
        """The certificate authority and what it signed."""
        return self.root / "tls"

    @property
    def ca_file(self) -> Path:
        """What clients trust."""
        return self.tls / "ca.pem"

    @property
    def envoy(self) -> Path:
        """Envoy's configuration."""
        return self.root / "envoy"

    @property
    def endpoints(self) -> Path:
        """Membership of the load balancers; a directory of its own, since Envoy watches it."""
        return self.envoy / "endpoints"

    @property
    def access_log(self) -> Path:
        """One JSON line a request."""
        return self.log("access")

    @property
    def objects(self) -> Path:
        """What is in the bucket."""
        return self.root / "objects"

    @property
    def image(self) -> Path:
        """What every VM's disk is made of."""
        return self.root / "image"

    def image_named(self, name: str) -> Path:
        """Another image of the project; `image` is what the family names."""
        return self.root / "images" / name

    @property
    def trusted_keys(self) -> Path:
        """Public keys that every VM's disk gets; not there where VMs ask for no signatures."""
        return self.root / "trusted-keys"

    @property
    def vms(self) -> Path:
        """The VMs' disks."""
        return self.root / "vms"

    @property
    def compute_file(self) -> Path:
        """Resources of the Compute stand-in; they outlive its process."""
        return self.root / "compute.json"

    @property
    def events_file(self) -> Path:
        """What the group did and why, one JSON line each."""
        return self.root / "log" / "events.jsonl"

    def log(self, name: str) -> Path:
        """Output of one of the cloud's processes."""
        return self.root / "log" / f"{name}.log"

    @property
    def envoy_admin_socket(self) -> Path:
        """Envoy's admin interface."""
        return self._socket(self.envoy / "admin.sock", "envoy-admin")

    @property
    def iap_socket(self) -> Path:
        """Where Envoy asks IAP."""
        return self._socket(self.envoy / "iap.sock", "iap")

    def socket(self, vm: str) -> Path:
        """The unix socket of a VM's supervisor."""
        return self._socket(self.vms / vm / "run" / "supervisor.sock", vm)

    def _socket(self, inside: Path, name: str) -> Path:
        if len(os.fsencode(inside)) <= _SOCKET_PATH_BYTES:
            return inside
        return self.short_directory / f"{name}.sock"

    @property
    def short_directory(self) -> Path:
        """Where sockets are when the run directory is deep; nobody else's, made when first needed."""
        digest = documents.sha256(os.fsencode(self.root))[:10]
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        if len(os.fsencode(base)) > 40:
            base = Path("/tmp")  # noqa: S108 - the name below it is made with mode 0700 and checked
        return base / f"skfleet-{digest}"

    def read_state(self) -> State | None:
        """What the run remembers; None where there is no run, or none that can be read."""
        try:
            return msgspec.json.decode(self.state_file.read_bytes(), type=State)
        except (FileNotFoundError, msgspec.MsgspecError):
            return None

    def require_state(self) -> State:
        """The state of a run that must be there."""
        state = self.read_state()
        if state is None:
            raise NoRun("There is no local fleet here.", where=str(self.root), hint="make up")
        return state

    def write_state(self, state: State) -> None:
        """Remember."""
        replace_file(
            self.state_file, msgspec.json.format(msgspec.json.encode(state), indent=2), mode=0o600
        )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One `up` or `down` at a time; the lock is on the directory itself and leaves no file."""
        claim(self.root)
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise SkfleetError(
                    "Another up or down works on this fleet.",
                    where=str(self.root),
                    hint="Wait for it, or end it.",
                ) from None
            yield
        finally:
            os.close(handle)


class NoRun(SkfleetError):
    """There is no fleet in the run directory."""


def claim(directory: Path) -> None:
    """Make a directory that `remove` may delete; raises Refused for one that holds what is not ours."""
    if directory.exists() and not owns(directory) and any(directory.iterdir()):
        raise _not_ours(directory)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    directory.chmod(0o700)  # it was there, with whatever mode: keys are in it
    (directory / MARK).touch()


def make_socket_directory(path: Path) -> None:
    """Make the directory of a unix socket, for this user alone; raises Refused for another user's."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_own_directory(path.parent):
        raise Refused(
            "The directory for sockets belongs to another user.",
            where=str(path.parent),
            hint="Set SKFLEET_RUN_DIR to a shorter path, or TMPDIR to a directory of your own.",
        )
    path.parent.chmod(0o700)


def is_own_directory(path: Path) -> bool:
    """Whether it is there, no link, and this user's: names in /tmp are anybody's to take first."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()


def _not_ours(directory: Path) -> Refused:
    return Refused(
        "The directory is not empty, and skfleet-local did not make it; its files stay as they are.",
        where=str(directory),
        hint="Name a directory that is new or empty (SKFLEET_RUN_DIR).",
    )


def owns(directory: Path) -> bool:
    """Whether `claim` made it, or an `up` of before there was `claim`."""
    return (directory / MARK).exists() or Run(directory).read_state() is not None


def remove(directory: Path) -> bool:
    """Delete a directory of ours with all that is in it; False where there is none."""
    if directory.is_symlink() or not directory.exists():
        return False
    if not owns(directory):
        if not any(directory.iterdir()):
            return False
        raise _not_ours(directory)
    (directory / MARK).touch()
    for path in directory.iterdir():  # the mark last: one that is cut off can be taken up again
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != MARK:
            path.unlink(missing_ok=True)
    shutil.rmtree(directory)  # raises what is in the way
    return True


def repository() -> Path:
    """The checkout: where edge.yml, the pins and the app's source are."""
    for start in (Path.cwd(), Path(__file__).resolve().parent):
        for folder in (start, *start.parents):
            if (folder / "edge.yml").is_file() and (folder / "app/pyproject.toml").is_file():
                return folder
    raise ConfigurationError(
        "No checkout of skfleet is here.", where=str(Path.cwd()), hint="Change into the repository."
    )


def current() -> Run:
    """The run that commands are about."""
    named = os.environ.get("SKFLEET_RUN_DIR")
    return Run(Path(named).resolve() if named else repository() / ".skfleet" / "run")
