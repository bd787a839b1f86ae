"""Every failure has one name, one meaning and one shape: what, where, how to mend it.

`SkfleetError` is the root. Commands print it and end with `exit_code`; the service answers it with
the status of `serving.errors`. A message is one sentence for a person; `where` names the object, field
or setting; `hint` says what to do next.
"""

from __future__ import annotations


class SkfleetError(Exception):
    """A failure that a user can act on."""

    exit_code = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = self.message
        if self.where:
            text += f" [{self.where}]"
        if self.hint:
            text += f"\n  hint: {self.hint}"
        return text


class ConfigurationError(SkfleetError):
    """A setting or file of the host is missing or out of range; nothing was started."""

    exit_code = 2


class DocumentError(SkfleetError):
    """A document (release, manifest, desired, environment) does not have the published form."""


class IntegrityError(SkfleetError):
    """Bytes are not what their document says: checksum, generation, size or golden vectors."""


class ObjectMissing(SkfleetError):
    """The bucket has no such object, or not in that generation."""


class ObjectExists(SkfleetError):
    """A create-only object is there already, with other bytes."""


class LostRace(SkfleetError):
    """Somebody else changed a compare-and-swap object first; nothing was written."""


class StoreUnavailable(SkfleetError):
    """The bucket cannot be reached or refuses the caller; worth trying again later."""

    exit_code = 3


class VersionMismatch(SkfleetError):
    """An artefact was made for another version of Python or of a library."""


class Refused(SkfleetError):
    """A command will not do what it can: it might harm what is not its own."""

    exit_code = 4
