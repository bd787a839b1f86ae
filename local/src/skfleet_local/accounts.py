"""Who there is in the project, and what each may do: the local fleet's IAM.

Accounts are service accounts with a key file each, apart from the VMs' own, which has no key and is
had from the metadata server. The bucket's rights are the table of the design.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from skfleet import documents

PROJECT = "skfleet-local"
PROJECT_NUMBER = 734250911862

# Not Google's domain: google-auth looks service accounts of that domain up at Google's own address.
_DOMAIN = f"{PROJECT}.iam.skfleet.test"


@dataclass(frozen=True, slots=True)
class Account:
    """What one account may do. Patterns match whole object names."""

    name: str
    reads_objects: bool = False
    creates_bucket: bool = False
    # Objects it may make but never replace: no permission to delete.
    creates: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    compute: bool = False  # the Compute API, reading and writing
    passes_iap: bool = False
    has_key: bool = True

    @property
    def email(self) -> str:
        """Its address."""
        return f"{self.name}@{_DOMAIN}"

    @property
    def subject(self) -> str:
        """Its number, as `sub` of its tokens."""
        digest = documents.sha256(self.email.encode())
        return "1" + str(int(digest, 16))[:20]

    def may_create(self, name: str) -> bool:
        """Whether it may make this object where there is none."""
        return any(re.fullmatch(pattern, name) for pattern in (*self.creates, *self.replaces))

    def may_replace(self, name: str) -> bool:
        """Whether it may overwrite this object."""
        return any(re.fullmatch(pattern, name) for pattern in self.replaces)


_ARTEFACTS = ("models/.+", "builds/.+", "bundles/.+")
_LATEST = ("models/[^/]+/latest[.]json",)
_RELEASES = ("releases/[^/]+[.]json([.]sig)?",)  # a signature lies beside what it signs
_ROLLOUTS = ("fleets/[^/]+/(desired|lock)[.]json", "fleets/[^/]+/rollouts/.+")

ACCOUNTS = {
    account.name: account
    for account in (
        Account(
            "publisher", reads_objects=True, creates=(*_ARTEFACTS, *_RELEASES), replaces=_LATEST
        ),
        Account(
            "deployer", reads_objects=True, creates=_RELEASES, replaces=_ROLLOUTS, compute=True
        ),
        # The person at this machine: publishes, deploys and calls.
        Account(
            "operator",
            reads_objects=True,
            creates=(*_ARTEFACTS, *_RELEASES),
            replaces=(*_LATEST, *_ROLLOUTS),
            compute=True,
            passes_iap=True,
        ),
        Account(
            "terraform",
            reads_objects=True,
            creates_bucket=True,
            replaces=("fleets/[^/]+/environment[.]json",),
            compute=True,
        ),
        Account("fleet", reads_objects=True, has_key=False),
        # Load generators: theirs comes from the metadata server too.
        Account("loadgen", passes_iap=True, has_key=False),
        Account("caller"),
        Account("user", passes_iap=True),
        Account("tester", passes_iap=True),
        Account("stranger"),
    )
}
FLEET = ACCOUNTS["fleet"]
# Who may call the internal listener.
CALLERS = ("caller", "operator", "fleet", "loadgen")

BY_EMAIL = {account.email: account for account in ACCOUNTS.values()}

# The OAuth client of IAP, and the audience of the fleet's own ID tokens.
IAP_CLIENT_ID = f"{PROJECT_NUMBER}-skfleet.apps.skfleet.test"
INTERNAL_AUDIENCE = "https://skfleet.internal"
