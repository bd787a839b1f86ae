"""The demo's hands: the commands a user would type, against a run directory of the demo's own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from skfleet.errors import SkfleetError
from skfleet.polling import wait_until
from skfleet_local import status
from skfleet_local.demo.report import Report
from skfleet_local.run import Run


def serves(vm: dict[str, Any], release: str) -> bool:
    """Whether a VM is ready on the release and gets traffic: load balancers see it a little later."""
    return bool(
        vm["readyz"] == "200"
        and vm["release"] == release
        and vm["external"] == vm["internal"] == "HEALTHY"
    )


class CommandFailed(SkfleetError):
    """A command of the demo ended with an error."""


@dataclass
class Fleet:
    """One local fleet and the operator's environment for it."""

    run: Run
    repository: Path
    report: Report

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, with what `skfleet-local env` exports."""
        environment = {**os.environ, "SKFLEET_RUN_DIR": str(self.run.root)}
        if self.run.client_env.exists():
            for line in self.run.client_env.read_text().splitlines():
                name, equals, value = line.removeprefix("export ").partition("=")
                if equals and not name.startswith("#"):
                    environment[name] = shlex.split(value)[0] if value else ""
        return environment

    def command(
        self,
        *arguments: str,
        show: bool = True,
        stream: bool = False,
        environment: dict[str, str] | None = None,
    ) -> str:
        """Run a command of this environment and return its output; CommandFailed if it fails."""
        if show:
            self.report.say("    $ " + shlex.join(arguments)[:110])
        program = str(Path(sys.executable).parent / arguments[0])
        result = subprocess.run(
            [program, *arguments[1:]],
            env=environment or self.environment,
            cwd=self.repository,
            stdout=None if stream else subprocess.PIPE,
            stderr=None if stream else subprocess.PIPE,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise CommandFailed(
                f"`{shlex.join(arguments)}` ended with {result.returncode}.",
                where=str(self.run.root),
                hint=(result.stderr or "See above.").strip()[-3000:],
            )
        return (result.stdout or "").strip()

    def status(self) -> list[dict[str, Any]]:
        """The VMs as `skfleet-local status --json` tells, but for their memory.

        Without the command: who looks twice a second with it takes most of a processor from the fleet.
        """
        return status.vms(self.run)

    def wait(
        self, what: str, condition: Callable[[list[dict[str, Any]]], bool], seconds: float
    ) -> bool:
        """Look until the condition holds for the VMs; False after `seconds`."""
        seen: list[dict[str, Any]] = []

        def holds() -> bool:
            seen[:] = self.status()
            return condition(seen)

        try:
            return wait_until(holds, seconds, what, interval_s=0.5)
        except TimeoutError as late:
            self.report.say(f"    {late}")
            for vm in seen:
                self.report.say("      " + json.dumps(vm)[:300])
            return False
