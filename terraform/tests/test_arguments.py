"""What mocks cannot show: steps that need a later one, arguments that are left out, zeros, order of deletion.

The sources are read as `terraform fmt` leaves them: one block or argument begins a line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from apply.driver import TERRAFORM, Workspace, copy_tree, terraform_environment
from apply.journeys import JOURNEYS, NEEDS_AN_IMAGE

SOURCES = sorted(p for p in TERRAFORM.rglob("*.tf") if ".terraform" not in p.parts)


# ---------------------------------------------------------------------- the sources
@dataclass
class Block:
    """A block of a source file: its labels, arguments as text, and inner blocks."""

    labels: tuple[str, ...]
    arguments: dict[str, str] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def walk(self, path: str = "") -> Iterator[tuple[str, Block, bool]]:
        """Every block below this one with its path and whether it is dynamic, `content` left out."""
        for inner in self.blocks:
            kind, *rest = inner.labels
            if kind == "content":
                yield from inner.walk(path)
                continue
            name = f"{path}{rest[0] if kind == 'dynamic' else kind}"
            yield name, inner, kind == "dynamic"
            yield from inner.walk(f"{name}.")

    def values(self) -> Iterator[tuple[str, str]]:
        """Every argument with its path."""
        for path, block, _ in [("", self, False), *self.walk()]:
            contents = [b for b in block.blocks if b.labels == ("content",)]
            for holder in [block, *contents] if path or block is self else []:
                for name, text in holder.arguments.items():
                    if name not in ("for_each", "count", "depends_on", "provider"):
                        yield f"{path}.{name}".strip("."), text


OPENING = re.compile(r'^\s*(\w+(?: "[^"]+")*) \{(\})?$')
ARGUMENT = re.compile(r"^\s*(\w+)\s+= (.*)$")


def parse(text: str) -> Block:
    root = Block(())
    stack, lines = [root], iter(text.splitlines())
    for raw in lines:
        line = re.sub(r"\s+#.*$", "", raw)
        if opening := OPENING.match(line):
            block = Block(tuple(re.findall(r'[^\s"]+', opening[1])))
            stack[-1].blocks.append(block)
            if not opening[2]:
                stack.append(block)
        elif argument := ARGUMENT.match(line):
            value = argument[2]
            if heredoc := re.search(r"<<-?(\w+)$", value):
                while next(lines).strip() != heredoc[1]:
                    pass
            while sum(map(value.count, "([{")) > sum(map(value.count, ")]}")):
                value += "\n" + re.sub(r"\s+#.*$", "", next(lines))
            stack[-1].arguments[argument[1]] = value
        elif line.strip() == "}":
            stack.pop()
    assert len(stack) == 1
    return root


@dataclass
class Resource:
    path: Path
    type: str
    name: str
    block: Block

    @property
    def address(self) -> str:
        return f"{self.type}.{self.name}"

    @property
    def repeated(self) -> bool:
        return bool({"for_each", "count"} & self.block.arguments.keys())


PARSED = {path: parse(path.read_text(encoding="utf-8")) for path in SOURCES}
RESOURCES = [
    Resource(path, block.labels[1], block.labels[2], block)
    for path, root in PARSED.items()
    for block in root.blocks
    if block.labels[0] == "resource"
]


def test_sources_are_read_whole() -> None:
    declared = sum(
        len(re.findall(r'^resource "', path.read_text(encoding="utf-8"), re.MULTILINE))
        for path in SOURCES
    )
    assert len(RESOURCES) == declared > 60
    assert any(r.block.blocks and r.block.arguments for r in RESOURCES)


# ---------------------------------------------------------------------- Terraform's own reading
@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    base = tmp_path_factory.mktemp("arguments")
    plugins = base / "plugins"
    plugins.mkdir()
    root = copy_tree(base)
    # The project's number is read from Google; a plan of the first steps needs none.
    locals_file = root / "locals.tf"
    locals_file.write_text(
        locals_file.read_text(encoding="utf-8").replace(
            "tostring(data.google_project.this.number)", '"123456789012"'
        ),
        encoding="utf-8",
    )
    environment = {**terraform_environment(plugins), "GOOGLE_OAUTH_ACCESS_TOKEN": "placeholder"}
    workspace = Workspace(base, environment)
    try:
        done = workspace.run("init")
    except FileNotFoundError:
        reason = "terraform is not on PATH; install Terraform 1.11 or newer and put it on PATH"
    else:
        if done.returncode == 0:
            return workspace
        reason = f"terraform init failed ({done.stdout[-300:]}); see HOW_TO_GET_PROVIDER in test_terraform.py"
    if os.environ.get("SKFLEET_NO_SKIP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def schemas(workspace: Workspace) -> dict[str, Any]:
    """Type of resource => its block, as the provider publishes it."""
    document = json.loads(workspace.need("providers", "schema", "-json"))
    providers = document["provider_schemas"]
    (google,) = (schema for name, schema in providers.items() if name.endswith("hashicorp/google"))
    return {name: schema["block"] for name, schema in google["resource_schemas"].items()}


@pytest.mark.timeout(300)
def test_first_steps_plan_nothing_that_needs_an_image(workspace: Workspace) -> None:
    """What comes before the first image: the network, the bucket, the workflows' identities."""
    targets = [f"-target=module.{name}" for name in ("network", "artifacts", "delivery")]
    workspace.need("plan", "-out=plan", "-var-file=environments/prod.tfvars", *targets)
    planned = json.loads(workspace.need("show", "-json", "plan"))["resource_changes"]
    types = {change["type"] for change in planned}
    assert {
        "google_compute_firewall",
        "google_compute_router_nat",
        "google_service_account",
    } <= types
    assert not {c["address"] for c in planned if c["type"] in NEEDS_AN_IMAGE}


# ---------------------------------------------------------------------- switched off by leaving it out
# A computed argument or block that is left out keeps what Google holds. Whatever may be left out stands here
# with the reason why it is switched off all the same, and the journey that shows it.
AUTOSCALING = "google_compute_region_autoscaler.autoscaling_policy"
PROXY = "google_compute_region_target_https_proxy"
MAY_BE_LEFT_OUT = {
    "google_storage_bucket.rpo": "only without data_locations, which a bucket cannot gain or lose",
    "google_storage_bucket.custom_placement_config": "a bucket cannot gain or lose it",
    "google_storage_bucket.encryption": "not computed: the provider clears the key",
    "google_kms_crypto_key_iam_member.crypto_key_id": "never null where there is a grant",
    "google_compute_backend_service.backend": "one a region, never none (regions)",
    "google_compute_backend_service.iap.oauth2_client_id": "not computed: sent empty (options)",
    "google_compute_backend_service.iap.oauth2_client_secret": "not computed: sent empty (options)",
    "google_compute_security_policy.adaptive_protection_config": "not computed: sent off (options)",
    "google_compute_security_policy.rule": "sent whole; the default rule is always there (options)",
    f"{PROXY}.ssl_certificates": "one of the two is always set (certificates)",
    f"{PROXY}.certificate_manager_certificates": "one of the two is always set (certificates)",
    "google_dns_record_set.rrdatas": "routing_policy stands for it (regions)",
    "google_dns_record_set.routing_policy": "rrdatas stands for it (regions)",
    f"{AUTOSCALING}.load_balancing_utilization": "the policy is sent whole (options)",
    f"{AUTOSCALING}.scaling_schedules": "the policy is sent whole (options)",
    f"{AUTOSCALING}.scale_in_control.max_scaled_in_replicas.fixed": "percent stands for it (options)",
    f"{AUTOSCALING}.scale_in_control.max_scaled_in_replicas.percent": "fixed stands for it (options)",
    "google_compute_region_instance_group_manager.named_port": "the listeners, never none",
    "google_compute_instance_template.disk.disk_encryption_key": "a template never changes",
    "google_compute_instance_template.scheduling.instance_termination_action": "a template never changes",
    "google_compute_instance.boot_disk.initialize_params.image": "never null where there are generators",
    "google_project_iam_audit_config.audit_log_config": "never none; sent whole",
    "google_billing_budget.threshold_rules": "sent whole",
    "google_billing_budget.all_updates_rule": "not computed: cleared (channels)",
    "google_monitoring_alert_policy.conditions": "always two",
}


def nullable(path: Path) -> set[str]:
    """Names of attributes in a module's variables that are null unless somebody sets them."""
    variables = path.parent / "variables.tf"
    text = variables.read_text(encoding="utf-8") if variables.exists() else ""
    return set(re.findall(r"(\w+)\s*=\s*optional\([a-z]+(?:\([a-z]+\))?\)(?!,)", text))


def may_be_left_out(resource: Resource) -> Iterator[str]:
    """Paths of a resource's arguments and blocks that some setting leaves out."""
    blocks = [path for path, _, dynamic in resource.block.walk() if dynamic]
    outermost = [p for p in blocks if not any(p.startswith(f"{other}.") for other in blocks)]
    yield from outermost
    for path, text in resource.block.values():
        if any(path.startswith(f"{block}.") for block in outermost):
            continue
        without_strings = re.sub(r'"[^"]*"', "", text)
        last = re.fullmatch(r"(?:var|each\.value|\w+\.value)(?:\.\w+)*\.(\w+)", text)
        if re.search(r"(?<![!=]= )\bnull\b", without_strings) or (
            last and last[1] in nullable(resource.path)
        ):
            yield path


def test_whatever_may_be_left_out_is_switched_off_all_the_same() -> None:
    """The schema does not say which blocks are computed, so every one that may be absent counts."""
    found = {f"{r.type}.{path}" for r in RESOURCES for path in may_be_left_out(r)}
    assert found - MAY_BE_LEFT_OUT.keys() == set(), (
        "write the off value, or say here why it is not needed"
    )
    assert MAY_BE_LEFT_OUT.keys() - found == set(), "no longer left out: drop the line"


@pytest.mark.timeout(300)
def test_computed_arguments_are_never_left_out(schemas: dict[str, Any]) -> None:
    """Optional and computed: null means 'as it is'. Only what cannot change after creation may be null."""
    immutable = {
        "google_storage_bucket.rpo",
        "google_compute_instance.boot_disk.initialize_params.image",
    }
    computed = set()
    for resource in RESOURCES:
        for path in may_be_left_out(resource):
            *steps, last = path.split(".")
            block = schemas[resource.type]
            for step in steps:
                block = block["block_types"][step]["block"]
            attribute = block.get("attributes", {}).get(last, {})
            if attribute.get("optional") and attribute.get("computed"):
                computed.add(f"{resource.type}.{path}")
    assert computed - immutable == set()


# ---------------------------------------------------------------------- zeros
# The provider drops a zero from most requests, and Google takes its default, which for these is 0.
ZEROS = {
    "google_compute_backend_service.outlier_detection.enforcing_consecutive_errors",
    "google_compute_region_backend_service.outlier_detection.enforcing_consecutive_errors",
}


def test_no_zero_is_written_that_does_not_reach_google() -> None:
    zeros = {
        f"{r.type}.{path}" for r in RESOURCES for path, text in r.block.values() if text == "0"
    }
    assert zeros == ZEROS


# ---------------------------------------------------------------------- destroyed before its users let go
# An instance that leaves is destroyed before whoever merely stops naming it is updated, unless it says
# create_before_destroy. Whoever reads all instances of a resource outlives each. Where that is harmless:
USERS_GO_TOO = {
    "delivery/google_service_account.this": "the same four roles, always",
    "edge_internal/google_compute_address.this": "the record names it, which Cloud DNS does not check",
    "edge_internal/google_compute_forwarding_rule.this": "likewise",
    "edge_internal/google_compute_region_backend_service.this": "outputs alone: names and ids in documents",
    "loadgen/google_compute_instance.this": "outputs alone",
    "network/google_compute_subnetwork.this": "outputs are read by region; what is in it goes first",
    "network/google_compute_subnetwork.proxy": "outputs are read by region; its load balancer goes first",
    "slo/google_monitoring_alert_policy.availability": "outputs alone",
    "slo/google_monitoring_alert_policy.health": "outputs alone",
    "slo/google_monitoring_alert_policy.latency": "outputs alone",
    "slo/google_monitoring_alert_policy.uptime": "outputs alone",
}


def protected(resource: Resource) -> bool:
    lifecycle = [b for b in resource.block.blocks if b.labels == ("lifecycle",)]
    return any(b.arguments.get("create_before_destroy") == "true" for b in lifecycle)


def test_what_is_read_as_a_whole_is_destroyed_after_its_users() -> None:
    found = set()
    for resource in RESOURCES:
        address = re.escape(resource.address)
        whole = re.compile(rf"\bin {address}\b|\b{address}\[(?!each\.|0\])|\b{address}\[\*\]")
        folder = [p for p in SOURCES if p.parent == resource.path.parent]
        read = any(whole.search(p.read_text(encoding="utf-8")) for p in folder)
        if resource.repeated and read and not protected(resource):
            found.add(f"{resource.path.parent.name}/{resource.address}")
    assert found == USERS_GO_TOO.keys()


@pytest.mark.parametrize(
    "kind", ["google_monitoring_notification_channel", "google_monitoring_uptime_check_config"]
)
def test_what_alerts_name_is_destroyed_after_they_let_go(kind: str) -> None:
    for resource in RESOURCES:
        assert resource.type != kind or protected(resource), resource.address


def test_journeys_have_names_of_their_own() -> None:
    assert len({j.name for j in JOURNEYS}) == len(JOURNEYS)
    for journey in JOURNEYS:
        names = [step.name for step in journey.steps]
        assert len(set(names)) == len(names), journey.name
