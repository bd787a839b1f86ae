"""The replay itself: the fleet as it was before, the playbook again, the record's mishaps on the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from skfleet import documents
from skfleet.ansible_data import unsafe_yaml
from skfleet.artifacts.store import Store
from skfleet.errors import ObjectMissing
from skfleet.polling import wait_until
from skfleet_operator.releases import operations
from skfleet_operator.replay.record import (
    NotReplayable,
    cast,
    differences,
    mishaps,
    options,
    readable,
    settings_between,
    went_on,
)
from skfleet_operator.rollouts.evidence import Evidence

REST_S = 300.0
PLUGINS = Path(__file__).parent / "callback"
Say = Callable[[str], None]


class Fleet(Protocol):
    """The fleet that a rollout is replayed on."""

    directory: Path  # of its run
    bucket: str  # gs://BUCKET
    name: str
    environment: Mapping[str, str]  # of its clients

    def vms(self) -> Sequence[Mapping[str, Any]]:
        """Its VMs: `name`, `zone`, `action`, and the health that each load balancer sees."""


@dataclass
class Replay:
    """One replay on a running fleet. `releases`: recorded id → the one that stands for it here."""

    fleet: Fleet
    repository: Path
    record: Evidence
    seed: int
    say: Say
    releases: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> list[str]:
        """What came out differently; NotReplayable where it cannot be tried."""
        record = self.record
        readable(record)
        options(record)  # before anything is done
        os.environ.update(self.fleet.environment)
        before, target = self._releases()
        planned = [vm for batch in record.plan["batches"] for vm in batch["vms"]]
        self._rest(len(planned))
        if self._desired() != before:
            self.say(f"first     back to '{before}', which stands for '{record.before}'")
            self._playbook(before, {"rollout_soak_s": 1}, {})
            self._rest(len(planned))
        if self._desired() != before:
            raise NotReplayable(f"The fleet cannot be brought to '{before}'.", where=record.id)
        names = cast(record, self.fleet.vms())
        for theirs, ours in names.items():
            self.say(f"cast      {theirs} is {ours}")
        self._predecessors(target)
        lost = mishaps(record, names, self.seed)
        for mishap in lost:
            self.say(f"mishap    {mishap.vm} is lost at {mishap.step}")
        with_options = {**options(record), "rollout_reason": f"replay of {record.id}"}
        played = self._playbook(target, with_options, self._injection(lost))
        if played is None:
            raise NotReplayable("The replay left no evidence.", where=str(self._evidence))
        said = differences(record, played, names)
        wanted = target if record.verdict == "rolled-out" else before
        if self._desired() != wanted:
            said.append(f"The desired release should be '{wanted}', and is '{self._desired()}'.")
        return said

    @property
    def _evidence(self) -> Path:
        return self.fleet.directory / "replay"

    # Before

    def _store(self) -> Store:
        return Store(self.fleet.environment["SKFLEET_STORAGE_ENDPOINT"])

    def _desired(self) -> str:
        there = operations.read_desired(self._store(), self.fleet.bucket, self.fleet.name)
        return there[0].current.release if there else ""

    def _releases(self) -> tuple[str, str]:
        """The releases that stand for the recorded ones, made where only settings differ."""
        record = self.record
        ids = (record.before, record.release)
        known = [self.releases.get(name) or self._same(name) for name in ids]
        if known[0] and known[1]:
            return known[0], known[1]
        if known[1]:
            raise NotReplayable(
                f"Nothing here stands for the release before, '{record.before}'.",
                where=record.id,
                hint=f"--as {record.before}=ID",
            )
        changed = settings_between(record)
        before = known[0] or self._desired()
        made = f"replay-{record.id}-{before}"[:63].rstrip("-.")
        options = [f"--set={name}={json.dumps(value)}" for name, value in changed.items()]
        if not self._exists(made):
            command = [sys.executable, "-m", "skfleet_operator.cli", "release", "create"]
            done = subprocess.run(
                [*command, "--from", before, "--id", made, *options],
                env={**os.environ, **self.fleet.environment},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                raise NotReplayable(done.stderr.strip(), where=made)
        self.say(f"release   '{made}' stands for '{record.release}'")
        return before, made

    def _exists(self, name: str) -> bool:
        try:
            operations.load(self._store(), self.fleet.bucket, name)
        except ObjectMissing:
            return False
        return True

    def _same(self, name: str) -> str:
        """This id, if the bucket's release of it is the recorded one."""
        recorded = {
            item["id"]: item
            for item in (self.record.plan.get("desired"), self.record.plan["target"])
            if item
        }.get(name)
        if recorded is None or not self._exists(name):
            return ""
        here, _ = operations.load(self._store(), self.fleet.bucket, name)
        found = json.loads(documents.write(here))
        return name if all(found.get(key) == value for key, value in recorded.items()) else ""

    def _rest(self, vms: int) -> None:
        """Exactly as many VMs as the record has, all of them serving."""
        found: list[Mapping[str, Any]] = []

        def is_stable() -> bool:
            found[:] = self.fleet.vms()
            ready = [vm for vm in found if vm["external"] == vm["internal"] == "HEALTHY"]
            return len(found) == len(ready) == vms and all(vm["action"] == "NONE" for vm in found)

        try:
            wait_until(is_stable, REST_S, f"the record's {vms} VMs", interval_s=0.5)
        except TimeoutError:
            raise NotReplayable(
                f"The record wants {vms} VMs that serve; after {REST_S:.0f} s there are {len(found)}.",
                where=str(self.fleet.directory),
                hint=f"`skfleet-local scale {vms}`; `skfleet-local status` says what ails them.",
            ) from None

    # Doing

    def _predecessors(self, target: str) -> None:
        """Controllers that died before the record's own began."""
        for dead in self.record.predecessors:
            if not dead.events:
                raise NotReplayable(
                    f"Run {dead.run} died before this one, and how far it came is not recorded.",
                    where=self.record.id,
                )
            self.say(f"mishap    a controller is killed after {dead.host or 'itself'}: {dead.step}")
            # What it had begun was done without it: the same comes of a controller that dies when it is done.
            events = dead.events + went_on(self.record, dead)
            self._playbook(target, options(self.record), {"kill_after": events})

    def _injection(self, lost: Sequence[Any]) -> dict[str, Any]:
        return {"lose": [{**asdict(item), "file": str(self._cut / item.vm)} for item in lost]}

    @property
    def _cut(self) -> Path:
        return self._evidence / "cut"

    def _inventory(self) -> Path:
        """Beside the fleet's: a VM that has a file there cannot be reached."""
        (self._cut / "group_vars").mkdir(parents=True, exist_ok=True)
        for path in self._cut.glob("*-*"):
            path.unlink()
        (self._cut / "hosts.yml").write_text("fleet: {}\n")
        lost = f"('{self._cut}/' ~ inventory_hostname) is exists"
        (self._cut / "group_vars/fleet.yml").write_text(
            f"""ansible_connection: "{{{{ 'ssh' if {lost} else 'local' }}}}"\n"""
            "ansible_port: 1 # nobody listens there\n"
        )
        return self._cut / "hosts.yml"

    def _playbook(
        self, release: str, chosen: Mapping[str, Any], injection: Mapping[str, Any]
    ) -> Evidence | None:
        """rollout.yml; the evidence that it wrote, None where it was killed."""
        variables = {
            **chosen,
            "release": release,
            "rollout_evidence_directory": str(self._evidence),
        }
        file = self._evidence / "variables.yml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(unsafe_yaml(variables))
        there = set(self._evidence.glob("*.json"))
        plugins = f"{self.repository}/playbooks/callback_plugins:{PLUGINS}"
        binaries = str(Path(sys.executable).parent)
        done = subprocess.run(
            [
                f"{binaries}/ansible-playbook",
                *("-i", "inventories/local", "-i", str(self._inventory())),
                *("playbooks/rollout.yml", "-e", f"@{file}"),
            ],
            cwd=self.repository,
            env={
                **os.environ,
                **self.fleet.environment,
                "PATH": f"{binaries}:{os.environ.get('PATH', os.defpath)}",
                "ANSIBLE_CALLBACK_PLUGINS": plugins,
                "SKFLEET_INJECT": json.dumps(injection),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        (self._evidence / "output").write_text(done.stdout + done.stderr)
        written = sorted(set(self._evidence.glob("*.json")) - there)
        self.say(f"playbook  ended with {done.returncode} ({self._evidence}/output)")
        if not written:
            return None
        return documents.read(Evidence, written[-1].read_bytes(), where=str(written[-1]))
