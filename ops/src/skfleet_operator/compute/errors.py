"""What Compute Engine refuses, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skfleet.errors import SkfleetError
from skfleet_operator.google_rest import CallFailed, CredentialsRefused, Unavailable, reasons


class ComputeRefused(SkfleetError):
    """The API answered with an error, or cannot be reached."""


class ComputeUnavailable(ComputeRefused):
    """The API cannot be reached, or is overloaded; worth trying again later."""

    exit_code = 3


class ComputeForbidden(ComputeRefused):
    """The caller may not do this."""


class ComputeMissing(ComputeRefused):
    """The resource does not exist."""


class FingerprintChanged(ComputeRefused):
    """Somebody else changed the resource since it was read; nothing was written."""


class QuotaExceeded(ComputeRefused):
    """The project may have no more of this in the region."""


class Stockout(ComputeRefused):
    """The zone has no such machines to give now."""


class DeadlinePassed(ComputeRefused):
    """What was begun is not done in time; it goes on."""


_HINTS: dict[type[ComputeRefused], str] = {
    ComputeForbidden: "`skfleet doctor` says which permission is missing, and to whom.",
    ComputeMissing: "Compare the names with `terraform output -json ansible`.",
    FingerprintChanged: "Look at what changed, and start again.",
    QuotaExceeded: "Ask for more of this quota, or make room; the VMs that are there keep serving.",
    Stockout: "Another zone or machine type may have some; the group goes on trying by itself.",
    ComputeUnavailable: "Try again later.",
}
_BY_CODE: dict[str, type[ComputeRefused]] = {
    "QUOTA_EXCEEDED": QuotaExceeded,
    "ZONE_RESOURCE_POOL_EXHAUSTED": Stockout,
    "ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS": Stockout,
}
_BY_STATUS: dict[int, type[ComputeRefused]] = {
    401: ComputeForbidden,
    403: ComputeForbidden,
    404: ComputeMissing,
    412: FingerprintChanged,
}


def of_call(failed: CallFailed) -> ComputeRefused:
    """The failure that a call met, by name. Quotas, also those of calls a minute, come with 403."""
    kind = _BY_STATUS.get(failed.status, ComputeRefused)
    if "quotaExceeded" in reasons(failed.error):
        kind = QuotaExceeded
    elif isinstance(failed, Unavailable):
        kind = ComputeUnavailable
    elif isinstance(failed, CredentialsRefused):
        kind = ComputeForbidden
    message = str(failed.error.get("message") or failed.message)
    return kind(_sentence(message), where=failed.where, hint=failed.hint or _HINTS.get(kind, ""))


def of_errors(errors: Sequence[Mapping[str, Any]], where: str) -> ComputeRefused:
    """The failure that an operation's or an instance's `errors` state; the first known code names it."""
    codes = [str(item.get("code", "")) for item in errors]
    kind = next((_BY_CODE[code] for code in codes if code in _BY_CODE), ComputeRefused)
    sentences = (_sentence(str(item.get("message") or item.get("code"))) for item in errors)
    words = " ".join(dict.fromkeys(sentences))  # many VMs may say the same
    return kind(words, where=where, hint=_HINTS.get(kind, ""))


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."
