"""Filters of the rollout playbooks: pure decisions, for conditions and variables.

`vms` is what inventory and VMs say (`hostvars`), `info` the answer of the module `mig`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from skfleet.ansible_data import plain, unsafe_yaml
from skfleet.documents.release import is_name
from skfleet_operator.compute.model import short_template
from skfleet_operator.rollouts import gate
from skfleet_operator.rollouts.autoscaling import Autoscaling, to_restore

_FOUND = (
    "release",
    "ready",
    "why_not",
    "drained_by",
    "drain_covers",
    "python",
    "platform",
    "image_contracts",
    "host_ports",
    "image_ports",
)


def gate_verdict(soak: dict[str, Any], slo: dict[str, Any], old: dict[str, Any] | None) -> Any:
    """Judge a VM's soak by slo.yml's objectives and beside an old VM's soak, if there is one."""
    verdict = gate.judge(
        msgspec.convert(plain(soak), gate.Soak),
        msgspec.convert(plain(old), gate.Soak) if old else None,
        gate.objectives(plain(slo)),
    )
    return msgspec.to_builtins(verdict)


def serving(info: Mapping[str, Any]) -> list[str]:
    """The VMs that every load balancer sends traffic to."""
    views = info["backends"].values()
    names = [instance["name"] for instance in info["instances"]]
    return [name for name in names if all(view.get(name) == "HEALTHY" for view in views)]


def plan_vms(names: Sequence[str], hostvars: Any, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The VMs as `skfleet_operator.rollouts.plan` takes them."""
    healthy = set(serving(info))
    members = {instance["name"]: instance for instance in info["instances"]}
    found = []
    for name in names:
        looked = hostvars[name].get("vm_found") or {"reachable": False}
        found.append(
            {
                "name": name,
                "zone": hostvars[name].get("skfleet_zone", ""),
                "reachable": looked["reachable"],
                **{field: looked[field] for field in _FOUND if field in looked},
                "serving": name in healthy,
                "stable": members.get(name, {}).get("action", "NONE") == "NONE",
                "template": members.get(name, {}).get("template", ""),
            }
        )
    return found


def goes_on(batches: Sequence[Mapping[str, Any]], host: str, hostvars: Any, tolerance: int) -> bool:
    """Whether the batches before this VM's went well enough. The first one must go well altogether."""
    for number, batch in enumerate(batches):
        if host in batch["vms"]:
            return True
        failed = [vm for vm in batch["vms"] if hostvars[vm].get("rollout_state") != "ok"]
        if len(failed) > (tolerance if number else 0):
            return False
    return False


def failed_vms(plan: Mapping[str, Any], hostvars: Any) -> list[str]:
    """The VMs that were begun with and did not get through."""
    names = [vm for batch in plan["batches"] for vm in batch["vms"]]
    return [vm for vm in names if hostvars[vm].get("rollout_state", "ok") == "failed"]


def complete(plan: Mapping[str, Any], hostvars: Any, tolerance: int) -> bool:
    """Whether every batch went well enough."""
    for number, batch in enumerate(plan["batches"]):
        failed = [vm for vm in batch["vms"] if hostvars[vm].get("rollout_state") != "ok"]
        if len(failed) > (tolerance if number else 0):
            return False
    return True


def plan_group(info: Mapping[str, Any]) -> dict[str, Any]:
    """The group and its autoscaler as `skfleet_operator.rollouts.plan` takes them."""
    group, scaler = info["group"], info["autoscaler"] or {}
    return {
        "target_size": group["target_size"],
        "stable": group["stable"],
        "named_ports": group.get("named_ports", {}),
        "autoscaler_mode": scaler.get("mode", ""),
        "minimum": scaler.get("min", 0),
        "maximum": scaler.get("max", 0),
    }


def autoscaling_to_restore(owed: Mapping[str, Any], scaler: Mapping[str, Any]) -> dict[str, Any]:
    """Mode and minimum to set at a run's end; what somebody else changed since stays as it is."""
    before = msgspec.convert(plain(owed), Autoscaling)
    found = Autoscaling(mode=scaler["mode"], minimum=scaler["min"])
    restored: dict[str, Any] = msgspec.to_builtins(to_restore(before, found))
    return restored


def beside(names: Sequence[str], hostvars: Any, target: str) -> str:
    """A VM that serves the old release still, to compare with; empty where there is none."""
    for name in names:
        looked = hostvars[name].get("vm_found") or {}
        untouched = not hostvars[name].get("rollout_touched")
        fit = looked.get("ready") and not looked.get("drained_by")
        if untouched and fit and looked.get("release") != target:
            return name
    return ""


def untouched(batches: Sequence[Mapping[str, Any]], hostvars: Any) -> str:
    """A VM of the old image, to compare one of the new image with; empty where there is none."""
    for name in (vm for batch in batches for vm in batch["vms"]):
        facts = hostvars[name]
        if not facts.get("rollout_touched") and (facts.get("vm_found") or {}).get("ready"):
            return name
    return ""


def of_image(info: Mapping[str, Any], image: str) -> list[str]:
    """The VMs that are made from this template, or will be."""
    return [
        instance["name"]
        for instance in info["instances"]
        if short_template(instance["template"]) == image
    ]


def surplus(
    info: Mapping[str, Any], plan: Mapping[str, Any], members: Sequence[str], canary: Sequence[str]
) -> list[str]:
    """The VMs that go at a replacement's end: as many as were to come, and never more than came.

    The canary first, then others that are new to the group, those that have nothing yet before all.
    """
    there = [instance["name"] for instance in info["instances"] if instance["action"] != "DELETING"]
    others = [
        instance["name"]
        for instance in sorted(info["instances"], key=lambda one: bool(one["address"]))
        if instance["name"] in there and instance["name"] not in [*members, *canary]
    ]
    came = max(0, min(plan["canary"], info["group"]["target_size"] - plan["size"]))
    return [*(name for name in canary if name in there), *others][:came]


def evidence_hosts(
    names: Sequence[str], hostvars: Any, recreated: Sequence[str], left: Sequence[str] = ()
) -> dict[str, Any]:
    """What happened to each VM, as `skfleet_operator.rollouts.evidence` takes it. `left`: those that went."""
    hosts = {}
    for name in names:
        facts = hostvars.get(name) or {}
        state = facts.get("rollout_state", "untouched")
        if name in left and state == "ok":
            state = "left"
        hosts[name] = {
            "zone": facts.get("skfleet_zone", ""),
            "before": facts.get("rollout_before", ""),
            "after": facts.get("rollout_after", ""),
            "state": "recreated" if name in recreated else state,
            "hot": bool(facts.get("rollout_hot")),
            "words": facts.get("rollout_said") or facts.get("rollout_words", ""),
            "gate": facts.get("rollout_gate") or {},
        }
    return hosts


def create_option(setting: Mapping[str, Any]) -> str:
    """A setting as `skfleet release create` takes it."""
    return f"--set={setting['key']}={json.dumps(setting['value'])}"


def diverged(names: Sequence[str], hostvars: Any, release: str, runs: Sequence[str]) -> list[str]:
    """The VMs that can be reached and do not serve this release, ready; worst first.

    Also those that one of these runs drains; one that an operator drains stays so.
    """
    found = []
    for name in names:
        looked = hostvars[name].get("vm_found") or {}
        there = looked.get("release") == release and looked.get("ready")
        if looked.get("reachable") and not (there and looked.get("drained_by") not in runs):
            found.append(name)
    away = out_of_traffic(found, hostvars)
    return [*away, *(name for name in found if name not in away)]


def out_of_traffic(names: Sequence[str], hostvars: Any) -> list[str]:
    """The VMs that were drained, or not ready, when they were looked at."""
    looks = {name: hostvars[name].get("vm_found") or {} for name in names}
    return [
        name
        for name, looked in looks.items()
        if looked.get("drained_by") or not looked.get("ready")
    ]


def stranded(
    names: Sequence[str], hostvars: Any, plan: Mapping[str, Any], desired: bool
) -> list[str]:
    """The VMs that no step can bring to where the fleet is now: unreachable, or failed at the last."""
    wanted = plan["release"] if desired else plan["before"]
    lost = []
    for name in names:
        facts = hostvars[name]
        touched = facts.get("rollout_touched")
        unreachable = not (facts.get("vm_found") or {"reachable": True}).get("reachable")
        failed = facts.get("rollout_state") == "failed"
        if unreachable or (failed and touched) or (touched and not wanted):
            lost.append(name)
    return lost


def own_runs(run: str, left_by: str) -> list[str]:
    """The runs whose drain marks this run removes: itself, and those that died."""
    return [one for one in (run, *left_by.split(",")) if one]


def kept_mark(looked: Mapping[str, Any], runs: Sequence[str]) -> dict[str, Any]:
    """The drain mark that none of these runs set: `owner`, empty for none, and `until` (Unix seconds)."""
    owners = (looked.get("drained_by"), looked.get("drain_covers"))
    owner = next((one for one in owners if one and one not in runs), "")
    return {"owner": owner, "until": looked.get("drained_until", 0) if owner else 0}


def drained_for(names: Sequence[str], hostvars: Any, runs: Sequence[str]) -> list[str]:
    """The VMs that somebody else than these runs drains."""
    return [n for n in names if kept_mark(hostvars[n].get("vm_found") or {}, runs)["owner"]]


def marks_left(
    names: Sequence[str], hostvars: Any, left_by: str, recreated: Sequence[str] = ()
) -> list[str]:
    """The VMs that an abandoned run drains still, since no step of this run came to them."""
    runs = own_runs("", left_by)
    return [
        name
        for name in names
        if (hostvars[name].get("vm_found") or {}).get("drained_by") in runs
        and hostvars[name].get("rollout_state") != "ok"
        and name not in recreated
    ]


def undrainable(
    names: Sequence[str], hostvars: Any, release: str, lease: Mapping[str, Any]
) -> list[str]:
    """The VMs that the lease's last runs drained and that serve the desired release."""
    looks = {name: hostvars[name].get("vm_found") or {} for name in names}
    return [
        name
        for name in _drained_by_runs(names, hostvars, lease)
        if looks[name].get("release") == release and looks[name]["ready"]
    ]


def left_drained(
    names: Sequence[str], hostvars: Any, release: str, lease: Mapping[str, Any]
) -> list[str]:
    """The VMs that stay as the lease's last runs left them until the next rollout, or cannot be asked."""
    mended = undrainable(names, hostvars, release, lease)
    away = [n for n in names if not (hostvars[n].get("vm_found") or {}).get("reachable")]
    return [*(n for n in _drained_by_runs(names, hostvars, lease) if n not in mended), *away]


def lease_runs(lease: Mapping[str, Any]) -> list[str]:
    """The lease's holder, and the runs that were abandoned before."""
    return own_runs((lease.get("holder") or {}).get("run", ""), lease.get("left_by", ""))


def _drained_by_runs(names: Sequence[str], hostvars: Any, lease: Mapping[str, Any]) -> list[str]:
    runs = lease_runs(lease)
    return [n for n in names if (hostvars[n].get("vm_found") or {}).get("drained_by") in runs]


def fleet_status(
    names: Sequence[str],
    hostvars: Any,
    info: Mapping[str, Any],
    desired: Mapping[str, Any],
    lease: Mapping[str, Any],
) -> dict[str, Any]:
    """Lines for a person, and what is not as it should be."""
    healthy = set(serving(info))
    wanted = desired["release"]
    lines, problems = [], []
    for name in names:
        looked = hostvars[name].get("vm_found") or {}
        state = "serving" if name in healthy else "not serving"
        if not looked.get("reachable"):
            state = "unreachable"
        elif looked["drained_by"]:
            owners = (looked["drained_by"], looked.get("drain_covers"))
            state = f"drained by {' over '.join(filter(None, owners))}"
        elif not looked["ready"]:
            state = f"not ready: {looked['why_not']}"
        release = looked.get("release") or "no release"
        models = " ".join(f"{m}={d[:12]}" for m, d in (looked.get("models") or {}).items())
        where = hostvars[name].get("skfleet_zone", "")
        lines.append("  ".join(part for part in (name, where, release, models, state) if part))
        if state != "serving" or (wanted and release != wanted):
            problems.append(f"{name} has {release} and is {state}.")
    unsigned = [
        name
        for name in names
        if (hostvars[name].get("vm_found") or {}).get("signatures") == "not required"
    ]
    if unsigned:
        lines.append(
            f"signatures not required on {', '.join(unsigned)}: the image trusts no key (docs/security.md)"
        )
    group, scaler = info["group"], info["autoscaler"]
    lines.append(f"desired {wanted or 'none'}, {len(names)} of {group['target_size']} VMs")
    if scaler:
        lines.append(f"autoscaler {scaler['mode']}, {scaler['min']} to {scaler['max']} VMs")
    holder = lease["holder"]
    if holder:
        state = "whose controller has ended" if lease["dead"] else "at work"
        lines.append(
            f"lease: rollout {holder['run']} of {holder['by']} on {holder['host']}, {state}"
        )
        if lease["dead"]:
            problems.append("A dead rollout holds the lease: playbooks/unlock.yml gives it back.")
    else:
        lines.append("lease: free")
    if len(names) != group["target_size"]:
        problems.append(f"{len(names)} VMs, where the target size is {group['target_size']}.")
    return {"lines": lines, "problems": problems}


class FilterModule:
    """Ansible's interface."""

    def filters(self) -> dict[str, Any]:
        """Name → filter."""
        return {
            "gate_verdict": gate_verdict,
            "serving_vms": serving,
            "plan_vms": plan_vms,
            "goes_on": goes_on,
            "failed_vms": failed_vms,
            "complete": complete,
            "plan_group": plan_group,
            "autoscaling_to_restore": autoscaling_to_restore,
            "beside": beside,
            "untouched": untouched,
            "of_image": of_image,
            "surplus": surplus,
            "evidence_hosts": evidence_hosts,
            "create_option": create_option,
            "is_name": lambda text: is_name(plain(text)),
            "unsafe_yaml": unsafe_yaml,
            "diverged": diverged,
            "own_runs": own_runs,
            "kept_mark": kept_mark,
            "drained_for": drained_for,
            "marks_left": marks_left,
            "lease_runs": lease_runs,
            "stranded": stranded,
            "out_of_traffic": out_of_traffic,
            "undrainable": undrainable,
            "left_drained": left_drained,
            "fleet_status": fleet_status,
        }
