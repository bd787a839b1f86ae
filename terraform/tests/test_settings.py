"""A setting of a module is reachable from the root, and a key that nobody declares is refused by name."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .tree import ENVIRONMENTS, MODULES, TERRAFORM, Tree, insist, messages

Type = dict[str, "Type"]  # keys of an object; `*` is any key of a map

# Module variable (or a part of one) => its place at the root. What is not here the root makes itself.
PLACES = {
    "artifacts": {"bucket": "artifacts", "members.publishers": "members.publishers",
                  "members.deployers": "members.deployers", "members.terraform": "members.terraform"},
    "delivery": {"environments": "delivery.environments", "state_bucket": "delivery.state_bucket",
                 "github": "delivery"},
    "edge_external": {"domains": "external.domains", "certificates": "external.certificates",
                      "dns_zone": "external.dns_zone", "iap.members": "members.accessors",
                      "iap.programmatic_clients": "external.programmatic_clients",
                      "iap_oauth_client": "iap_oauth_client", "armor": "external.armor",
                      "log_sample_rate": "external.log_sample_rate",
                      "max_rate_per_instance": "fleet.max_rate_per_instance"},
    "edge_internal": {"hostname": "internal.hostname", "global_access": "internal.global_access",
                      "allowed_ranges": "internal.allowed_ranges", "iap": "internal.iap",
                      "log_sample_rate": "internal.log_sample_rate",
                      "max_rate_per_instance": "fleet.max_rate_per_instance",
                      "regions.*.certificates": "regions.*.internal_certificates",
                      "regions.*.managed_certificates": "regions.*.internal_managed_certificates"},
    "fleet": {"images": "fleet.images", "autoscaling": "fleet.autoscaling", "update": "fleet.update",
              "standby": "fleet.standby", "labels": "labels", "operators": "members.deployers"},
    "loadgen": {"generators": "loadgen", "operators": "members.deployers"},
    "network": {"regions": "regions", "flow_logs": "flow_logs",
                "service_accounts.ssh_runners": "ssh_runners"},
    "slo": {"channels": "observability.channels", "uptime.path": "observability.uptime_path",
            "long_lookback": "observability.long_lookback", "budget": "observability.budget",
            "project_wide": "observability.project_wide"},
}  # fmt: skip

# What the root makes itself, though a module could be given it.
MADE = {
    "artifacts": {"bucket.labels", "members.readers"},
    "edge_external": {"edge.timeouts.backend_keepalive_s"},
    "edge_internal": {"edge.timeouts.backend_keepalive_s"},
    "fleet": {"production"},
    "loadgen": {"generators.labels"},
    "network": {
        "internal_iap",
        "service_accounts.ssh_targets",
        *(f"listeners.{name}.also" for name in ("iap", "internal", "health")),  # of edge.yml
    },
    "slo": {"uptime", "uptime.status", "fleets", "memory_metric"},
    "bounds": {"numbers.*.whole"},
    "settings": {"maps"},
}


def parse(text: str) -> tuple[dict[str, bool], Type]:
    """A type expression: its paths, each with whether it is optional, and its shape."""
    tokens = re.findall(
        r'"(?:[^"\\]|\\.)*"|[A-Za-z_][\w-]*|[-\d.]+|[^\s]', re.sub(r"#.*", "", text)
    )
    paths: dict[str, bool] = {}
    at = 0

    def skip_value() -> None:
        nonlocal at
        depth = 0
        while depth or tokens[at] not in ",)}":
            depth += (tokens[at] in "([{") - (tokens[at] in ")]}")
            at += 1

    def kind(prefix: str) -> Type:
        nonlocal at
        word = tokens[at]
        at += 1
        if word == "optional":
            at += 1
            shape = kind(prefix)
            if tokens[at] == ",":
                at += 1
                skip_value()
            at += 1
            return shape
        if word in ("map", "list", "set"):
            at += 1
            shape = kind(f"{prefix}.*")
            at += 1
            return {"*": shape}
        if word == "object":
            at += 2
            fields: Type = {}
            while tokens[at] != "}":
                name = tokens[at]
                at += 2
                path = f"{prefix}.{name}"
                paths[path] = tokens[at] == "optional"
                fields[name] = kind(path)
                at += tokens[at] == ","
            at += 2
            return fields
        return {}

    shape = kind("")
    return {path.removeprefix("."): optional for path, optional in paths.items()}, shape


def variables(directory: Path) -> Iterator[tuple[str, str, bool]]:
    """Name, type and whether there is a default, of each variable."""
    declared = (directory / "variables.tf").read_text(encoding="utf-8")
    for name, block in re.findall(
        r'^variable "(\w+)" \{\n(.*?)^\}', declared, re.MULTILINE | re.DOTALL
    ):
        (text,) = re.findall(r"^  type += (.*?)(?=^  [a-z]|\Z)", block, re.MULTILINE | re.DOTALL)
        yield name, text, bool(re.search(r"^  default +=", block, re.MULTILINE))


ROOT: Type = {name: parse(text)[1] for name, text, _ in variables(TERRAFORM)}


def reachable(place: str) -> bool:
    """Whether a tfvars file can set it."""
    shape = ROOT
    for part in place.split("."):
        if part not in shape:
            return False
        shape = shape[part]
    return True


@pytest.mark.parametrize("module", MODULES)
def test_every_optional_setting_of_a_module_can_be_set(module: str) -> None:
    places, made = PLACES.get(module, {}), MADE.get(module, set())
    for name, text, has_default in variables(TERRAFORM / "modules" / module):
        optional = {name: has_default} | {f"{name}.{path}": o for path, o in parse(text)[0].items()}
        for path in (path for path, is_optional in optional.items() if is_optional):
            if path in made:
                continue
            # The longest part of the path that has a place of its own, and the rest below it.
            known = [given for given in places if path == given or path.startswith(f"{given}.")]
            if known:
                given = max(known, key=len)
                place = places[given] + path.removeprefix(given)
                assert reachable(place), f"{module}: {path} cannot be set: the root has no {place}"
            else:
                below = any(given.startswith(f"{path}.") for given in places)
                assert below, (
                    f"{module}: {path} cannot be set, and is not among what the root makes"
                )


def test_all_that_is_made_waits_for_the_comparison() -> None:
    text = (TERRAFORM / "apis.tf").read_text(encoding="utf-8")
    assert "depends_on = [module.settings]" in text


def test_every_variable_of_the_root_is_compared() -> None:
    text = (TERRAFORM / "settings.tf").read_text(encoding="utf-8")
    (declared,) = re.findall(r"^  declared = \{\n(.*?)^  \}", text, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"^    (\w+) +=", declared, re.MULTILINE)) == sorted(ROOT)


def test_every_map_of_the_root_has_free_keys() -> None:
    """Another deployment of the same project has a file of its own, with other regions and images."""

    def maps(shape: Type, place: str = "") -> Iterator[str]:
        for name, inner in shape.items():
            if name == "*":
                yield place
            yield from maps(inner, f"{place}.{name}".lstrip("."))

    lists = {
        path
        for name, text, _ in variables(TERRAFORM)
        for path in re.findall(r"(\w+) += (?:optional\()?(?:list|set)\(", text)
        + [name] * text.startswith("list")
    }
    text = (TERRAFORM / "settings.tf").read_text(encoding="utf-8")
    (named,) = re.findall(r"^  maps = \[\n(.*?)^  \]", text, re.MULTILINE | re.DOTALL)
    expected = {place for place in maps(ROOT) if place.rpartition(".")[2] not in lists}
    assert set(re.findall(r'"([^"]+)"', named)) == expected


def test_the_tree_is_no_deeper_than_what_is_compared() -> None:
    levels = (TERRAFORM / "modules/settings/keys.tf").read_text(encoding="utf-8")

    def depth(shape: Type) -> int:
        return 1 + max(map(depth, shape.values())) if shape else 0

    assert depth(ROOT) <= len(re.findall(r"^  level\d = ", levels, re.MULTILINE))


# As `prod` writes it => as somebody may write it, the key's place, and the suggestion.
TYPOS = [
    ("observability = {", "observabilty = {", "observabilty", "observability"),
    ("channels     =", "chanels     =", "observability.chanels", "channels"),
    ("domains         =", "domain         =", "external.domain", "domains"),
    ("nat      ", "natt      ", "regions.europe-west1.natt", "nat"),
    ("addresses = 2", "adresses = 2", "regions.europe-west1.nat.adresses", "addresses"),
    ("scale_in   ", "scalein   ", "fleet.autoscaling.scalein", "scale_in"),
    ("window_s = 600", "windows_s = 600", "fleet.autoscaling.scale_in.windows_s", "window_s"),
    (
        "duration_s = ", "duration = ",
        "fleet.autoscaling.schedules.working-day.duration", "duration_s",
    ),
    ("retention_days", "retention_day", "observability.project_wide.log_retention_day", "log_retention_days"),
    ("terraform = { sre", "teraform = { sre", "members.teraform", "terraform"),
    ("dns_zone        =", "cloud_dns        =", "external.cloud_dns", ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def said(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What a plan says beside a file with each of the typos.

    The root's variables and the comparison alone: what is refused needs no provider.
    """
    root = tmp_path_factory.mktemp("settings")
    for name in ("variables.tf", "settings.tf"):
        shutil.copy(tree.root / name, root)
    for name in ("environments", "modules/settings"):
        shutil.copytree(tree.root / name, root / name)
    (root / "versions.tf").write_text(
        'terraform {\n  required_providers {\n    terraform = {\n'
        '      source = "terraform.io/builtin/terraform"\n    }\n  }\n}\n'
        'output "checked" {\n  value = module.settings.files\n}\n',
        encoding="utf-8",
    )  # fmt: skip
    text = (root / "environments/prod.tfvars").read_text(encoding="utf-8")
    for number, (right, wrong, _, _) in enumerate(TYPOS):
        assert text.count(right) == 1, right
        changed = text.replace(right, wrong)
        (root / f"environments/typo-{number}.tfvars").write_text(changed, encoding="utf-8")
    alone = Tree(root, tree.environment)
    insist(alone.run(".", "init", "-backend=false", "-input=false"))
    done = alone.run(".", "plan", "-json", "-input=false", "-var-file=environments/prod.tfvars")
    assert done.returncode == 1
    return [
        text
        for line in messages(done)
        if line["type"] == "diagnostic" and line["diagnostic"]["severity"] == "error"
        for text in line["diagnostic"]["detail"].splitlines()
        if text.startswith("Invalid setting")
    ]


@pytest.mark.parametrize("number", range(len(TYPOS)), ids=[path for _, _, path, _ in TYPOS])
def test_a_typo_at_any_level_is_refused_by_name(said: list[str], number: int) -> None:
    _, _, path, suggestion = TYPOS[number]
    (line,) = [line for line in said if f"environments/typo-{number}.tfvars" in line]
    assert f"Invalid setting '{path}' in " in line
    known = (
        f"Did you mean '{suggestion}'?" if suggestion else "Expected one of: armor, certificates"
    )
    assert known in line


def test_what_the_environments_set_is_known(said: list[str]) -> None:
    assert [line for line in said if "environments/typo-" not in line] == []


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_environments_are_named_by_their_projects(name: str) -> None:
    """By it a file is known as the one of this plan."""
    text = (TERRAFORM / f"environments/{name}.tfvars").read_text(encoding="utf-8")
    assert len(re.findall(r'^project_id += "[a-z0-9-]+"$', text, re.MULTILINE)) == 1
