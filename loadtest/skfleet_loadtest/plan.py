"""What a run asks for, each thing declared once: Locust's command line and web form are made from it.

The leader hands the plan to its workers. What belongs to a host instead (where its flights and its
certificate authority are, who it is) comes from that host's environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_type_hints

from skfleet.errors import ConfigurationError
from skfleet_loadtest import profiles

FLIGHTS_VARIABLE = "SKFLEET_LOADTEST_FLIGHTS"
CA_VARIABLE = "SKFLEET_CA_FILE"


def asked(default: Any, meaning: str, choices: tuple[str, ...] = ()) -> Any:
    """One declared option."""
    return field(default=default, metadata={"meaning": meaning, "choices": choices})


@dataclass(frozen=True, slots=True)
class Plan:
    """One run, parsed. Zero of `rate` and `duration` means the profile's own."""

    run: str = asked("", "name of the run: its results are in RESULTS/<run>")
    results: str = asked("loadtest/results", "where results are kept")
    load_profile: str = asked("constant", "shape of the load", tuple(profiles.DEFAULTS))
    rate: int = asked(0, "requests a second at the profile's peak; 0: the profile's own")
    duration: int = asked(0, "seconds after the warm-up; 0: the profile's own")
    warm_up: int = asked(10, "seconds at the profile's first rate that are left out")
    arrivals: str = asked("poisson", "independent callers, or a metronome", ("poisson", "constant"))
    seed: int = asked(2013, "of arrivals and of the choice of flights")
    url: str = asked("", "address of the load balancer, or of one VM's listener")
    token: str = asked("none", "what callers show", ("none", "id-token", "signed-jwt"))
    audience: str = asked("", "of ID tokens: IAP's client id, or the fleet's own")
    workers: int = asked(1, "worker processes that must take part from first to last")
    slots: int = asked(0, "requests in flight a worker at most; 0: all that are due in one timeout")
    vms: int = asked(0, "VMs behind the address; PROFILE=steps needs it for the capacity of N")
    canary: str = asked("", "release that is also judged by itself")
    abort: str = asked("burn", "end a run whose budget burns", ("burn", "never"))
    baseline: str = asked("", "run to compare with")
    events: str = asked("", "file of JSON lines: rollout steps, VMs (for the report)")

    @property
    def profile(self) -> profiles.Profile:
        """The shape, with the defaults filled in."""
        default = profiles.DEFAULTS.get(self.load_profile)
        return profiles.make(
            self.load_profile,
            self.rate or (default.rate if default else 0),
            self.duration or (default.duration_s if default else 0),
        )

    def slots_a_worker(self, timeout_s: float) -> int:
        """Enough that a fleet that answers nothing fills no pool before requests time out."""
        if self.slots:
            return self.slots
        share = self.profile.peak / max(self.workers, 1)
        return min(max(64, int(share * timeout_s * 1.25)), 10_000)

    def arguments(self) -> list[str]:
        """As Locust's command line."""
        return [
            part
            for item in fields(self)
            for part in (option(item.name), str(getattr(self, item.name)))
            if getattr(self, item.name) != item.default
        ]

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Plan:
        """From Locust's parsed options, where other options may stand too."""
        types = get_type_hints(cls)
        return cls(
            **{
                item.name: types[item.name](values[item.name])
                for item in fields(cls)
                if values.get(item.name) not in (None, "")
            }
        )


def option(name: str) -> str:
    """`warm_up` → `--warm-up`."""
    return "--" + name.replace("_", "-")


def declare(parser: Any) -> None:
    """Add every option to Locust's parser."""
    types = get_type_hints(Plan)
    for item in fields(Plan):
        parser.add_argument(
            option(item.name),
            type=types[item.name],
            default=item.default,
            choices=item.metadata["choices"] or None,
            help=f"{item.metadata['meaning']} (default: {item.default or 'none'})",
            include_in_web_ui=item.name not in ("run", "results", "baseline", "workers"),
        )


def host_file(variable: str, required: bool = True) -> Path | None:
    """A file that this host's environment names."""
    value = os.environ.get(variable, "")
    if not value:
        if required:
            raise ConfigurationError(
                "This host does not say where its file is.",
                where=variable,
                hint="`make loadtest` and the role `locust` set it.",
            )
        return None
    return Path(value)
