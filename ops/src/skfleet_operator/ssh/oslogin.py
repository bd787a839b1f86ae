"""OS Login's API: whose profile, which keys it holds until when, and the POSIX user that it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import google.auth.exceptions
import google.auth.transport.requests
import google.oauth2.credentials

from skfleet.errors import ConfigurationError, SkfleetError
from skfleet_operator.cloud import Cloud, path
from skfleet_operator.google_rest import ApiOff, CallFailed, NotAllowed, NotThere
from skfleet_operator.ssh.login import COMMENT

_TOO_LARGE = "Login profile size"  # "… exceeds 32 KiB."


class OsLoginFailed(SkfleetError):
    """OS Login refuses, or cannot be asked."""

    exit_code = 4


@dataclass(frozen=True, slots=True)
class Key:
    """A registered key."""

    fingerprint: str
    text: str
    expires_at: datetime | None  # None: never

    @property
    def body(self) -> str:
        """Type and key without the comment."""
        return " ".join(self.text.split()[:2])

    @property
    def is_ours(self) -> bool:
        """Whether `skfleet ssh setup` made it."""
        return self.text.split()[2:] == [COMMENT]


@dataclass(frozen=True, slots=True)
class Profile:
    """A login profile: the user name on VMs (empty where there is none) and the keys."""

    user: str
    keys: list[Key] = field(default_factory=list)

    def find(self, public: str) -> Key | None:
        """The key with this public half."""
        body = " ".join(public.split()[:2])
        return next((key for key in self.keys if key.body == body), None)


class OsLogin:
    """The profile of one account, for the VMs of one project."""

    def __init__(self, cloud: Cloud, account: str, project: str) -> None:
        self._cloud = cloud
        self._account = account
        self._project = project
        self._user = f"users/{path(account)}"

    def profile(self) -> Profile:
        """users.getLoginProfile; empty where the account never logged in."""
        try:
            answer = self._cloud.get(
                "oslogin", f"{self._user}/loginProfile", projectId=self._project
            )
        except NotThere:
            return Profile("")
        except CallFailed as error:
            raise self._failed("read the login profile", error) from None
        return parse_profile(answer)

    def register(self, public: str, expires_at: datetime) -> Profile:
        """users.importSshPublicKey; where the profile is full, after our expired keys are gone."""
        try:
            return self._register(public, expires_at)
        except CallFailed as error:
            if _TOO_LARGE not in error.message:
                raise self._failed("register the key", error) from None
        now = datetime.now(UTC)
        for key in self.profile().keys:
            if key.is_ours and key.expires_at is not None and key.expires_at <= now:
                self.delete(key.fingerprint)
        try:
            return self._register(public, expires_at)
        except CallFailed as error:
            raise self._failed("register the key", error) from None

    def delete(self, fingerprint: str) -> None:
        """users.sshPublicKeys.delete; a key that is gone is no failure."""
        try:
            self._cloud.delete("oslogin", f"{self._user}/sshPublicKeys/{path(fingerprint)}")
        except NotThere:
            return
        except CallFailed as error:
            raise self._failed("delete the key", error) from None

    def _register(self, public: str, expires_at: datetime) -> Profile:
        body = {"key": public, "expirationTimeUsec": str(int(expires_at.timestamp() * 1_000_000))}
        answer = self._cloud.post(
            "oslogin", f"{self._user}:importSshPublicKey", body, projectId=self._project
        )
        return parse_profile(answer.get("loginProfile", {}))

    def _failed(self, what: str, error: CallFailed) -> OsLoginFailed:
        hint = "Try again."
        if isinstance(error, ApiOff):
            hint = f"gcloud services enable oslogin.googleapis.com --project={self._project}"
        elif _TOO_LARGE in error.message:
            hint = (
                "Remove keys that nobody needs: gcloud compute os-login ssh-keys list; "
                "gcloud compute os-login ssh-keys remove --key=FINGERPRINT."
            )
        elif "quota project" in error.message:
            hint = f"gcloud auth application-default set-quota-project {self._project}"
        elif isinstance(error, NotAllowed):
            hint = (
                "An account manages its own profile alone; one from outside the organisation needs "
                "roles/compute.osLoginExternalUser there. `skfleet doctor` shows what else is missing."
            )
        return OsLoginFailed(
            f"OS Login did not {what} of {self._account}: {error.message}",
            where=error.where,
            hint=hint,
        )


def parse_profile(answer: dict[str, Any]) -> Profile:
    """A LoginProfile as the API answers it."""
    accounts = [
        account
        for account in answer.get("posixAccounts", [])
        if account.get("operatingSystemType", "LINUX") != "WINDOWS" and account.get("username")
    ]
    accounts.sort(key=lambda account: not account.get("primary"))
    keys = [
        Key(
            fingerprint=str(fingerprint),
            text=str(item.get("key", "")),
            expires_at=_time(item.get("expirationTimeUsec")),
        )
        for fingerprint, item in answer.get("sshPublicKeys", {}).items()
    ]
    return Profile(str(accounts[0]["username"]) if accounts else "", keys)


def find_account(credentials: Any, cloud: Cloud) -> str:
    """The e-mail address that OS Login knows these credentials by; raises ConfigurationError."""
    email = getattr(credentials, "service_account_email", None)
    if email == "default":  # a VM's own, before its first token
        try:
            credentials.refresh(google.auth.transport.requests.Request())
        except google.auth.exceptions.GoogleAuthError as error:
            raise ConfigurationError(
                f"The credentials are refused: {error}.", where="GOOGLE_APPLICATION_CREDENTIALS"
            ) from None
        email = credentials.service_account_email
    if email:
        return str(email)
    if isinstance(credentials, google.oauth2.credentials.Credentials):
        try:
            if email := cloud.get("oauth2", "userinfo").get("email"):
                return str(email)
            reason = "they do not name an e-mail address"
        except CallFailed as error:
            reason = error.message.rstrip(".")
        raise ConfigurationError(
            f"It is not known whose credentials these are: {reason}.",
            where="GOOGLE_APPLICATION_CREDENTIALS",
            hint="gcloud auth application-default login",
        )
    raise ConfigurationError(
        "OS Login takes keys of people and service accounts, and these credentials are neither's.",
        where="GOOGLE_APPLICATION_CREDENTIALS",
        hint="Let the workload impersonate a service account (google-github-actions/auth: service_account).",
    )


def _time(usec: Any) -> datetime | None:
    return datetime.fromtimestamp(int(usec) / 1_000_000, UTC) if usec else None
