"""Ansible inventory: the VMs of a managed instance group, as its API lists them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin, Constructable

DOCUMENTATION = r"""
name: skfleet
short_description: VMs of a regional managed instance group
description:
  - Lists the group's VMs through the Compute Engine API, the same way for Google's and for the local fleet.
  - Groups are C(fleet) with every VM and C(zone_NAME), below C(skfleet), like C(controller) and C(loadgen).
  - An API that cannot be asked is an error, never an empty inventory.
extends_documentation_fragment: [constructed]
options:
  plugin:
    description: Name of this plugin.
    required: true
    choices: [skfleet]
  endpoint:
    description: Base of the API; empty is Google's. A template, as all values below.
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
  generators:
    description:
      - Load generators by name, each with C(zone), C(address) and C(part), leader or worker.
      - The leader comes first.
    type: raw
    default: {}
  login:
    description:
      - Directory that C(skfleet ssh setup) wrote for the project; without a login that holds nothing is run.
        Becomes the variable C(skfleet_login), with C(user) and C(key). Empty where another login is used.
    type: str
    default: ""
  host_keys:
    description:
      - How ssh knows a VM. C(guest-attributes) are the keys that the VM published, read for each connection;
        C(first-use) are those that it showed first, kept in O(known_hosts). Becomes C(skfleet_ssh_host_keys).
    type: str
    default: guest-attributes
  known_hosts:
    description: File for C(first-use). Becomes C(skfleet_ssh_known_hosts).
    type: str
    default: ""
author: skfleet
"""

HOST_KEYS = ("guest-attributes", "first-use")


class InventoryModule(BaseInventoryPlugin, Constructable):
    """Ansible's interface."""

    NAME = "skfleet"

    def verify_file(self, path: str) -> bool:
        """Files that end in `skfleet.yml`."""
        return super().verify_file(path) and path.endswith("skfleet.yml")

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = False) -> None:
        """Fill the inventory."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        self.templar.available_variables = {"inventory_dir": str(Path(path).parent)}
        self._base_groups()
        self._ssh()
        from skfleet.errors import SkfleetError

        try:
            self._generators(self.templar.template(self.get_option("generators")))
            target, vms = self._ask()
        except SkfleetError as error:
            raise AnsibleParserError(f"{path}: {error}") from None
        for vm, address in vms:
            self._add(vm, address)
        if len(vms) != target:
            self.display.warning(f"{len(vms)} VMs, where the group's target size is {target}.")

    def _base_groups(self) -> None:
        self.inventory.add_group("skfleet")
        for name in ("fleet", "loadgen", "controller"):
            self.inventory.add_group(name)
            self.inventory.add_child("skfleet", name)
        self.inventory.add_host("localhost", group="controller")
        self.inventory.set_variable("localhost", "ansible_connection", "local")
        # Modules of the controller need what this process has: skfleet itself.
        self.inventory.set_variable("localhost", "ansible_python_interpreter", sys.executable)

    def _ssh(self) -> None:
        """How VMs are reached. What is missing stops every playbook here, before a lease is taken."""
        from skfleet.errors import SkfleetError
        from skfleet_operator.ssh import login

        trust, known_hosts, folder = (
            str(self.templar.template(self.get_option(name))).strip()
            for name in ("host_keys", "known_hosts", "login")
        )
        if trust not in HOST_KEYS:
            raise AnsibleParserError(
                f"Invalid SKFLEET_SSH_HOST_KEYS '{trust}': expected {' or '.join(HOST_KEYS)}."
            )
        self.inventory.set_variable("skfleet", "skfleet_ssh_host_keys", trust)
        self.inventory.set_variable("skfleet", "skfleet_ssh_known_hosts", known_hosts)
        if trust == "first-use":
            login.make_folder(Path(known_hosts).parent)
            self.display.warning(
                f"SKFLEET_SSH_HOST_KEYS=first-use: ssh trusts the key that a VM shows first and keeps it in "
                f"{known_hosts}. IAP's tunnel alone vouches for that first connection."
            )
        if not folder:
            return
        try:
            found = login.require_login(Path(folder))
        except SkfleetError as error:
            raise AnsibleParserError(str(error)) from None
        facts = {"user": found.user, "key": str((Path(folder) / login.KEY_FILE).resolve())}
        self.inventory.set_variable("skfleet", "skfleet_login", facts)

    def _generators(self, said: Any) -> None:
        import msgspec

        from skfleet.ansible_data import plain
        from skfleet.errors import ConfigurationError
        from skfleet_operator.compute.model import Generator, InstanceName

        try:
            generators = msgspec.convert(plain(said), dict[InstanceName, Generator])
        except msgspec.ValidationError as error:
            raise ConfigurationError(f"Invalid generators: {error}.") from None
        for name in sorted(generators, key=lambda name: (generators[name].part != "leader", name)):
            self.inventory.add_host(name, group="loadgen")
            self.inventory.set_variable(name, "ansible_host", generators[name].address)
            self.inventory.set_variable(name, "skfleet_zone", generators[name].zone)
            self.inventory.set_variable(name, "skfleet_instance", name)

    def _ask(self) -> tuple[int, list[tuple[Any, str]]]:
        from skfleet_operator.compute.client import Compute

        def option(name: str) -> str:
            return str(self.templar.template(self.get_option(name)))

        api = Compute(option("project"), option("region"), option("endpoint"))
        group = api.group(option("group"))
        vms = []
        for vm in api.managed(group.name):
            # What leaves gets nothing more; what has no disk yet cannot be reached.
            if vm.current_action == "DELETING" or not vm.id or not vm.instance_status:
                continue
            vms.append((vm, api.instance(vm.zone, vm.short).address))
        return group.target_size, [(vm, address) for vm, address in vms if address]

    def _add(self, vm: Any, address: str) -> None:
        name = vm.short
        self.inventory.add_host(name, group="fleet")
        facts = {
            "ansible_host": address,
            "skfleet_address": address,
            "skfleet_zone": vm.zone,
            "skfleet_instance_id": vm.id,
            # `inventory_hostname` is another host's where a task is delegated.
            "skfleet_instance": vm.short,
        }
        for key, value in facts.items():
            self.inventory.set_variable(name, key, value)
        zone = self.inventory.add_group("zone_" + vm.zone.replace("-", "_"))
        self.inventory.add_child("fleet", zone)
        self.inventory.add_child(zone, name)
        strict = self.get_option("strict")
        variables = self.inventory.get_host(name).get_vars()
        self._set_composite_vars(self.get_option("compose"), variables, name, strict=strict)
        self._add_host_to_composed_groups(self.get_option("groups"), variables, name, strict=strict)
        self._add_host_to_keyed_groups(
            self.get_option("keyed_groups"), variables, name, strict=strict
        )
