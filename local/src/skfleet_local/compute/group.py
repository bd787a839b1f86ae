"""The control loop of managed instance groups: actual size → target size, and repair.

What to do is decided in `decisions.py`; here it is done. A VM is started from its template's metadata
alone. Creating takes a while, leaving drains first, and a repair makes the same VM from a fresh disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import shutil
import string
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from skfleet.documents.edge import Edge, HealthCheck
from skfleet.files import replace_file
from skfleet_local import envoy, processes
from skfleet_local.accounts import BY_EMAIL, FLEET
from skfleet_local.addresses import Addresses
from skfleet_local.cloud.metadata import Facts
from skfleet_local.compute import forms
from skfleet_local.compute.cpu import CpuMeter
from skfleet_local.compute.model import Instance, Resources
from skfleet_local.compute.operations import timestamp
from skfleet_local.hosts.vm import HostVm
from skfleet_local.run import Run
from skfleet_local.vm import Vm
from skfleet_operator.instance_group import decisions
from skfleet_operator.instance_group.autoscaler import Autoscaling
from skfleet_operator.instance_group.decisions import Liveness, Member

TICK_S = 0.1
SHARE_S = 0.3  # between looks at what VMs that boot have begun

OpenSite = Callable[[Instance], Awaitable[None]]
CloseSite = Callable[[str], Awaitable[None]]


@dataclass(slots=True)
class ControlLoop:
    """All groups of the project. `edge` is in local time."""

    run: Run
    addresses: Addresses
    edge: Edge
    time_scale: float
    open_metadata: OpenSite
    close_metadata: CloseSite
    resources: Resources
    layers: tuple[Path, ...] = ()  # of the disks of VMs that are real hosts
    # Seeded, so that a run's names are the same every time.
    random: random.Random = field(default_factory=lambda: random.Random(1))  # noqa: S311
    liveness: dict[str, Liveness] = field(default_factory=dict)
    _scaling: Autoscaling[Instance] = field(init=False)
    _busy: set[str] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _probes: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _uneven: bool = False  # shares of the processor have to be looked at
    _share_at: float = 0.0
    _written: str = ""
    _saved: bytes = b""

    def __post_init__(self) -> None:
        self._scaling = Autoscaling(self.resources, self.time_scale, CpuMeter(self.run.root))

    async def loop(self) -> None:
        """Until somebody deletes the fleet's directory, which this would make again."""
        for instance in self.resources.instances.values():
            await self.open_metadata(instance)
            if instance.phase == "run":
                self._probe(instance)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._cancel)
            while self.run.root.is_dir():
                processes.reap()
                self.tick(time.time())
                await self._share_out()
                await asyncio.sleep(TICK_S)

    async def _share_out(self) -> None:
        """VMs that boot stand behind those that serve: here they have no processor of their own."""
        booting = {
            one.name
            for one in self.resources.instances.values()
            if (one.phase, one.action) == ("run", "VERIFYING")
        }
        if not (booting or self._uneven) or time.monotonic() < self._share_at:
            return
        self._share_at = time.monotonic() + SHARE_S
        wanted = {
            name: processes.BEHIND if name in booting else processes.USUAL
            for name in self.resources.instances
        }
        done = await asyncio.to_thread(processes.share_out, self.run.root, wanted)
        self._uneven = bool(booting) or not done

    def tick(self, now: float) -> None:
        """Look once at everything and begin what is due."""
        for why in self._scaling.step(now):
            self._event(None, "autoscale", why)
        for name in self.resources.groups:
            self._resize(name, now)
        for instance in list(self.resources.instances.values()):
            if instance.name not in self._busy:
                self._step(instance, now)
        self._publish()
        self.save()

    def save(self) -> None:
        """Write what changed."""
        data = self.resources.encode()
        if data != self._saved:
            replace_file(self.run.compute_file, data, mode=0o600)
            self._saved = data

    def policy(self, group: str) -> HealthCheck | None:
        """Autohealing's check, if the group has one."""
        policies = self.resources.groups[group].get("autoHealingPolicies") or []
        return self.edge.health_checks.liveness if policies else None

    def healthy(self, instance: Instance) -> bool:
        """In autohealing's eyes."""
        policy = self.edge.health_checks.liveness
        return self.liveness.get(instance.name, Liveness()).state(policy) == "HEALTHY"

    def facts(self, name: str) -> Facts:
        """What a VM may know about itself: its template's metadata, and who it is."""
        instance = self.resources.instances[name]
        properties = self.resources.templates[instance.template]["properties"]
        items = (properties.get("metadata") or {}).get("items") or []
        accounts = properties.get("serviceAccounts") or []
        email = accounts[0]["email"] if accounts else FLEET.email
        return Facts(
            name=instance.name,
            id=instance.id,
            zone=instance.zone,
            address=instance.address,
            created_at=timestamp(instance.created),
            attributes={item["key"]: item["value"] for item in items},
            account=BY_EMAIL.get(email, FLEET),
        )

    def facts_at(self, address: str) -> Facts | None:
        """What the VM of an address may know; None where there is none."""
        for instance in self.resources.instances.values():
            if instance.address == address:
                return self.facts(instance.name)
        return None

    def recreate(self, instance: Instance, reason: str) -> None:
        """A fresh disk and a new id for the same name in the same zone; drains first if it runs."""
        alive = instance.init is not None and instance.init.alive()
        self._leave(instance, "RECREATING", reason, drain=alive)

    def renew(self, instance: Instance, reason: str) -> None:
        """`recreate` with the group's current template; a repair keeps the VM's own."""
        if instance.action != "DELETING":
            instance.template = self._template(instance.group, without=instance.name)
        self.recreate(instance, reason)

    def delete(self, instance: Instance, reason: str) -> None:
        """Drain, stop, forget."""
        self._leave(instance, "DELETING", reason, drain=instance.phase == "run")

    def reset(self, instance: Instance, reason: str) -> bool:
        """A hard reboot: same VM, same disk, same id. False for a VM that does not run, or is busy."""
        if instance.phase != "run" or instance.name in self._busy:
            return False
        self._event(instance, "reset", reason)
        self._begin(instance, self._reboot(instance))
        return True

    def new_id(self) -> int:
        """A number no resource had before."""
        self.resources.last_id += 1
        return self.resources.last_id * 7_919_000_000_000 + self.resources.last_id

    def write_guest_attribute(self, name: str, path: str, value: str) -> bool:
        """What a VM tells about itself; False unless its template lets it."""
        if self.facts(name).attributes.get("enable-guest-attributes", "").upper() != "TRUE":
            return False
        self.resources.instances[name].guest_attributes[path] = value
        return True

    # Deciding

    def _template(self, group: str, without: str = "") -> str:
        others = [
            item.template
            for item in self.resources.of_group(group)
            if item.action != "DELETING" and item.name != without
        ]
        return decisions.template(forms.versions(self.resources.groups[group]), others)

    def _refused(self, instance: Instance, now: float) -> bool:
        """Whether there is no VM to be had now; then the group tries again later."""
        used = sum(item.init is not None for item in self.resources.instances.values())
        beginning = sum(
            self.resources.instances[name].phase == "build"
            for name in self._busy
            if name in self.resources.instances
        )
        code = self.resources.faults.refuses(
            instance.name, instance.zone, instance.attempts, used + beginning
        )
        if not code:
            instance.attempts, instance.error = 0, ""
            return False
        instance.attempts, instance.error = instance.attempts + 1, code
        instance.due = now + decisions.retry_after(instance.attempts) / self.time_scale
        self._event(instance, "refused", code)
        return True

    def _resize(self, group: str, now: float) -> None:
        form = self.resources.groups[group]
        staying = [i for i in self.resources.of_group(group) if i.action != "DELETING"]
        members = [Member(i.name, i.zone, i.created, self.healthy(i)) for i in staying]
        zones = [zone["zone"].rpartition("/")[2] for zone in form["distributionPolicy"]["zones"]]
        change = decisions.resize(int(form["targetSize"]), members, zones)
        for zone in change.create_in:
            self._create(group, zone, now)
        for name in change.delete:
            target = form["targetSize"]
            self.delete(self.resources.instances[name], f"the target size is {target}")

    def _step(self, instance: Instance, now: float) -> None:
        if instance.phase == "build":
            if now >= instance.due and not self._refused(instance, now):
                self._begin(instance, self._build(instance))
        elif instance.phase == "drain":
            if now >= instance.due or instance.init is None or not instance.init.alive():
                instance.phase = "stop"
        elif instance.phase == "stop":
            self._begin(instance, self._stop(instance))
        else:
            policy = self.policy(instance.group)
            seen = self.liveness.get(instance.name, Liveness())
            age = now - instance.booted
            runs = instance.init is not None and instance.init.alive()
            reason = decisions.heal(runs, seen, age, policy)
            if reason:
                self.recreate(instance, reason)
            elif instance.action == "VERIFYING" and decisions.verified(seen, age, policy):
                instance.action = "NONE"
                self._event(instance, "verified", f"{age:.1f} s after its boot")

    # Doing

    def _create(self, group: str, zone: str, now: float) -> None:
        form = self.resources.groups[group]
        taken = {item.address for item in self.resources.instances.values()}
        address = next((a for a in self.addresses.vms() if a not in taken), None)
        if address is None:
            self._event(None, "no-address", "all addresses of this run are in use")
            return
        instance = Instance(
            name=self._name(form["baseInstanceName"]),
            id=self.new_id(),
            zone=zone,
            address=address,
            group=group,
            template=self._template(group),
            due=now + decisions.PROVISION_S / self.time_scale,
            created=now,
            reason=f"the target size is {form['targetSize']}",
        )
        self.resources.instances[instance.name] = instance
        self._event(instance, "create", instance.reason)

    def _name(self, base: str) -> str:
        while True:
            suffix = "".join(self.random.choices(string.ascii_lowercase + string.digits, k=4))
            if f"{base}-{suffix}" not in self.resources.instances:
                return f"{base}-{suffix}"

    def _leave(self, instance: Instance, action: Any, reason: str, *, drain: bool) -> None:
        if instance.action == "DELETING":
            return
        instance.action, instance.reason = action, reason
        if instance.phase in ("run", "build"):
            instance.phase = "drain" if drain else "stop"
            instance.due = time.time() + self.edge.timeouts.drain_s
        self._event(instance, action.lower(), reason)

    async def _build(self, instance: Instance) -> None:
        vm = self.vm(instance)
        await asyncio.to_thread(vm.make_disk)
        await self.open_metadata(instance)
        # Recreated while it was being built: its next turn sees to it.
        if instance.phase == "build":
            self.liveness.pop(instance.name, None)
            instance.init = vm.boot()
            instance.booted = time.time()
            instance.phase, instance.action = "run", "VERIFYING"
            self._event(
                instance, "boot", f"{instance.booted - instance.created:.1f} s after creation"
            )
            self._probe(instance)

    async def _reboot(self, instance: Instance) -> None:
        vm = self.vm(instance)
        # No goodbye: power is cut.
        await asyncio.to_thread(vm.stop, None)
        instance.init = await asyncio.to_thread(vm.boot)
        instance.booted = time.time()
        # Like a new one it is left alone until it answers, or the initial delay is over.
        self.liveness.pop(instance.name, None)
        self._probe(instance)

    async def _stop(self, instance: Instance) -> None:
        vm = self.vm(instance)
        if probe := self._probes.pop(instance.name, None):
            probe.cancel()
        await asyncio.to_thread(vm.stop, instance.init)
        await asyncio.to_thread(vm.remove_disk)
        now = time.time()
        instance.init = None
        if instance.action == "DELETING":
            await self.close_metadata(instance.name)
            self.resources.instances.pop(instance.name, None)
            self.liveness.pop(instance.name, None)
            self._event(instance, "deleted", instance.reason)
        else:
            instance.id = self.new_id()
            instance.created = now
            instance.recreated += 1
            instance.guest_attributes = {}
            instance.phase, instance.due = "build", now + decisions.PROVISION_S / self.time_scale

    def _begin(self, instance: Instance, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the loop, one thing at a time for each VM."""
        self._busy.add(instance.name)

        async def guarded() -> None:
            try:
                await work
            except (OSError, TimeoutError, shutil.Error) as error:
                self._event(instance, "failed", str(error))
                instance.due = time.time() + 1.0
                await asyncio.sleep(1.0)
            finally:
                self._busy.discard(instance.name)

        task = asyncio.create_task(guarded())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _cancel(self) -> None:
        for task in (*self._tasks, *self._probes.values()):
            task.cancel()

    # Looking

    def _probe(self, instance: Instance) -> None:
        if previous := self._probes.pop(instance.name, None):
            previous.cancel()
        self._probes[instance.name] = asyncio.create_task(self._probing(instance))

    async def _probing(self, instance: Instance) -> None:
        """Autohealing's own probes, apart from the load balancers'."""
        policy = self.edge.health_checks.liveness
        url = f"http://{instance.address}:{self.edge.listeners.health.port}{policy.path}"
        timeout = aiohttp.ClientTimeout(total=policy.timeout_s)
        # Each probe a connection of its own, as Google's probers do.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                began = time.monotonic()
                timed_out = False
                try:
                    async with session.get(url) as answer:
                        passed = answer.status == 200
                except TimeoutError:
                    passed, timed_out = False, True
                except aiohttp.ClientError:
                    passed = False
                seen = self.liveness.get(instance.name, Liveness())
                self.liveness[instance.name] = seen.after(passed, policy, timed_out)
                # A VM that never answered is looked at more often: only bookkeeping waits for it.
                pause = policy.interval_s if seen.was_healthy else min(policy.interval_s, 0.5)
                await asyncio.sleep(max(0.0, began + pause - time.monotonic()))

    # Telling

    def _publish(self) -> None:
        """Give the load balancers their members."""
        endpoints = [
            envoy.Endpoint(item.address, item.zone, draining=item.phase == "drain")
            for item in sorted(self.resources.instances.values(), key=lambda i: i.address)
            if item.phase in ("run", "drain")
        ]
        if repr(endpoints) != self._written:
            envoy.write_membership(self.run, self.edge, endpoints)
            self._written = repr(endpoints)

    def _event(self, instance: Instance | None, what: str, why: str) -> None:
        event = {
            "at": timestamp(),
            "vm": instance.name if instance else None,
            "zone": instance.zone if instance else None,
            "event": what,
            "reason": why,
        }
        with self.run.events_file.open("a") as file:
            file.write(json.dumps(event) + "\n")

    def vm(self, instance: Instance) -> Vm | HostVm:
        """The machine behind an instance."""
        name, address = instance.name, instance.address
        if self.layers:
            return HostVm(self.run, self.addresses, name, address, self.layers)
        properties = self.resources.templates[instance.template]["properties"]
        return Vm(self.run, self.addresses, name, address, self._image(properties))

    def _image(self, properties: dict[str, Any]) -> Path:
        """What the boot disk of a template's VMs is made of; a family stands for the run's own image."""
        disk = (properties.get("disks") or [{}])[0].get("initializeParams") or {}
        project, _, name = str(disk.get("sourceImage", "")).rpartition("/")
        return self.run.image_named(name) if project.endswith("/images") else self.run.image
