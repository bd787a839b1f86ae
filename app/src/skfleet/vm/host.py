"""What this host is: its paths, the environment of its programs, and what its image can run.

`<host directory>/host.yml` says where things are, `host.env` where the cloud is. Everything else is
derived here, so that no other file joins a path or spells out a default.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skfleet.errors import ConfigurationError
from skfleet.settings import Settings
from skfleet.vm import fallback

DEFAULT_DIRECTORY = Path("/etc/skfleet")
# What an image promises to releases: the paths of docs/architecture.md and the programs behind them.
IMAGE_CONTRACTS = frozenset({1})

_VARIABLES = {
    "skfleet_prefix": str,
    "skfleet_become": bool,
    "skfleet_service_manager": str,
    "skfleet_bind_address": str,
    "skfleet_loopback_address": str,
}
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Host:
    """One host, as its image or its maker described it."""

    directory: Path
    prefix: Path
    variables: Mapping[str, Any]
    extra_environment: Mapping[str, str]

    @classmethod
    def read(cls, directory: Path = DEFAULT_DIRECTORY) -> Host:
        """Read host.yml and host.env; raises ConfigurationError naming file and variable."""
        import yaml  # Ansible brings it; a build that only serves has none

        file = directory / "host.yml"
        try:
            variables = yaml.safe_load(file.read_text())
        except OSError as error:
            raise ConfigurationError(
                f"This host does not say what it is: {error.strerror}.",
                where=str(file),
                hint="The image writes it; --host-dir names another directory.",
            ) from None
        except yaml.YAMLError as error:
            raise ConfigurationError(f"Not valid YAML: {error}.", where=str(file)) from None
        for name, kind in _VARIABLES.items():
            if not isinstance(variables, dict) or not isinstance(variables.get(name), kind):
                raise ConfigurationError(
                    f"'{name}' is missing or is no {kind.__name__}.",
                    where=str(file),
                    hint="It needs: " + ", ".join(_VARIABLES) + ".",
                )
        return cls(
            directory=directory,
            prefix=Path(variables["skfleet_prefix"] or "/"),
            variables=variables,
            extra_environment=read_environment(directory / "host.env"),
        )

    @property
    def variables_file(self) -> Path:
        """The variables of the roles."""
        return self.directory / "host.yml"

    @property
    def runtime(self) -> Path:
        """The image's own environment."""
        return self.prefix / "opt/skfleet/runtime"

    @property
    def image_bundle(self) -> Path:
        """The roles the image was made of; there where a host is not fully made by its image."""
        return self.runtime / "share/skfleet/bundle.tar"

    @property
    def fallback(self) -> Path:
        """What to serve without the bucket; there where the image was made so."""
        return self.prefix / "opt/skfleet" / fallback.NAME

    @property
    def cache(self) -> Path:
        """Verified artefacts by digest."""
        return self.prefix / "var/lib/skfleet/cache"

    @property
    def identity(self) -> Path:
        """Who may call, and the identity providers' keys."""
        return self.prefix / "var/lib/skfleet/identity"

    @property
    def trusted_keys(self) -> Path:
        """Public keys of those who may sign what this host takes."""
        return self.directory / "trusted-keys"

    @property
    def run(self) -> Path:
        """State that a reboot ends."""
        return self.prefix / "run/skfleet"

    @property
    def work(self) -> Path:
        """Ansible's own temporary files."""
        return self.prefix / "var/lib/skfleet/ansible"

    def release_directory(self, release: str) -> Path:
        """Where a release is installed."""
        return self.prefix / "opt/skfleet/releases" / release

    def current(self) -> Path | None:
        """The directory of the release this host serves, if one was ever activated."""
        link = self.prefix / "opt/skfleet/current"
        # Resolved, so that a program started from it keeps its files when the link moves on.
        return link.resolve() if (link / "release.json").is_file() else None

    def environment(self) -> dict[str, str]:
        """The whole environment of a program of this host; nothing of the caller's leaks in."""
        return {
            "PATH": f"{self.runtime / 'bin'}:{_SYSTEM_PATH}",
            "HOME": str(self.prefix / "var/lib/skfleet"),
            "LANG": "C.UTF-8",
            "SKFLEET_BIND_ADDRESS": str(self.variables["skfleet_bind_address"]),
            "SKFLEET_LOOPBACK_ADDRESS": str(self.variables["skfleet_loopback_address"]),
            "SKFLEET_IDENTITY_DIR": str(self.identity),
            "SKFLEET_RUN_DIR": str(self.run),
            "SKFLEET_CACHE_DIR": str(self.cache),
            "SKFLEET_TRUSTED_KEYS": str(self.trusted_keys),
            # A service of a host is ready only for the release the host says it converged to.
            "SKFLEET_REQUIRE_CONVERGED": "true",
            **self.extra_environment,
        }

    def enter(self) -> Settings:
        """Make the host's environment this process's own, and read the settings from it.

        google-auth reads the metadata server's address when it is imported: enter first.
        """
        environment = self.environment()
        os.environ.update(environment)
        return Settings.from_environ(environment)


def checked_environment(values: Mapping[str, str]) -> dict[str, str]:
    """`values`, which a file of `NAME=value` lines can hold; raises ConfigurationError for others.

    A line break of any kind in a value would be another variable to whoever reads the file.
    """
    for name, value in values.items():
        if not value.isprintable() or value != value.strip():
            raise ConfigurationError(
                f"Invalid {name} {value!r}: expected one line of printable characters, without blanks "
                "around it.",
                hint="Create the release again.",
            )
    return dict(values)


def read_environment(file: Path) -> dict[str, str]:
    """`NAME=value` lines, as they are; no file is no variables. Raises ConfigurationError."""
    result: dict[str, str] = {}
    if not file.exists():
        return result
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise ConfigurationError(
                f"Line {number} is not NAME=value.",
                where=str(file),
                hint="One variable a line, no quotes, no export.",
            )
        result[name] = value
    return result
