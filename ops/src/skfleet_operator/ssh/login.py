"""What `skfleet ssh setup` writes for Ansible: DIRECTORY/PROJECT/id_ed25519 and login.json beside it.

The directory is the operator's alone (0700, files 0600). Every field is checked when it is read: it becomes
an argument of ssh.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from skfleet import documents
from skfleet.errors import ConfigurationError, DocumentError
from skfleet.files import replace_file

DIRECTORY = ".skfleet/ssh"
KEY_FILE = "id_ed25519"
RECORD_FILE = "login.json"
KNOWN_HOSTS_FILE = "known_hosts"  # ssh's own, where host keys are trusted on first use
SETUP = "Run `skfleet ssh setup`."
COMMENT = "skfleet"  # of our keys in a profile: those of others are left alone

_Project = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9.:-]{0,61}[a-z0-9]\Z")]
_Account = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._%+'-]+@[A-Za-z0-9.-]+\Z")]
# What the VM's guest agent takes (guest-oslogin, kUserNameRegex).
_User = Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._][a-zA-Z0-9._-]{0,31}\Z")]
_Fingerprint = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9:=_-]{1,128}\Z")]


class Login(documents.Document, frozen=True, kw_only=True):
    """Who logs in to a project's VMs, with which registered key, and until when."""

    project: _Project
    account: _Account
    user: _User
    fingerprint: _Fingerprint
    expires_at: datetime

    def left_s(self, now: datetime) -> float:
        """Seconds until the key expires; negative once it has."""
        return (self.expires_at - now).total_seconds()


def place(directory: Path, project: str) -> Path:
    """Where a project's login is kept; raises ConfigurationError for what is no project's id."""
    try:
        return directory / msgspec.convert(project, _Project)
    except msgspec.ValidationError:
        raise ConfigurationError(
            f"Invalid project '{project}': expected a project's id.",
            where="--project",
            hint="`gcloud projects list` shows ids.",
        ) from None


def read_record(folder: Path) -> Login | None:
    """The login of a project's folder, expired or not; None where there is none or it is damaged."""
    try:
        login = documents.read(Login, (folder / RECORD_FILE).read_bytes(), RECORD_FILE)
    except (OSError, DocumentError):
        return None
    is_whole = (folder / KEY_FILE).is_file() and login.expires_at.tzinfo is not None
    return login if is_whole else None


def require_login(folder: Path, now: datetime | None = None) -> Login:
    """The login that holds now; raises ConfigurationError with what to run."""
    login = read_record(folder)
    if login is None:
        raise ConfigurationError(
            f"No ssh login for project '{folder.name}'.", where=str(folder), hint=SETUP
        )
    if login.project != folder.name:
        raise ConfigurationError(
            f"The ssh login is for project '{login.project}', not '{folder.name}'.",
            where=str(folder),
            hint=SETUP,
        )
    if login.left_s(now or datetime.now(UTC)) <= 0:
        raise ConfigurationError(
            f"The ssh key of '{login.user}' expired at {login.expires_at:%Y-%m-%d %H:%M} UTC.",
            where=str(folder),
            hint=SETUP,
        )
    return login


def make_folder(folder: Path) -> None:
    """The folder, readable by its owner alone."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)


def make_key() -> tuple[bytes, str]:
    """A new ed25519 key: the private half as OpenSSH writes it, the public half as one line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return private, f"{public.decode()} {COMMENT}"


def write_login(folder: Path, private: bytes, login: Login) -> None:
    """Replace key and record; a reader sees whole files."""
    make_folder(folder)
    replace_file(folder / KEY_FILE, private, mode=0o600)
    replace_file(folder / RECORD_FILE, documents.write(login), mode=0o600)


def remove_login(folder: Path) -> None:
    """Delete what `write_login` wrote, and the folder where nothing else is in it."""
    for name in (KEY_FILE, RECORD_FILE):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()
