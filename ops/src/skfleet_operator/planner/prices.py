"""The price table, which the user gives: prices are the provider's, change, and differ by contract.

schema_version: 1
currency: USD
vms:                          # by machine type
  e2-standard-2:
    per_hour: 0.10            # one VM, its disk and its share of addresses included
    vcpus: 2
fleet_per_hour: 0.05          # whatever the fleet's size: load balancers, NAT
per_million_requests: 0.20    # what every request costs: data processing, logs
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from skfleet.documents import READABLE_VERSIONS
from skfleet.errors import ConfigurationError

Price = Annotated[float, msgspec.Meta(ge=0)]
_HINT = "docs/planning.md shows a whole table."


class VmPrice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One machine type."""

    per_hour: Price
    vcpus: Annotated[int, msgspec.Meta(ge=1)]


class Prices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The table."""

    schema_version: int
    currency: Annotated[str, msgspec.Meta(min_length=1)]
    vms: Annotated[dict[str, VmPrice], msgspec.Meta(min_length=1)]
    fleet_per_hour: Price = 0.0
    per_million_requests: Price = 0.0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What the simulated day costs."""

    currency: str
    machine_type: str
    day: float
    per_million: float  # predictions


def read(path: Path) -> Prices:
    """The table of a YAML or JSON file. Raises ConfigurationError that names the field."""
    try:
        prices = msgspec.yaml.decode(path.read_bytes(), type=Prices)
    except OSError as error:
        raise ConfigurationError(
            f"The price table cannot be read: {error.strerror}.", where=str(path), hint=_HINT
        ) from None
    except msgspec.MsgspecError as error:  # a ValidationError says where
        raise ConfigurationError(
            f"Not a price table: {error}.", where=str(path), hint=_HINT
        ) from None
    if prices.schema_version not in READABLE_VERSIONS:
        raise ConfigurationError(
            f"Schema version {prices.schema_version} of price tables is not known here.",
            where=str(path),
            hint=_HINT,
        )
    return prices


def choose(vms: Mapping[str, VmPrice], machine_type: str, where: str) -> tuple[str, VmPrice]:
    """The machine type of this name, or the only one. Raises ConfigurationError."""
    if not machine_type and len(vms) == 1:
        machine_type = next(iter(vms))
    if machine_type not in vms:
        what = f"no price of '{machine_type}'" if machine_type else "more than one machine type"
        raise ConfigurationError(
            f"The price table has {what}.",
            where=f"{where}: vms",
            hint=f"--machine-type {' or '.join(vms)}.",
        )
    return machine_type, vms[machine_type]


def same_vcpus(machine_type: str, price: VmPrice, vcpus: int) -> None:
    """Raises ConfigurationError for a machine type other than the measured one's size."""
    if price.vcpus != vcpus:
        raise ConfigurationError(
            f"{machine_type} has {price.vcpus} vCPUs, the measured VMs had {vcpus}.",
            where="--machine-type",
            hint="Measure a VM of that type, or say --vcpus where the measured VMs had so many.",
        )


def cost(prices: Prices, machine_type: str, vm_hours: float, requests: float) -> Cost:
    """Of one day."""
    day = (
        vm_hours * prices.vms[machine_type].per_hour
        + 24 * prices.fleet_per_hour
        + requests / 1e6 * prices.per_million_requests
    )
    return Cost(
        currency=prices.currency,
        machine_type=machine_type,
        day=day,
        per_million=day / requests * 1e6,
    )
