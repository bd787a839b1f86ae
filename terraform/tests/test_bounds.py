"""Every number of edge.yml and slo.yml against the bounds of each Google product that takes it."""

from __future__ import annotations

import copy
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import googleapiclient
import pytest
import yaml

from .tree import REPOSITORY, TERRAFORM, Tree

EDGE = yaml.safe_load((REPOSITORY / "edge.yml").read_text(encoding="utf-8"))
SLO = yaml.safe_load((REPOSITORY / "slo.yml").read_text(encoding="utf-8"))
MODULES = ("edge_external", "edge_internal", "fleet", "slo")


@dataclass(frozen=True)
class Number:
    """A line of a module's bounds.tf."""

    module: str
    key: str
    low: float
    high: float
    product: str
    whole: bool

    @property
    def document(self) -> Any:
        return SLO if self.module == "slo" else EDGE


def numbers() -> list[Number]:
    line = re.compile(
        r'\{ key = "([a-z_.]+)", value = var\.(?:edge|slo)\.([a-z_.]+), '
        r'min = ([0-9.]+), max = ([0-9.]+), product = "([^"]+)"(, whole = false)? \}'
    )
    found = []
    for module in MODULES:
        text = (TERRAFORM / "modules" / module / "bounds.tf").read_text(encoding="utf-8")
        for key, value, low, high, product, fraction in line.findall(text):
            assert key == value, f"{module}: {key} reads {value}"
            found.append(Number(module, key, float(low), float(high), product, not fraction))
    return found


NUMBERS = numbers()


def leaves(document: Any, prefix: str = "") -> Iterator[str]:
    """Places of a document's numbers."""
    for key, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif isinstance(value, int | float):
            yield prefix + key


def put(document: Any, key: str, value: float) -> Any:
    changed = copy.deepcopy(document)
    *path, last = key.split(".")
    place = changed
    for part in path:
        place = place[part]
    place[last] = value
    return changed


def outside(number: Number) -> Iterator[float]:
    """Just below, just above, and between two integers where the API takes integers."""
    step = 1 if number.whole else 0.001
    yield round(number.low - step, 9)
    yield round(number.high + step, 9)
    if number.whole and number.low < number.high:
        yield number.low + 0.5


@pytest.fixture(scope="module")
def refused(tree: Tree, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one plan says of all numbers, each outside its bounds once and at them once.

    Modules without their resources, so that no provider is needed, and without the other validations, which
    would speak first.
    """
    root = tmp_path_factory.mktemp("bounds")
    modules = tree.root / "modules"
    cases: dict[str, dict[str, Any]] = {module: {} for module in MODULES}
    for number in NUMBERS:
        for value in (*outside(number), number.low, number.high):
            document = put(
                number.document, number.key, int(value) if value == int(value) else value
            )
            cases[number.module][f"{number.key}={value}"] = document
    for module in MODULES:
        (root / module).mkdir()
        for name in ("bounds.tf", "windows.tf"):
            if (modules / module / name).is_file():
                shutil.copy(modules / module / name, root / module)
        declared = (modules / module / "variables.tf").read_text(encoding="utf-8")
        variable = "slo" if module == "slo" else "edge"
        (block,) = re.findall(
            rf'^variable "{variable}" \{{.*?^\}}', declared, re.MULTILINE | re.DOTALL
        )
        block = re.sub(r"\n  validation \{.*?\n  \}", "", block, flags=re.DOTALL)
        if module == "slo":
            block += '\nvariable "edges" { default = {} }\nvariable "long_lookback" { default = false }\n'
        (root / module / "variables.tf").write_text(block, encoding="utf-8")
        (root / f"{module}.tf").write_text(
            f'module "{module}" {{\n  source = "./{module}"\n  {variable} = each.value\n'
            f'  for_each = jsondecode(file("${{path.module}}/{module}.json"))\n}}\n',
            encoding="utf-8",
        )
        (root / f"{module}.json").write_text(json.dumps(cases[module]), encoding="utf-8")
    shutil.copytree(modules / "bounds", root / "bounds")
    for arguments in (("init", "-backend=false"), ("plan", "-json", "-input=false")):
        done = Tree(root, tree.environment).run(".", *arguments)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["diagnostic"]["detail"] for line in lines if line.get("type") == "diagnostic"]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda n: f"{n.module}-{n.key}-{n.product}")
def test_a_number_outside_its_bounds_is_refused_by_name(refused: list[str], number: Number) -> None:
    file = "slo.yml" if number.module == "slo" else "edge.yml"
    key, product = re.escape(number.key), re.escape(number.product)
    said = re.compile(rf"Invalid {key} '([^']+)' in {file}: expected .*{product} takes\.")
    values = {float(match.group(1)) for text in refused if (match := said.match(text))}
    for value in outside(number):
        assert any(abs(value - other) < 0.0005 for other in values), (
            f"{number.key} = {value} passes"
        )


def test_numbers_at_their_bounds_pass(refused: list[str]) -> None:
    assert len(refused) == sum(1 for number in NUMBERS for _ in outside(number))


@pytest.mark.parametrize(("document", "modules"), [(EDGE, MODULES[:3]), (SLO, MODULES[3:])])
def test_every_number_has_bounds(document: Any, modules: tuple[str, ...]) -> None:
    bounded = {number.key for number in NUMBERS if number.module in modules}
    on_the_vm = {"loopback.metrics.port"}  # no product of Google takes it
    assert set(leaves(document)) - {"schema_version"} - on_the_vm <= bounded


def test_each_load_balancer_has_its_own_bounds_for_idle_clients() -> None:
    highest = {n.module: n.high for n in NUMBERS if n.key == "timeouts.client_keepalive_s"}
    assert highest == {"edge_external": 1200, "edge_internal": 600}


@pytest.mark.parametrize(
    ("key", "schema", "field", "text"),
    [
        ("timeouts.client_keepalive_s", "TargetHttpsProxy", "httpKeepAliveTimeoutSec", "{low} seconds"),
        ("timeouts.client_keepalive_s", "TargetHttpsProxy", "httpKeepAliveTimeoutSec", "{high} seconds"),
        ("timeouts.request_s", "BackendService", "timeoutSec", "{low} through {high:,}"),
        ("listeners.iap.port", "NamedPort", "port", "between {low} and {high}"),
        (
            "health_checks.liveness.initial_delay_s", "InstanceGroupManagerAutoHealingPolicy",
            "initialDelaySec", "between {low} and {high} seconds",
        ),
        ("outliers.interval_s", "Duration", "seconds", "to {high:,} inclusive"),
        ("retries.attempts", "HttpRetryPolicy", "numRetries", "must be > 0"),
    ],
)  # fmt: skip
def test_bounds_are_those_of_the_api_s_description(
    key: str, schema: str, field: str, text: str
) -> None:
    folder = Path(googleapiclient.__file__).parent / "discovery_cache/documents"
    api = json.loads((folder / "compute.v1.json").read_text(encoding="utf-8"))
    described = api["schemas"][schema]["properties"][field]["description"]
    described = " ".join(described.split())
    number = next(n for n in NUMBERS if n.key == key)
    assert text.format(low=int(number.low), high=int(number.high)) in described
