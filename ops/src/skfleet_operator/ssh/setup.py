"""Make a login, reuse it while it lasts, and delete it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives import serialization

from skfleet_operator.ssh.login import (
    KEY_FILE,
    Login,
    make_key,
    read_record,
    remove_login,
    write_login,
)
from skfleet_operator.ssh.oslogin import OsLogin, OsLoginFailed


def setup(
    oslogin: OsLogin, folder: Path, account: str, now: datetime, ttl: timedelta
) -> tuple[Login, bool]:
    """The login, and whether its key is new.

    A registered key that holds for half of `ttl` more is reused. Otherwise a new key takes its place: it
    is registered before the old one is deleted, so that a run under way goes on.
    """
    old = read_record(folder)
    profile = oslogin.profile()
    if old is not None and old.account == account:
        known = profile.find(_public(folder))
        # VMs go by what OS Login says, so its time counts beside ours.
        ends = min(old.expires_at, known.expires_at or now) if known else now
        if old.user == profile.user and ends - now >= ttl / 2:
            return old, False
    private, public = make_key()
    profile = oslogin.register(public, now + ttl)
    registered = profile.find(public) or oslogin.profile().find(public)
    if registered is None:
        raise OsLoginFailed(
            f"OS Login answered without the registered key for {account}.",
            where="loginProfile",
            hint="Try again.",
        )
    try:
        login = _make_login(folder.name, account, profile.user, registered.fingerprint, now + ttl)
        write_login(folder, private, login)
    except BaseException:
        oslogin.delete(registered.fingerprint)
        raise
    if old is not None and old.account == account:
        oslogin.delete(old.fingerprint)
    return login, True


def remove(oslogin: OsLogin, folder: Path, login: Login) -> None:
    """Delete the login's key from the profile and from this machine, from here whatever OS Login answers."""
    try:
        oslogin.delete(login.fingerprint)
    finally:
        remove_login(folder)


def _public(folder: Path) -> str:
    """The public half of the folder's key; empty where it cannot be read."""
    try:
        key = serialization.load_ssh_private_key((folder / KEY_FILE).read_bytes(), None)
    except (OSError, ValueError, TypeError):
        return ""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def _make_login(
    project: str, account: str, user: str, fingerprint: str, expires_at: datetime
) -> Login:
    """The login, its fields held to their patterns; raises OsLoginFailed."""
    if not user:
        raise OsLoginFailed(
            f"OS Login answered without a POSIX user name for {account}.",
            where="loginProfile",
            hint="Ask the organisation's administrators whether they manage POSIX information: "
            "`gcloud compute os-login describe-profile` shows the profile.",
        )
    login = Login(
        project=project, account=account, user=user, fingerprint=fingerprint, expires_at=expires_at
    )
    try:
        return msgspec.convert(msgspec.to_builtins(login), Login)
    except msgspec.ValidationError as error:
        raise OsLoginFailed(
            f"OS Login's answer is not a login: {error}.",
            where="loginProfile",
            hint="`gcloud compute os-login describe-profile` shows the profile.",
        ) from None
