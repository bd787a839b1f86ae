"""Ansible module: the managed instance group, its autoscaler and the load balancers' view of its VMs."""

from __future__ import annotations

import time
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: mig
short_description: A regional managed instance group, its autoscaler and its backend health
description:
  - Speaks to the Compute Engine API through skfleet's client, as the controller's default credentials.
options:
  endpoint:
    description: Base of the API; empty is Google's.
    type: str
    default: ""
  project:
    description: Project of the group.
    type: str
    required: true
  region:
    description: Region of the group.
    type: str
    required: true
  group:
    description: Name of the group.
    type: str
    required: true
  backends:
    description: Backend services that send the group traffic.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name.
        type: str
        required: true
      regional:
        description: Whether it is a regional one.
        type: bool
        default: false
  action:
    description:
      - C(info) looks. C(autoscaler) sets mode and minimum. C(recreate), C(delete) and C(resize) change VMs.
      - C(versions) sets templates, which must be there, and their sizes.
      - C(wait_health) waits for the load balancers' view of VMs, C(wait_serving) until C(size) VMs, those of
        C(instances) not counted, get traffic from all of them.
    type: str
    required: true
    choices: [info, autoscaler, recreate, delete, resize, versions, wait_health, wait_serving]
  instances:
    description: Names of VMs.
    type: list
    elements: str
    default: []
  mode:
    description: Mode of the autoscaler, as published.
    type: str
    choices: ["ON", "OFF", "ONLY_SCALE_OUT", "ONLY_UP"]
  minimum:
    description: The autoscaler's minimum, in VMs.
    type: int
  only_raise:
    description: Leave a minimum that is larger already.
    type: bool
    default: false
  size:
    description: Target size of C(resize), or the number that C(wait_serving) waits for; in VMs.
    type: int
  versions:
    description: Templates of the group, C(template) and either C(fixed), C(percent) or neither for the rest.
    type: list
    elements: dict
    default: []
  state:
    description: Health to wait for, in every backend service; a VM that one does not know is UNHEALTHY.
    type: str
    choices: [HEALTHY, UNHEALTHY]
  looks:
    description: Looks in a row that must agree.
    type: int
    default: 2
  interval_s:
    description: Seconds between looks.
    type: float
    default: 1
  wait_s:
    description: Seconds to wait for, after C(recreate), C(delete), C(resize) and in the two waits.
    type: float
    default: 0
author: skfleet
"""

EXAMPLES = r"""
- name: Wait until no load balancer sends it traffic
  mig:
    project: acme
    region: us-central1
    group: skfleet
    backends: [{name: skfleet-external}, {name: skfleet-internal, regional: true}]
    action: wait_health
    instances: [skfleet-x7c2]
    state: UNHEALTHY
    wait_s: 60
"""

RETURN = r"""
group:
  description: name, target_size, stable, named_ports, versions.
  type: dict
  returned: with info
instances:
  description: name, id, zone, status, action, health, address, template and errors of each VM.
  type: list
  elements: dict
  returned: with info
autoscaler:
  description: name, mode, min, max, recommended; null where there is none.
  type: dict
  returned: with info
backends:
  description: Backend service to VM to health.
  type: dict
  returned: with info and wait_health
before:
  description: What was set before.
  type: dict
  returned: with autoscaler
after:
  description: What is set now.
  type: dict
  returned: with autoscaler
seconds:
  description: How long it took.
  type: float
  returned: with wait_health, wait_serving, recreate, delete, resize
serving:
  description: Names of the VMs that get traffic from every load balancer.
  type: list
  elements: str
  returned: with wait_serving
failure:
  description: Its name, as QuotaExceeded, Stockout, ComputeForbidden, FingerprintChanged, DeadlinePassed.
  type: str
  returned: on failure
"""

PAUSE_S = 1.0


class Mig:
    """One run of the module."""

    def __init__(self, module: AnsibleModule) -> None:
        from skfleet_operator.compute.client import Compute

        self.module, self.options = module, module.params
        self.name = self.options["group"]
        self.api = Compute(
            self.options["project"], self.options["region"], self.options["endpoint"]
        )

    def info(self) -> dict[str, Any]:
        """Everything that a rollout looks at."""
        group = self.api.group(self.name)
        scaler = self.api.autoscaler(self.name)
        vms = []
        for vm in self.api.managed(self.name):
            # A VM that is still to be made has no instance to ask for.
            made = vm.id and vm.instance_status
            vms.append(
                {
                    "name": vm.short,
                    "id": vm.id,
                    "zone": vm.zone,
                    "status": vm.instance_status,
                    "action": vm.current_action,
                    "health": vm.health,
                    "address": self.api.instance(vm.zone, vm.short).address if made else "",
                    "template": vm.version.instance_template if vm.version else "",
                    "errors": vm.errors,
                }
            )
        return {
            "changed": False,
            "group": {
                "name": group.name,
                "target_size": group.target_size,
                "stable": group.status.is_stable,
                "named_ports": {port.name: port.port for port in group.named_ports},
                "versions": [
                    {"template": version.instance_template, **_size(version)}
                    for version in group.versions
                ],
            },
            "instances": vms,
            "autoscaler": scaler
            and {
                "name": scaler.name,
                "mode": scaler.autoscaling_policy.mode,
                "min": scaler.autoscaling_policy.min_num_replicas,
                "max": scaler.autoscaling_policy.max_num_replicas,
                "recommended": scaler.recommended_size,
            },
            "backends": self.views(),
        }

    def views(self) -> dict[str, dict[str, str]]:
        """Each load balancer's view of the VMs."""
        group = self.api.group(self.name)
        return {
            backend["name"]: self.api.backend_health(
                backend["name"], group, regional=backend["regional"]
            )
            for backend in self.options["backends"]
        }

    def autoscaler(self) -> dict[str, Any]:
        """Set mode and minimum."""
        found = self.api.autoscaler(self.name)
        if found is None:
            self.module.fail_json(msg=f"Group '{self.name}' has no autoscaler.")
        policy = found.autoscaling_policy
        before = {"mode": policy.mode, "min": policy.min_num_replicas}
        mode = self.options["mode"] or policy.mode
        minimum = self.options["minimum"]
        if minimum is None or (self.options["only_raise"] and minimum < policy.min_num_replicas):
            minimum = policy.min_num_replicas
        after = {"mode": mode, "min": minimum}
        changed = before != after
        if changed and not self.module.check_mode:
            self.api.set_autoscaler(found.name, mode=after["mode"], minimum=after["min"])
        return {"changed": changed, "before": before, "after": after}

    def recreate(self) -> dict[str, Any]:
        """Recreate VMs, and wait until they are made and live."""
        names = self.options["instances"]
        if not names or self.module.check_mode:
            return {"changed": bool(names), "seconds": 0.0}
        ids = {vm.short: vm.id for vm in self.api.managed(self.name)}
        self.api.recreate(self.name, names)
        return self._wait(
            lambda vms: all(
                name in vms
                and vms[name].id not in ("", ids.get(name))
                and vms[name].current_action == "NONE"
                and vms[name].health in ("HEALTHY", "UNKNOWN")
                for name in names
            ),
            "recreated",
        )

    def delete(self) -> dict[str, Any]:
        """Delete VMs that are there, and wait until they are gone."""
        there = {vm.short for vm in self.api.managed(self.name)}
        names = [name for name in self.options["instances"] if name in there]
        if not names or self.module.check_mode:
            return {"changed": bool(names), "seconds": 0.0}
        self.api.delete(self.name, names)
        return self._wait(lambda vms: not set(names) & set(vms), "deleted")

    def resize(self) -> dict[str, Any]:
        """Set the target size, and wait until the group is at rest."""
        size = self.options["size"]
        changed = self.api.group(self.name).target_size != size
        if not changed or self.module.check_mode:
            return {"changed": changed, "seconds": 0.0}
        self.api.resize(self.name, size)
        return self._wait(
            lambda vms: (
                len(vms) == size and all(vm.current_action == "NONE" for vm in vms.values())
            ),
            "there",
        )

    def versions(self) -> dict[str, Any]:
        """Set the group's templates."""
        wanted = []
        for version in self.options["versions"]:
            self.api.check_template(version["template"])
            size = {key: int(version[key]) for key in ("fixed", "percent") if key in version}
            wanted.append(
                {"instanceTemplate": version["template"], **({"targetSize": size} if size else {})}
            )
        changed = self.api.set_versions(self.name, wanted, only_ask=self.module.check_mode)
        return {"changed": changed}

    def wait_health(self) -> dict[str, Any]:
        """Wait until every load balancer sees the VMs so, several looks in a row."""
        names, state = self.options["instances"], self.options["state"]
        began, agreed = time.monotonic(), 0
        while True:
            views = self.views()
            other = [
                f"{name} is {view.get(name, 'unknown')} in {backend}"
                for backend, view in views.items()
                for name in names
                if (view.get(name) == "HEALTHY") != (state == "HEALTHY")
            ]
            agreed = 0 if other else agreed + 1
            seconds = round(time.monotonic() - began, 2)
            if agreed >= self.options["looks"]:
                return {"changed": False, "seconds": seconds, "backends": views}
            if seconds > self.options["wait_s"]:
                words = ", ".join(other) or "the view changes at every look"
                self.module.fail_json(
                    msg=f"Not {state} in every load balancer after {seconds:.0f} s: {words}.",
                    failure="DeadlinePassed",
                )
            time.sleep(self.options["interval_s"])

    def wait_serving(self) -> dict[str, Any]:
        """Wait until so many VMs, beside `instances`, get traffic from every load balancer."""
        began = time.monotonic()
        while True:
            views = self.views().values()
            vms = {vm.short: vm for vm in self.api.managed(self.name)}
            others = [name for name in vms if name not in self.options["instances"]]
            serving = [n for n in others if all(view.get(n) == "HEALTHY" for view in views)]
            seconds = round(time.monotonic() - began, 2)
            if len(serving) >= self.options["size"]:
                return {"changed": False, "seconds": seconds, "serving": serving}
            if seconds > self.options["wait_s"]:
                wanted = self.options["size"]
                words = f"{len(serving)} of {wanted} VMs serve after {seconds:.0f} s."
                self._fail_late(words, vms)
            time.sleep(self.options["interval_s"])

    def _wait(self, done: Any, what: str) -> dict[str, Any]:
        names, began = self.options["instances"], time.monotonic()
        while self.options["wait_s"] > 0:
            vms = {vm.short: vm for vm in self.api.managed(self.name)}
            if done(vms):
                break
            seconds = time.monotonic() - began
            if seconds > self.options["wait_s"]:
                states = ", ".join(
                    f"{name}: {vm.current_action} {vm.health}"
                    for name, vm in vms.items()
                    if not names or name in names
                )
                self._fail_late(f"Not {what} after {seconds:.0f} s ({states or 'no VM'}).", vms)
            time.sleep(PAUSE_S)
        return {"changed": True, "seconds": round(time.monotonic() - began, 2)}

    def _fail_late(self, words: str, vms: Any) -> None:
        """Fail by the name of what kept the group from making its VMs, if it says so."""
        from skfleet_operator.compute.errors import of_errors

        failed = [error for vm in vms.values() for error in vm.errors]
        if not failed:
            self.module.fail_json(msg=words, failure="DeadlinePassed")
        reason = of_errors(failed, self.name)
        self.module.fail_json(msg=f"{words} {reason}", failure=type(reason).__name__)


def _size(version: Any) -> dict[str, int]:
    """The target size as C(versions) takes it; nothing for the rest."""
    size = version.target_size
    found = {"fixed": size.fixed, "percent": size.percent} if size else {}
    return {key: value for key, value in found.items() if value is not None}


SPECIFICATION: dict[str, Any] = {
    "argument_spec": {
        "endpoint": {"default": ""},
        "project": {"required": True},
        "region": {"required": True},
        "group": {"required": True},
        "backends": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": {"required": True},
                "regional": {"type": "bool", "default": False},
            },
        },
        "action": {
            "required": True,
            "choices": [
                "info",
                "autoscaler",
                "recreate",
                "delete",
                "resize",
                "versions",
                "wait_health",
                "wait_serving",
            ],
        },
        "instances": {"type": "list", "elements": "str", "default": []},
        "mode": {"choices": ["ON", "OFF", "ONLY_SCALE_OUT", "ONLY_UP"]},
        "minimum": {"type": "int"},
        "only_raise": {"type": "bool", "default": False},
        "size": {"type": "int"},
        "versions": {"type": "list", "elements": "dict", "default": []},
        "state": {"choices": ["HEALTHY", "UNHEALTHY"]},
        "looks": {"type": "int", "default": 2},
        "interval_s": {"type": "float", "default": 1.0},
        "wait_s": {"type": "float", "default": 0.0},
    },
    "required_if": [
        ("action", "wait_health", ("state", "instances")),
        ("action", "wait_serving", ("size",)),
        ("action", "resize", ("size",)),
    ],
}


def run(module: AnsibleModule) -> None:
    """What its arguments ask for; the action plugin of this name calls it in the controller."""
    # `required_if` takes an empty list for a given one; no group is without a template.
    if module.params["action"] == "versions" and not module.params["versions"]:
        module.fail_json(msg="versions needs templates: versions is empty.")
    from skfleet.errors import SkfleetError

    try:
        answer = getattr(Mig(module), module.params["action"])()
    except SkfleetError as error:
        module.fail_json(msg=str(error), failure=type(error).__name__)
    module.exit_json(**answer)


if __name__ == "__main__":
    run(AnsibleModule(**SPECIFICATION, supports_check_mode=True))
