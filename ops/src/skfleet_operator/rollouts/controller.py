"""What the rollout playbooks ask of the bucket, as plain values in and out: `library/rollout.py` hands
them on. Decisions are in the modules beside this one.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from skfleet import documents
from skfleet.artifacts.store import Store
from skfleet.declared import declared
from skfleet.documents.edge import Listeners
from skfleet.documents.release import Release
from skfleet.errors import (
    DocumentError,
    IntegrityError,
    LostRace,
    ObjectMissing,
    SkfleetError,
    VersionMismatch,
)
from skfleet.files import replace_file
from skfleet_operator.builds.bundle import edge_in
from skfleet_operator.releases import operations
from skfleet_operator.rollouts import changes, evidence, lease, plan, replacement
from skfleet_operator.rollouts.autoscaling import Autoscaling
from skfleet_operator.rollouts.plan import Refusal


def new_run() -> str:
    """Id of a rollout: time, and chance for two in a second."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class Controller:
    """One rollout's controller. `directory`: where its files are on this machine."""

    def __init__(self, store: Store, bucket: str, fleet: str, directory: Path) -> None:
        self.store = store
        self.bucket = "gs://" + bucket.removeprefix("gs://").strip("/")
        self.fleet = fleet
        self.directory = directory

    # Releases

    def wanted(self, release: str, draft: Mapping[str, Any] | None) -> Release:
        """The release by id, everything it pins still there; or a draft that is not stored."""
        if draft:
            return documents.read(Release, msgspec.json.encode(draft), where="draft")
        found, stored = operations.load(self.store, self.bucket, release)
        found.check_fleet(self.fleet, where=stored.uri)
        self.store.check_pin(found.app)
        self.store.check_pin(found.bundle)
        for model in found.models:
            self.store.read_pin(model.manifest)
        return found

    def desired(self) -> tuple[str, list[str]]:
        """The desired release and the ones before, newest first; empty for a fleet without."""
        there = operations.read_desired(self.store, self.bucket, self.fleet)
        if there is None:
            return "", []
        return there[0].current.release, [entry.release for entry in there[0].history]

    def desire(self, release: str, before: str, by: str, reason: str) -> bool:
        """Move `desired.json`; True if it was not there already."""
        if self.desired()[0] == release:
            return False
        operations.desire(
            self.store,
            self.bucket,
            self.fleet,
            release,
            by=by,
            reason=reason,
            replacing=before or None,
        )
        return True

    # Plan

    def plan(
        self,
        *,
        release: str,
        draft: Mapping[str, Any] | None,
        vms: Sequence[Mapping[str, Any]],
        members: Sequence[str],
        group: Mapping[str, Any],
        options: Mapping[str, Any],
        answers_may_change: bool,
    ) -> dict[str, Any]:
        """The plan with what it needs to run: both releases, and lines for a person."""
        target = self.wanted(release, draft)
        desired, _ = self.desired()
        found = msgspec.convert(vms, list[plan.Vm])
        running = self._running({vm.release for vm in found} | {desired})
        left_by = self._left_by(lease.read(self.store, self._lease).lease)
        asked = msgspec.convert(options, plan.Options)
        here = declared().edge.listeners
        changed, refusal = self._answers(running.get(desired), target, asked.overrides)
        made = plan.make(
            target=target,
            desired=desired,
            running=running,
            vms=found,
            members=members,
            group=msgspec.convert(group, plan.Group),
            options=asked,
            left_by=left_by,
            listeners=self._listeners(target),
            names={name: getattr(here, name).name for name in ("iap", "internal", "health")},
            answers_changed=None
            if answers_may_change or changed is None
            else sum(model.labels_changed + model.probabilities_changed for model in changed),
        )
        if refusal is not None:
            made = msgspec.structs.replace(made, refusals=[*made.refusals, refusal])
        return {
            **msgspec.to_builtins(made),
            "refused": [refusal.words for refusal in made.refused],
            "target": msgspec.to_builtins(target),
            "desired": msgspec.to_builtins(running[desired]) if desired in running else None,
            "answers": msgspec.to_builtins(changed or []),
            "left_by": left_by,
            "lines": _lines(made, running.get(desired), target, changed or [], found),
        }

    def replacement(
        self,
        *,
        image: str,
        versions: Sequence[Mapping[str, Any]],
        vms: Sequence[Mapping[str, Any]],
        members: Sequence[str],
        group: Mapping[str, Any],
        canary: int | str,
        options: Mapping[str, Any],
    ) -> dict[str, Any]:
        """The plan of a replacement, in the fields of a rollout's that the shared tasks read."""
        desired, _ = self.desired()
        if not desired:
            raise SkfleetError(
                "The fleet has no desired release: there is nothing to judge an image by.",
                where=f"fleets/{self.fleet}/desired.json",
                hint="`skfleet release desire ID`, then try again.",
            )
        release = msgspec.to_builtins(self.wanted(desired, None))
        left_by = self._left_by(lease.read(self.store, self._lease).lease)
        made = replacement.make(
            image=image,
            versions=msgspec.convert(versions, list[replacement.Version]),
            vms=msgspec.convert(vms, list[replacement.Vm]),
            members=members,
            group=msgspec.convert(group, plan.Group),
            canary=canary,
            options=msgspec.convert(options, plan.Options),
            left_by=left_by,
        )
        return {
            **msgspec.to_builtins(made),
            "refused": [refusal.words for refusal in made.refused],
            "release": desired,
            "before": desired,
            "target": release,
            "desired": release,
            "hot_from": [],
            "left_by": left_by,
            "lines": replacement.lines(made),
        }

    def _listeners(self, target: Release) -> Listeners | None:
        """What the release's own edge.yml declares; None for a release of before bundles had one."""
        edge = edge_in(self.store.read_pin(target.bundle), target.bundle.uri)
        return edge.listeners if edge is not None else None

    def _running(self, names: set[str]) -> dict[str, Release]:
        running: dict[str, Release] = {}
        for name in names - {""}:
            try:
                running[name] = operations.load(self.store, self.bucket, name)[0]
            except SkfleetError:
                continue  # a VM may serve what nobody knows any more; it moves by a restart
        return running

    def _answers(
        self, old: Release | None, new: Release, overrides: Sequence[str]
    ) -> tuple[list[changes.Answers] | None, Refusal | None]:
        if old is None:
            return None, None
        try:
            return changes.golden(self.store, old, new, self.directory / "cache"), None
        except changes.NotComparable as error:
            return None, Refusal(
                code="answers", words=error.message, overridden="answers" in overrides
            )
        except (IntegrityError, VersionMismatch, ObjectMissing, DocumentError) as error:
            # A model that cannot be loaded here will not load there.
            return None, Refusal(code="model", words=str(error))

    def _left_by(self, found: lease.Lease) -> str:
        """The abandoned runs, commas between them: those that are known, and a holder that died since."""
        runs = [*found.left_by.split(","), self._dead_run(found)]
        return ",".join(dict.fromkeys(run for run in runs if run))

    def _dead_run(self, found: lease.Lease) -> str:
        """The run of a holder that is not at work any more."""
        holder = found.holder
        if holder is None or (time.time() < found.expires_at and not lease.is_dead(holder)):
            return ""
        return holder.run

    # Lease

    @property
    def _lease(self) -> str:
        return lease.uri(self.bucket, self.fleet)

    def acquire(self, run: str, by: str, ttl_s: float) -> dict[str, Any]:
        """Take the lease; says what dead predecessors owe and which runs these were."""
        holder = lease.this_controller(run, by)
        found = lease.read(self.store, self._lease)
        other = found.lease.holder
        dead = other is not None and lease.is_dead(other)
        wanted = lease.taken(found.lease, holder, ttl_s, time.time(), dead)
        held = lease.write(self.store, self._lease, wanted, found.generation)
        self._remember(run, held)
        return {"owed": msgspec.to_builtins(wanted.owed), "left_by": wanted.left_by}

    def hold(self, run: str, ttl_s: float) -> bool:
        """Make sure that the lease is still ours, and renew it in good time; LostRace if it is not."""
        mine = self._mine(run)
        now = time.time()
        if mine.lease.expires_at - now > ttl_s * 2 / 3:
            if lease.read(self.store, self._lease).generation != mine.generation:
                raise LostRace(
                    "Somebody else has taken the rollout lease.",
                    where=self._lease,
                    hint="This controller stops here; look at playbooks/status.yml.",
                )
            return False
        renewed = lease.renewed(mine.lease, ttl_s, now)
        self._remember(run, lease.write(self.store, self._lease, renewed, mine.generation))
        return True

    def owe(self, run: str, mode: str, minimum: int, raise_to: int | None = None) -> dict[str, Any]:
        """Note the autoscaler's settings before they are changed; returns what is to be given back.

        `mode` and `minimum` as found now; `raise_to`: the minimum that is about to be set.
        """
        mine = self._mine(run)
        wanted = lease.owing(mine.lease, Autoscaling(mode=mode, minimum=minimum), raise_to)
        if wanted != mine.lease:
            self._remember(run, lease.write(self.store, self._lease, wanted, mine.generation))
        return dict(msgspec.to_builtins(wanted.owed) or {})

    def release(self, run: str, *, mended: bool = True, abandoned: bool = False) -> bool:
        """Give the lease back by an overwrite; nothing is owed any more.

        Not `mended`: what dead runs left lies about still, and the next rollout must know of it.
        `abandoned`: so does what this run did, as a VM that it leaves drained.
        """
        mine = self._mine(run)
        runs = [*([] if mended else [mine.lease.left_by]), *([run] if abandoned else [])]
        left = lease.Lease(left_by=",".join(filter(None, runs)))
        lease.write(self.store, self._lease, left, mine.generation)
        self._file(run).unlink(missing_ok=True)
        return True

    def found_lease(self) -> dict[str, Any]:
        """The lease as it is, for people and for unlock."""
        held = lease.read(self.store, self._lease)
        holder = held.lease.holder
        return {
            **msgspec.to_builtins(held.lease),
            "generation": held.generation,
            "dead": holder is not None and bool(self._dead_run(held.lease)),
        }

    def break_lease(self, run: str, by: str, seen: int | None = None) -> dict[str, Any]:
        """Take the lease whoever holds it: for unlock, which then gives back what is owed.

        `seen`: its generation when it was shown; LostRace where it is another one's since.
        """
        found = lease.read(self.store, self._lease)
        if seen is not None and found.generation != seen:
            raise LostRace(
                "Somebody took or gave back the lease since it was looked at.",
                where=self._lease,
                hint="Nothing has changed; look at playbooks/status.yml.",
            )
        holder = lease.this_controller(run, by)
        wanted = lease.taken(found.lease, holder, 300.0, time.time(), dead=True)
        self._remember(run, lease.write(self.store, self._lease, wanted, found.generation))
        return {"owed": msgspec.to_builtins(wanted.owed), "left_by": wanted.left_by}

    def _file(self, run: str) -> Path:
        return self.directory / f"{run}.lease"

    def _remember(self, run: str, held: lease.Held) -> None:
        record = {"generation": held.generation, "lease": msgspec.to_builtins(held.lease)}
        replace_file(self._file(run), json.dumps(record).encode(), mode=0o644)

    def _mine(self, run: str) -> lease.Held:
        try:
            record = json.loads(self._file(run).read_text())
        except FileNotFoundError:
            raise LostRace(
                "This rollout holds no lease.", where=str(self._file(run)), hint="Start again."
            ) from None
        return lease.Held(msgspec.convert(record["lease"], lease.Lease), record["generation"])

    # Evidence

    def record(self, **fields: Any) -> dict[str, Any]:
        """Write the evidence here and to the bucket."""
        run = fields["id"]
        hosts = msgspec.convert(fields.pop("hosts"), dict[str, evidence.Host])
        events = evidence.read_events(self.directory / f"{run}.events")
        hosts = {name: evidence.placed(name, host, events) for name, host in hosts.items()}
        more = fields.pop("said", [])
        moved = fields["plan"].get("image")
        what = f"Release '{fields['release']}'"
        back = f"'{fields['before']}'" if fields["before"] else "no release"
        if moved:
            what = f"Image '{replacement.short(moved)}'"
            back = f"'{replacement.short(fields['plan']['image_before'])}'"
        said = fields.pop("words", None) or [
            *evidence.words(fields["verdict"], what, back, hosts),
            *more,
        ]
        document = evidence.Evidence(
            fleet=self.fleet,
            ended_at=documents.now(),
            hosts=hosts,
            events=events,
            words=said,
            predecessors=evidence.predecessors(
                self.directory, str(fields["plan"].get("left_by") or "")
            ),
            **fields,
        )
        path = self.directory / f"{run}.json"
        data = evidence.write(path, document)
        address = evidence.uri(self.bucket, self.fleet, run)
        self.store.create(address, data, content_type="application/json")
        return {"file": str(path), "uri": address, "words": said, "verdict": document.verdict}


def _lines(
    made: plan.Plan,
    old: Release | None,
    new: Release,
    changed: Sequence[changes.Answers],
    vms: Sequence[plan.Vm],
) -> list[str]:
    """The plan for a person."""
    if made.nothing_to_do:
        return [f"Every VM serves '{made.release}', and it is the desired release: nothing to do."]
    lines = [f"Release '{made.release}' instead of '{made.before or 'none'}'."]
    if old is not None:
        lines += [
            f"  {field}: {before} → {after}"
            for field, (before, after) in operations.difference(old, new).items()
        ]
    for model in changed:
        lines.append(
            f"Model '{model.model}': {model.labels_changed} of {model.rows} golden predictions "
            f"change their label, {model.probabilities_changed} their probability "
            f"(by {model.largest:.4f} at most)."
        )
        lines += [f"  {example}" for example in model.examples]
    if old is not None and not changed:
        lines.append("No golden prediction changes.")
    hot = {vm.name for vm in vms if vm.release in made.hot_from and not vm.drained_by}
    lines.append(f"{len(made.batches)} batches, about {made.minutes:g} minutes:")
    for number, batch in enumerate(made.batches, start=1):
        how = "reload" if set(batch.vms) <= hot else "drain, restart"
        surge = f", after {batch.surge} more VMs have come" if batch.surge else ""
        lines.append(
            f"  {number}. {', '.join(batch.vms)} ({batch.zone}): {how}; "
            f"{batch.serving_meanwhile} VMs serve meanwhile{surge}"
        )
    return [*lines, *map(str, made.refusals)]
