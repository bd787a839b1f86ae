"""Ansible module: what a rollout reads from and writes to the fleet's bucket."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: rollout
short_description: Lease, plan, desired release and evidence of a rollout
description:
  - The bucket's side of a rollout. It runs on the controller, where skfleet is installed.
options:
  action:
    description:
      - C(run) gives a new id, C(plan) and C(replacement) make a plan, C(lease) and C(desired) read.
      - C(acquire), C(hold), C(owe), C(release) and C(break) work on the lease.
      - C(desire) moves C(desired.json); C(record) writes the evidence.
    type: str
    required: true
    choices: [run, plan, replacement, lease, desired, acquire, hold, owe, release, break, desire, record]
  bucket:
    description: C(gs://BUCKET) of the fleet.
    type: str
    required: true
  fleet:
    description: Name of the fleet.
    type: str
    required: true
  directory:
    description: Where this controller keeps a rollout's files.
    type: path
    required: true
  run:
    description: Id of the rollout.
    type: str
    default: ""
  by:
    description: Who rolls out.
    type: str
    default: ""
  ttl_s:
    description: Seconds for which the lease holds unless it is renewed.
    type: float
    default: 600
  arguments:
    description: Arguments of the action; see skfleet_operator.rollouts.controller.
    type: dict
    default: {}
author: skfleet
"""

EXAMPLES = r"""
- name: Take the lease
  rollout:
    action: acquire
    bucket: gs://acme-skfleet
    fleet: prod
    directory: .skfleet/rollouts
    run: 20260101-120000-abcdef
    by: deployer
"""

RETURN = r"""
answer:
  description: What the action gives; see skfleet_operator.rollouts.controller.
  type: raw
  returned: success
"""

READS = ("run", "plan", "replacement", "lease", "desired")
WRITES = ("acquire", "hold", "owe", "release", "break", "desire", "record")


def act(options: dict[str, Any]) -> tuple[bool, Any]:
    """(changed, answer) of the action."""
    from skfleet.artifacts.store import Store
    from skfleet.settings import Settings
    from skfleet_operator.rollouts.controller import Controller, new_run

    action, run, by = options["action"], options["run"], options["by"]
    arguments = options["arguments"]
    store = Store(Settings.from_environ().storage_endpoint)
    directory = Path(options["directory"]).resolve()
    controller = Controller(store, options["bucket"], options["fleet"], directory)
    if action == "run":
        return False, new_run()
    if action == "plan":
        return False, controller.plan(**arguments)
    if action == "replacement":
        return False, controller.replacement(**arguments)
    if action == "lease":
        return False, controller.found_lease()
    if action == "desired":
        current, history = controller.desired()
        return False, {"release": current, "history": history}
    if action == "acquire":
        return True, controller.acquire(run, by, options["ttl_s"])
    if action == "break":
        return True, controller.break_lease(run, by, **arguments)
    if action == "hold":
        return False, controller.hold(run, options["ttl_s"])
    if action == "owe":
        return False, controller.owe(run, **arguments)
    if action == "release":
        return controller.release(run, **arguments), None
    if action == "desire":
        return controller.desire(by=by, **arguments), None
    return True, controller.record(id=run, by=by, **arguments)


SPECIFICATION: dict[str, Any] = {
    "argument_spec": {
        "action": {"required": True, "choices": [*READS, *WRITES]},
        "bucket": {"required": True},
        "fleet": {"required": True},
        "directory": {"type": "path", "required": True},
        "run": {"default": ""},
        "by": {"default": ""},
        "ttl_s": {"type": "float", "default": 600.0},
        "arguments": {"type": "dict", "default": {}},
    },
}


def run(module: AnsibleModule) -> None:
    """What its arguments ask for; the action plugin of this name calls it in the controller."""
    if module.check_mode and module.params["action"] in WRITES:
        module.exit_json(changed=True, answer=None)
    from skfleet.errors import SkfleetError

    try:
        changed, answer = act(module.params)
    except SkfleetError as error:
        module.fail_json(msg=str(error), failure=type(error).__name__)
    module.exit_json(changed=changed, answer=answer)


if __name__ == "__main__":
    run(AnsibleModule(**SPECIFICATION, supports_check_mode=True))
