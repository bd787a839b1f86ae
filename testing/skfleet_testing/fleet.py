"""A real local fleet, releases good and bad, the playbooks as an operator runs them, and a witness."""

from __future__ import annotations

import fcntl
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from skfleet import declared
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet_local import processes
from skfleet_local.demo.fleet import Fleet as Shell
from skfleet_local.demo.fleet import serves
from skfleet_local.demo.report import Report
from skfleet_local.hosts.host import ssh
from skfleet_local.run import Run
from skfleet_operator.examples import flight_delay
from skfleet_operator.models.publish import write_artefact
from skfleet_operator.rollouts.evidence import read_events
from skfleet_testing import planted

REPOSITORY = Path(__file__).resolve().parents[2]
TESTS = REPOSITORY / "playbooks/tests"
# A rollout of the tests: short soaks, and no long wait for what never comes.
SHORT = {"rollout_soak_s": 3, "rollout_ready_s": 8, "rollout_settle_s": 120}
RATE = 200
# Molecule runs these tests on a fleet of real hosts, which it boots and ends itself.
INVENTORY = os.environ.get("SKFLEET_TEST_INVENTORY") or "inventories/local"
VMS = int(os.environ.get("SKFLEET_TEST_VMS") or 3)
STANDING = os.environ.get("SKFLEET_TEST_FLEET", "")
# `make test` keeps the fleet of its first run for the second, and ends it.
KEPT = os.environ.get("SKFLEET_TEST_KEEP_FLEET", "")
Case = TypeVar("Case")
ENOUGH = 6000  # requests: 99.95 % at 95 % confidence with no failure


@dataclass
class Result:
    """One run of a playbook."""

    code: int
    output: str
    evidence: dict[str, Any]
    seconds: float

    @property
    def words(self) -> str:
        """What the evidence says to a person."""
        return " ".join(self.evidence.get("words", []))


@dataclass
class Fleet:
    """A fleet, its releases by what they are, and the operator's hands."""

    shell: Shell
    directory: Path
    releases: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        environment = dict(self.shell.environment)
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        checkout = self.shell.repository
        packages = [] if checkout == REPOSITORY else ["app/src", "ops/src", "local/src"]
        environment["PYTHONPATH"] = ":".join(str(checkout / n) for n in ("loadtest", *packages))
        return environment

    def command(self, *arguments: str) -> str:
        return self.shell.command(*arguments, show=False, environment=self.environment)

    def playbook(
        self,
        name: str,
        *arguments: str,
        inventory: Path | None = None,
        env: Any = None,
        timeout_s: float = 540,
        **extra: Any,
    ) -> Result:
        """`ansible-playbook playbooks/NAME.yml -e …`; the evidence is the newest that it wrote."""
        evidence = self.directory / "evidence"
        before = set(evidence.glob("*.json"))
        variables = {**SHORT, "rollout_evidence_directory": str(evidence), **extra}
        began = time.monotonic()
        done = subprocess.run(
            [
                "ansible-playbook",
                *("-i", INVENTORY),
                *(("-i", str(inventory)) if inventory else ()),
                f"playbooks/{name}.yml",
                *("-e", json.dumps(variables)),
                *arguments,
            ],
            cwd=self.shell.repository,
            env={**self.environment, **(env or {})},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
        )
        written = sorted(set(evidence.glob("*.json")) - before)
        found = json.loads(written[-1].read_text()) if written else {}
        seconds = time.monotonic() - began
        return Result(done.returncode, done.stdout + done.stderr, found, seconds)

    def kill_at(self, task: int, name: str, **extra: Any) -> Result:
        """The same, its controller killed when that task begins."""
        plugins = f"{REPOSITORY}/playbooks/callback_plugins:{TESTS}/plugins"
        env = {"SKFLEET_KILL_AT": str(task), "ANSIBLE_CALLBACK_PLUGINS": plugins}
        return self.playbook(name, env=env, **extra)

    def kill_after(self, step: str, name: str, **extra: Any) -> Result:
        """The same, its controller killed in the middle of its first such step."""
        plugins = f"{REPOSITORY}/playbooks/callback_plugins:{TESTS}/plugins"
        env = {"SKFLEET_KILL_STEP": step, "ANSIBLE_CALLBACK_PLUGINS": plugins}
        return self.playbook(name, env=env, **extra)

    def tasks(self, name: str, *arguments: str, **extra: Any) -> tuple[Result, list[str]]:
        """A whole run, and the names of its tasks in the order in which they began."""
        log = self.directory / "tasks"
        log.unlink(missing_ok=True)
        plugins = f"{REPOSITORY}/playbooks/callback_plugins:{TESTS}/plugins"
        env = {"SKFLEET_TASKS": str(log), "ANSIBLE_CALLBACK_PLUGINS": plugins}
        result = self.playbook(name, *arguments, env=env, **extra)
        return result, log.read_text().splitlines()

    def document(self, name: str) -> dict[str, Any]:
        """A JSON object of the fleet in the bucket; empty where there is none."""
        from google.api_core.exceptions import NotFound

        try:
            found: dict[str, Any] = json.loads(self.object(f"fleets/local/{name}"))
        except NotFound:
            return {}
        return found

    def object(self, name: str) -> bytes:
        """An object of the bucket; raises NotFound."""
        data: bytes = self.bucket().blob(name).download_as_bytes()
        return data

    def bucket(self) -> Any:
        """The fleet's bucket as an operator."""
        from google.cloud import storage

        from skfleet_local import client
        from skfleet_local.accounts import ACCOUNTS, PROJECT
        from skfleet_local.client import BearerToken

        token = client.access_token(self.shell.run, ACCOUNTS["operator"])
        addresses = self.shell.run.require_state().addresses
        api = storage.Client(
            project=PROJECT,
            credentials=BearerToken(token),
            client_options={"api_endpoint": addresses.storage_url},
        )
        return api.bucket("skfleet-local")

    def compute(self) -> Any:
        """The Compute API as an operator."""
        from skfleet_local import client
        from skfleet_local.accounts import ACCOUNTS

        token = client.access_token(self.shell.run, ACCOUNTS["operator"])
        return client.Compute(self.shell.run.require_state().addresses, token)

    def autoscaler(self) -> tuple[str, int]:
        """(mode, minimum)"""
        from skfleet_local.compute.project import AUTOSCALER

        policy = self.compute().policy(AUTOSCALER)
        return str(policy["mode"]), int(policy["minNumReplicas"])

    def wait_until_serving(self, vms: int, seconds: float) -> None:
        """Until so many VMs, and no others, serve release `a`."""
        assert self.shell.wait(
            "a", lambda found: len(found) == vms and all(serves(vm, "a") for vm in found), seconds
        ), self.command("skfleet-local", "logs")

    def set_autoscaler(self, **policy: Any) -> None:
        """Fields of its policy, as published."""
        from skfleet_local.compute.project import AUTOSCALER

        self.compute().set_policy(AUTOSCALER, policy)

    def group(self) -> dict[str, Any]:
        """The group, as published."""
        from skfleet_local.compute.project import GROUP

        compute = self.compute()
        found: dict[str, Any] = compute.call("GET", compute.links.manager(GROUP))
        return found

    def templates(self) -> dict[str, str]:
        """VM → name of the template that it was made from."""
        compute, group = self.compute(), self.group()
        vms = compute.call("POST", f"{group['selfLink']}/listManagedInstances")["managedInstances"]
        return {
            vm["name"]: vm["version"]["instanceTemplate"].rpartition("/")[2]
            for vm in vms
            if vm["currentAction"] != "DELETING"
        }

    def events(self) -> list[dict[str, Any]]:
        """What the group did and why."""
        lines = self.shell.run.events_file.read_text().splitlines()
        return [json.loads(line) for line in lines]

    def marks(self) -> list[str]:
        """VMs that say they are draining."""
        return [vm["name"] for vm in self.shell.status() if "drain" in vm["why_not_ready"].lower()]

    def restart_service(self, vm: dict[str, Any]) -> None:
        """By its service manager, without a drain."""
        command = [
            *(str(Path(sys.executable).parent / "supervisorctl"), "-c"),
            str(self.shell.run.vms / vm["name"] / "etc/supervisor/supervisord.conf"),
            *("restart", "skfleet"),
        ]
        if self.layers:
            command = [*ssh(vm["address"]), "sudo", "systemctl", "restart", "skfleet.service"]
        subprocess.run(command, check=True, capture_output=True)

    def assert_at(self, release: str, minimum: int = VMS) -> None:
        """The whole fleet serves this release, it is desired, and nothing is left of any rollout."""
        assert self.shell.wait(
            release,
            lambda vms: (
                len(vms) >= minimum
                and all(serves(vm, release) for vm in vms if vm["action"] != "DELETING")
            ),
            90,
        ), self.command("skfleet-local", "status")
        assert self.document("desired.json")["current"]["release"] == release
        assert not self.marks()
        # A fleet that nobody has rolled out to has none.
        lock = self.document("lock.json") or {"holder": None, "owed": None, "left_by": ""}
        assert (lock["holder"], lock["owed"], lock["left_by"]) == (None, None, "")
        assert self.autoscaler() == ("ON", minimum)

    def assert_nothing_ran(self, release: str) -> None:
        """No planted text was evaluated, and every VM has the bytes that were published."""
        assert not planted.ran(self.directory)
        if self.layers:
            return
        published = self.object(f"releases/{release}.json")
        for vm in self.shell.status():
            installed = (
                self.shell.run.vms / vm["name"] / "opt/skfleet/releases" / release / "release.json"
            )
            assert installed.read_bytes() == published

    def restore(self) -> None:
        """What a test may have left, undone: more VMs than it found, another release, a lease, a drain."""
        if len(self.shell.status()) != VMS:
            # The autoscaler would take them away when its stabilisation window has gone by.
            self.command("skfleet-local", "scale", str(VMS))
            self.shell.wait("as many VMs as at first", lambda vms: len(vms) == VMS, 180)
        self.wait_until_at_rest()
        elsewhere = [vm for vm in self.shell.status() if vm["release"] != "a"]
        if elsewhere or self.document("desired.json")["current"]["release"] != "a":
            lock = self.document("lock.json")
            taken = any(lock.get(name) for name in ("holder", "owed", "left_by"))
            if taken or self.marks() or self.layers:
                # All at once and without a spare VM: nobody is served here, so that nothing can be lost.
                hurried: dict[str, Any] = {
                    "rollout_soak_s": 1,
                    "rollout_batches": ["100%"],
                    "rollout_capacity": 0,
                }
                result = self.playbook("rollout", release="a", **hurried)
                assert result.code == 0, result.output[-3000:]
            else:
                self.converge("a", elsewhere)
        self.assert_at("a")

    @property
    def layers(self) -> bool:
        """Whether its VMs are real hosts, whose files are not here."""
        return bool(self.shell.run.require_state().layers)

    def converge(self, release: str, vms: list[dict[str, Any]]) -> None:
        """What a rollout has each VM do, all at once: for a fleet that serves nobody."""
        desired = self.document("desired.json")
        history = [desired["current"], *desired["history"]]
        current = next(entry for entry in history if entry["release"] == release)
        text = json.dumps({**desired, "current": current, "history": history})
        self.bucket().blob("fleets/local/desired.json").upload_from_string(text, "application/json")
        running = []
        for vm in vms:
            disk = self.shell.run.vms / vm["name"]
            program = str(disk / "opt/skfleet/runtime/bin/skfleet-converge")
            command = [program, release, f"--host-dir={disk}/etc/skfleet"]
            running.append(
                subprocess.Popen(
                    command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        for process in running:
            said, _ = process.communicate(timeout=180)
            assert process.returncode == 0, said.decode()

    def wait_until_at_rest(self) -> None:
        """No VM comes or goes: what a rollout asks for before it begins."""
        self.shell.wait("rest", lambda vms: all(vm["action"] == "NONE" for vm in vms), 120)

    @contextmanager
    def when(self, step: str, act: Callable[[str], None], nth: int = 1) -> Iterator[list[str]]:
        """Do something to the VM whose `step` is the nth that a rollout inside finishes; gives its name."""
        evidence, done, ended = self.directory / "evidence", [], threading.Event()
        before = set(evidence.glob("*.events"))

        def watch() -> None:
            while not ended.wait(0.05):
                for file in set(evidence.glob("*.events")) - before:
                    hosts = [
                        event.host
                        for event in read_events(file)
                        if event.step == step and event.host
                    ]
                    if len(hosts) >= nth:
                        done.append(hosts[nth - 1])
                        act(hosts[nth - 1])
                        return

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield done
        finally:
            ended.set()
            thread.join(60)

    @contextmanager
    def witnessed(self, enough: int = ENOUGH, rate: int = RATE) -> Iterator[dict[str, Any]]:
        """A witness around what is done; the record is there afterwards, of `enough` requests at least."""
        assert "PYTEST_XDIST_WORKER" not in os.environ, (
            "mark the test `load`: it judges answers' times"
        )
        record, stop = self.directory / f"witness-{rate}.json", self.directory / f"stop-{rate}"
        for path in (record, stop):
            path.unlink(missing_ok=True)
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "skfleet_loadtest", "witness", "--rate", str(rate)),
                *("--until-file", str(stop), "--record", str(record)),
            ],
            env=self.environment,
            cwd=self.shell.repository,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        processes.share(process.pid, processes.AHEAD)
        found: dict[str, Any] = {}
        began = time.monotonic()
        try:
            time.sleep(2)
            yield found
            time.sleep(max(0.0, began + 3 + enough / rate - time.monotonic()))
            stop.touch()
            said, _ = process.communicate(timeout=60)
            assert record.exists(), said
            found.update(json.loads(record.read_text()))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
                process.wait()


def assert_clean(record: dict[str, Any]) -> None:
    """Nothing failed, nothing was wrong, and it was fast, of enough requests."""
    assert record["requests"] >= ENOUGH
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]
    assert record["p90_ms"] < declared.declared().slo.objectives.latency.threshold_ms


def other_model(directory: Path) -> Path:
    """A model of the same flights with other coefficients."""
    training, held_out = flight_delay.split(flight_delay.load_flights())
    estimator = LogisticRegression(class_weight="balanced", C=0.001, max_iter=500)
    estimator.fit(training.rows[::20], training.late[::20])
    rows = flight_delay.balanced_sample(
        held_out.rows, np.asarray(estimator.predict(held_out.rows)), 100, seed=7
    )
    write_artefact(
        directory,
        name=flight_delay.NAME,
        estimator=estimator,
        features=flight_delay.FEATURES,
        golden_rows=rows,
    )
    return directory


def misbehaving_checkout(directory: Path) -> Path:
    """A copy of what a build is made of, which misbehaves as its release's settings say."""
    parts = ("app/pyproject.toml", "requirements", "roles", "playbooks/converge.yml")
    for name in (*parts, EDGE, SLO):
        source, target = REPOSITORY / name, directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPOSITORY / "app/src", directory / "app/src", ignore=ignore)
    serving = directory / "app/src/skfleet/serving"
    with (serving / "protocols/v1.py").open("a") as file:
        file.write("\n\n" + (TESTS / "misbehave.py").read_text())
    with (serving / "service.py").open("a") as file:
        file.write(
            "\n\nif os.environ.get('SKFLEET_KEEPALIVE_S') == '605':\n"
            "    Service._golden_pass = lambda self: 'this build is never ready'\n"
        )
    return directory


def booted(
    directory: Path, vms: int, scale: float, *options: str, checkout: Path = REPOSITORY
) -> Fleet:
    """A fleet of `vms` VMs with one release, and another one that differs by a setting."""
    shell = Shell(Run(directory / "run"), checkout, Report(phases=0, out=io.StringIO()))
    fleet = Fleet(shell, directory)
    fleet.command("skfleet-local", "up", "--vms", str(vms), "--time-scale", str(scale), *options)
    model = str(directory / "model")
    fleet.command("skfleet", "model", "train", "flight-delay", "--output", model)
    fleet.command("skfleet", "model", "publish", model)
    fleet.command("skfleet", "app", "publish")
    fleet.command("skfleet", "release", "create", "--model", "flight-delay", "--id", "a")
    # What is written in a release is run nowhere, in none of these tests.
    notes = ("--notes", planted.text(directory), "--set", "threads=2", "--id", "b")
    fleet.command("skfleet", "release", "create", "--from", "a", *notes)
    fleet.command("skfleet", "release", "desire", "a")
    return fleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Three VMs at release `a`, with good and bad releases to roll out; or the fleet that stands already."""
    if STANDING:
        directory = Path(STANDING)
        yield Fleet(Shell(Run(directory / "run"), REPOSITORY, Report(0, io.StringIO())), directory)
        return
    if KEPT:
        directory, ready = Path(KEPT), Path(KEPT) / "ready"
        with (directory / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another worker has it
            else:
                boot = not ready.exists()
                with serving(directory, VMS, 180, publish_others, keep=True, boot=boot) as made:
                    ready.touch()
                    yield made
                return
    with serving(tmp_path_factory.mktemp("rollouts"), VMS, 180, publish_others) as made:
        yield made


@contextmanager
def serving(
    directory: Path,
    vms: int,
    seconds: float,
    prepare: Callable[[Fleet], None] = lambda _: None,
    scale: float = 10,
    checkout: Path = REPOSITORY,
    keep: bool = False,
    boot: bool = True,
) -> Iterator[Fleet]:
    """A fleet of so many VMs that serve `a` after so many seconds at most; ended unless it is kept."""
    made = Fleet(Shell(Run(directory / "run"), checkout, Report(0, io.StringIO())), directory)
    try:
        if boot:
            made.command("skfleet-local", "down")  # what could not be booted before
            made = booted(directory, vms, scale, checkout=checkout)
            prepare(made)
            made.wait_until_serving(vms, seconds)
        yield made
    finally:
        if not keep:
            made.command("skfleet-local", "down")


def publish_others(fleet: Fleet) -> None:
    """Release `m` with another model alone, and the ones that misbehave."""
    fleet.command("skfleet", "model", "publish", str(other_model(fleet.directory / "other")))
    fleet.command("skfleet", "release", "create", "--from", "a", *M, "--id", "m")
    checkout = misbehaving_checkout(fleet.directory / "checkout")
    build = fleet.command("skfleet", "app", "publish", "--repo", str(checkout))
    for name, number in BAD.items():
        fleet.command(
            *("skfleet", "release", "create", "--from", "a", "--app", build),
            *("--set", f"keepalive_s={number}", "--id", name),
        )


M = ("--model", "flight-delay")
BAD = {"wrong": 601, "slow": 602, "failing": 603, "broken": 604, "unready": 605}


@pytest.fixture
def at_a(fleet: Fleet) -> Fleet:
    """The fleet as it was at first: `VMS` VMs at rest that serve release `a`, and nothing of any rollout."""
    fleet.restore()
    return fleet


FULL = bool(os.environ.get("SKFLEET_TEST_FULL"))
SEED = int(os.environ.get("SKFLEET_SEED") or 5)


def sampled(cases: Sequence[Case], count: int, name: str) -> list[Case]:
    """All cases with `make test-full`, otherwise so many, by SKFLEET_SEED."""
    if FULL:
        return list(cases)
    return random.Random(f"{SEED} {name}").sample(list(cases), count)  # noqa: S311 - no secret
