"""What others write is data to the playbooks: variables, environment, answers of the cloud and of VMs."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from skfleet.ansible_data import unsafe_yaml
from skfleet.errors import ConfigurationError
from skfleet_operator.compute.client import Compute
from skfleet_operator.compute.hostkeys import lines
from skfleet_operator.compute.model import Autoscaler, Group, Instance, Managed
from skfleet_operator.rollouts.evidence import Options
from skfleet_testing import planted

REPOSITORY = Path(__file__).resolve().parents[2]
RECORDED = json.loads((Path(__file__).parent / "answers/compute.json").read_text())
TERRAFORM = json.loads((Path(__file__).parent / "answers/terraform.json").read_text())
ALL = yaml.safe_load((REPOSITORY / "playbooks/group_vars/all.yml").read_text())
# Beside those of group_vars: what the heads of the playbooks name.
NAMED = "release model settings image host state reason profile rate duration target baseline events".split()


def ansible(
    program: str, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [f"{sys.prefix}/bin/{program}", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


# The command line


def command_lines(text: str, directory: Path) -> Iterator[list[str]]:
    """The ways in which a variable can be given."""
    yield ["-e", f"release={{{{lookup('pipe','touch$IFS{directory}/ran')}}}}"]
    yield ["-e", json.dumps(dict.fromkeys([*NAMED, *ALL], text))]
    yield ["-e", json.dumps({"settings": {"workers": [text]}})]
    file = directory / "variables.yml"
    file.write_text(yaml.safe_dump({"rollout_reason": text}))
    yield ["-e", f"@{file}"]
    # What Ansible's own JSON form of data becomes where a value holds the form's name.
    nested = directory / "nested.json"
    nested.write_text(json.dumps({"release": {"__ansible_unsafe": {"__ansible_unsafe": text}}}))
    yield ["-e", f"@{nested}"]
    yield ["-e", json.dumps({"release": f"#jinja2: block_start_string:'<%'\n{text}"})]


@pytest.mark.parametrize("way", range(6))
def test_template_of_the_command_line_is_refused_before_anything_is_evaluated(
    tmp_path: Path, way: int
) -> None:
    arguments = list(command_lines(planted.text(tmp_path), tmp_path))[way]
    playbook = ("rollout", "drain", "waves")[way % 3]
    done = ansible("ansible-playbook", "-i", "localhost,", f"playbooks/{playbook}.yml", *arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "expected a value, not a template" in done.stderr
    assert "PLAY [" not in done.stdout
    assert not planted.ran(tmp_path)


def test_data_is_taken_as_it_is_wherever_it_comes_from(tmp_path: Path) -> None:
    """A file of data, the environment, a document, and what a VM prints."""
    text = planted.text(tmp_path)
    values = {"said": text, "more": {text: [text, "1", "no", "2026-01-01T00:00:00Z", 1, None]}}
    (tmp_path / "values.yml").write_text(unsafe_yaml(values))
    document = tmp_path / "document.json"
    document.write_text(json.dumps({"x": text, text: [text]}))
    found = "[said, more, lookup('ansible.builtin.env', 'PLANTED'), document, answer, fact]"
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_python_interpreter": sys.executable,
            "document": f"{{{{ lookup('ansible.builtin.file', '{document}') | from_json }}}}",
            "answer": "{{ printed.stdout | from_json }}",
        },
        "tasks": [
            {"ansible.builtin.command": {"argv": ["cat", str(document)]}, "register": "printed"},
            {"ansible.builtin.set_fact": {"fact": "{{ answer.x }}"}},
            {
                "ansible.builtin.copy": {
                    "content": f"{{{{ {found} | to_json }}}}",
                    "dest": str(tmp_path / "out"),
                    "mode": "0600",
                }
            },
        ],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    done = ansible(
        *("ansible-playbook", "-i", "localhost,", str(tmp_path / "play.yml")),
        *("-e", f"@{tmp_path}/values.yml"),
        env={"PLANTED": text},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    written = json.loads(document.read_text())
    assert json.loads((tmp_path / "out").read_text()) == [
        *(text, values["more"], text),
        *(written, written, text),
    ]
    assert not planted.ran(tmp_path)


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
WORDS = st.sampled_from(
    ["{{ x }}", "{% x %}", "<<", "=", "!unsafe", "1", "no", "~", "__ansible_unsafe"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | WORDS, inner, max_size=3),
    max_leaves=10,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXT, VALUES, max_size=3))
def test_data_is_read_back_as_it_was_and_is_no_template(values: dict[str, Any]) -> None:
    from ansible.parsing.dataloader import DataLoader
    from ansible.template import is_trusted_as_template, trust_as_template

    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for key, one in value.items():
                yield from (key, *strings(one))
        elif isinstance(value, list):
            for one in value:
                yield from strings(one)

    read = DataLoader().load(trust_as_template(unsafe_yaml(values)))  # as for --extra-vars=@FILE
    assert read == values
    assert not any(map(is_trusted_as_template, strings(read)))


def test_replayed_options_are_those_of_the_playbooks() -> None:
    assert {field.name for field in msgspec.structs.fields(Options)} == set(ALL["rollout_options"])


# The cloud


KINDS = {"InstanceGroupManager": Group, "Instance": Instance, "Autoscaler": Autoscaler}


def inventory(directory: Path, terraform: dict[str, Any], **env: str) -> str:
    """`ansible-inventory` with this terraform.json, which must not go well; what it says."""
    folder = directory / "gcp"
    shutil.copytree(
        REPOSITORY / "inventories/gcp", folder, ignore=shutil.ignore_patterns("terraform.json")
    )
    (folder / "terraform.json").write_text(json.dumps(terraform))
    done = ansible("ansible-inventory", "-i", str(folder), "--list", env=env)
    assert done.returncode != 0, done.stdout
    return done.stderr


def replaced(value: Any, text: str) -> Any:
    """`value` with every string replaced."""
    if isinstance(value, dict):
        return {key: replaced(one, text) for key, one in value.items()}
    if isinstance(value, list):
        return [replaced(one, text) for one in value]
    return text if isinstance(value, str) else value


def test_inventory_evaluates_nothing_of_terraform_or_the_environment(tmp_path: Path) -> None:
    text = planted.text(tmp_path)
    fleet = next(iter(TERRAFORM["fleets"]))
    terraform = replaced(TERRAFORM, text)
    terraform["fleets"] = {fleet: replaced(TERRAFORM["fleets"][fleet], text)}
    env = {"SKFLEET_COMPUTE_ENDPOINT": text, "SKFLEET_SSH_USER": text, "SKFLEET_FLEET": fleet}
    said = inventory(tmp_path, terraform, **env)
    assert "Invalid generators" in said
    shutil.rmtree(tmp_path / "gcp")
    said = inventory(tmp_path, {**terraform, "loadgen": {"instances": {}}}, **env)
    assert "Invalid project" in said
    assert not planted.ran(tmp_path)


HOSTILE = [
    "{{ 7 * 7 }}",
    "a b",
    "a\n",
    "a;b",
    "$(b)",
    '"b',
    "-oProxyCommand=b",
    "localhost",
    "A",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_answer_of_the_cloud_holds_names_addresses_and_numbers_alone(text: str) -> None:
    good = {
        "instance": "https://x/projects/p/zones/z-a/instances/vm-1",
        "name": "vm-1",
        "id": "1",
        "instanceStatus": "RUNNING",
    }
    msgspec.convert(good, Managed)
    for field in ("name", "id"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**good, field: text}, Managed)
    for place in ("z-a", "vm-1"):
        if (place, text) != ("z-a", "localhost"):
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert(
                    {**good, "instance": good["instance"].replace(place, text)}, Managed
                )
    instance = {"name": "vm-1", "id": "1", "zone": "z", "status": "RUNNING"}
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**instance, "networkInterfaces": [{"networkIP": text}]}, Instance)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text != "localhost"])
@pytest.mark.parametrize("which", range(3))
def test_project_region_and_endpoint_are_names(text: str, which: int) -> None:
    good = ["p", "r-1", "https://localhost:1/x"]
    Compute(*good)
    good[which] = text if which < 2 else f"https://{text}"
    if (which, text) != (2, "A") and (which, text) != (2, "-oProxyCommand=b"):
        with pytest.raises(ConfigurationError):
            Compute(*good)


def test_host_key_of_a_vm_is_one_line_and_no_directive() -> None:
    class Attributes:
        def guest_attributes(self, *_: str) -> dict[str, str]:
            return {
                "ssh-ed25519": "AAAA+/=",
                "ssh-rsa": "AAAA\n* ssh-rsa BBBB",
                "ssh-dss x\n@cert-authority *": "AAAA",
            }

    found = lines(Attributes(), "z", "vm", "compute.1")  # type: ignore[arg-type]
    assert found == ["compute.1 ssh-ed25519 AAAA+/="]


# The VMs


def test_facts_that_a_vm_answers_are_no_variables_of_the_controller(tmp_path: Path) -> None:
    """As variables they would go before the inventory's: the next call would go to the VM's own API."""
    answer = {
        "rc": 0,
        "stdout": "",
        "changed": False,
        "ansible_facts": {
            "skfleet_compute": {"endpoint": "http://evil"},
            "rollout_events": str(tmp_path / "ran"),
            "skfleet_prefix": planted.text(tmp_path),
        },
        "add_host": {"host_name": "localhost", "groups": ["evil"], "host_vars": {}},
    }
    interpreter = tmp_path / "python"
    interpreter.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps(answer)}\nEND\n")
    interpreter.chmod(0o755)
    (tmp_path / "hosts.yml").write_text(
        json.dumps(
            {
                "fleet": {
                    "hosts": {"vm-1": {"ansible_connection": "local"}},
                    "vars": {
                        "skfleet_compute": {"endpoint": "http://ours"},
                        "skfleet_prefix": "/vm",
                    },
                }
            }
        )
    )
    (tmp_path / "play.yml").write_text(
        json.dumps(
            [
                {
                    "hosts": "fleet",
                    "gather_facts": False,
                    "vars": {"ansible_python_interpreter": str(interpreter)},
                    "tasks": [
                        {
                            "name": "Ask",
                            "ansible.builtin.command": {"argv": ["true"]},
                            "vars": {"rollout_step": "stage"},
                        },
                        {
                            "name": "Say",
                            "ansible.builtin.debug": {
                                "msg": "found {{ skfleet_compute.endpoint }} {{ skfleet_prefix }} "
                                "{{ groups.keys() | join(' ') }}"
                            },
                            "vars": {"rollout_step": "drain"},
                        },
                    ],
                }
            ]
        )
    )
    done = ansible(
        "ansible-playbook", "-i", str(tmp_path / "hosts.yml"), str(tmp_path / "play.yml")
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found http://ours /vm" in done.stdout
    assert not re.search(r"found .*evil", done.stdout)
    assert not planted.ran(tmp_path), "nor does it say where the controller writes"


def test_recorded_answers_are_of_this_form() -> None:
    """What is refused above is nothing that Google answers."""
    for recorded in RECORDED.values():
        answer = copy.deepcopy(recorded["answer"])
        for item in answer.get("managedInstances", []):
            msgspec.convert(item, Managed)
        if kind := KINDS.get(recorded["schema"]):
            msgspec.convert(answer, kind)


def test_options_of_a_rollout_are_handed_on_as_they_are(tmp_path: Path) -> None:
    """Ansible's own numbers and lists, as waves.yml hands them to the filter."""
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        f"localhost ansible_connection=local ansible_python_interpreter={sys.executable}\n"
    )
    content = "{{ rollout_options | combine({'release': 'b'}) | unsafe_yaml }}"
    arguments = {"content": content, "dest": str(tmp_path / "variables.yml"), "mode": "0600"}
    done = ansible(
        "ansible", "-i", str(inventory), "--playbook-dir", str(REPOSITORY / "playbooks"),
        "localhost", "-m", "ansible.builtin.copy", "-a", json.dumps(arguments),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    written = (tmp_path / "variables.yml").read_text()
    assert written.startswith("!unsafe")
    values = yaml.safe_load(written.removeprefix("!unsafe"))
    assert (values["release"], values["rollout_batches"]) == ("b", [1, "25%", "100%"])
    assert values["rollout_capacity"] == 0.6
