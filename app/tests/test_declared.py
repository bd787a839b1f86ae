"""edge.yml and slo.yml are followed wherever they matter, and nowhere copied."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from skfleet import declared
from skfleet.documents.edge import EDGE
from skfleet.documents.slo import SLO
from skfleet.errors import ConfigurationError, DocumentError
from skfleet.settings import KEEPALIVE_MARGIN_S, Settings
from skfleet_operator.builds import wheelhouse
from skfleet_operator.rollouts import gate

REPO = Path(__file__).parents[2]


def changed_edge(document: Any) -> None:
    for name, port in (("iap", 9180), ("internal", 9181), ("health", 9182)):
        document["listeners"][name]["port"] = port
    document["listeners"]["health"]["also"] = 9282
    document["loopback"]["metrics"]["port"] = 9183
    document["timeouts"] |= {"request_s": 9, "drain_s": 44, "backend_keepalive_s": 620}


def changed_slo(document: Any) -> None:
    document["objectives"]["latency"] |= {"threshold_ms": 250, "percentile": 95}
    document["objectives"]["memory"]["max_mib"] = 300


def write(directory: Path, edge: Callable[[Any], None], slo: Callable[[Any], None]) -> Path:
    """Both documents with changes."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, change in ((EDGE, edge), (SLO, slo)):
        document = yaml.safe_load((REPO / name).read_text())
        change(document)
        (directory / name).write_text(yaml.safe_dump(document))
    return directory


EXPECTED = {
    "port_iap": 9180,
    "port_internal": 9181,
    "port_health": 9182,
    "port_health_also": 9282,
    "port_metrics": 9183,
    "latency_objective_ms": 250,
    "keepalive_s": 620 + KEEPALIVE_MARGIN_S,
    "graceful_timeout_s": 44,
}


@pytest.fixture
def other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout's declarations, changed, in the place of this one's."""
    directory = write(tmp_path / "other", changed_edge, changed_slo)
    found = declared.load(directory)
    monkeypatch.setattr(declared, "declared", lambda: found)
    return directory


def test_settings_follow(other: Path) -> None:
    settings = Settings.from_environ({})
    assert {name: getattr(settings, name) for name in EXPECTED} == EXPECTED
    assert Settings.from_environ({"SKFLEET_PORT_HEALTH": "7000"}).port_health == 7000


def test_the_service_follows(other: Path) -> None:
    from skfleet.serving import listeners
    from skfleet.serving.admission import TARGET_SHARE, Admission
    from skfleet.serving.metrics import Metrics

    settings = Settings(bind_address="10.0.0.1", loopback_address="127.0.0.1")
    found = listeners.by_port(settings)
    assert {port: listener.value for port, listener in found.items()} == {
        9180: "iap", 9181: "internal", 9182: "health", 9282: "health", 9183: "metrics",
    }  # fmt: skip
    assert sorted(listeners.binds(settings)) == [
        *("10.0.0.1:9180", "10.0.0.1:9181", "10.0.0.1:9182", "10.0.0.1:9282", "127.0.0.1:9183")
    ]
    assert Admission(1).target_s == pytest.approx(TARGET_SHARE * 0.25)
    metrics = Metrics()
    metrics.observe("/", 200, "iap", 0.25)
    metrics.observe("/", 200, "iap", 0.26)
    assert b'skfleet_request_seconds_bucket{le="0.25",route="/"} 1.0' in metrics.render(list)


@pytest.mark.parametrize("threshold_ms", [1, 10, 50, 99, 100, 250, 400, 5000])
def test_every_objective_is_a_bound_of_the_histogram(threshold_ms: int) -> None:
    from skfleet.serving.metrics import Metrics

    metrics = Metrics(threshold_ms / 1000)
    metrics.observe("/", 200, "iap", threshold_ms / 1000)
    lines = metrics.render(list).decode().splitlines()
    counts = {
        float(match[1]): float(match[2])
        for line in lines
        if (
            match := re.fullmatch(
                r'skfleet_request_seconds_bucket\{le="(.+)",route="/"\} (.+)', line
            )
        )
    }
    assert counts[threshold_ms / 1000] == 1
    assert sum(counts.values()) == sum(bound >= threshold_ms / 1000 for bound in counts)


def test_the_gate_follows(other: Path) -> None:
    slo = yaml.safe_load((other / SLO).read_text())["objectives"]
    wanted = gate.objectives(slo)
    assert (wanted.p90_ms, wanted.percentile) == (250, 95)

    def verdict(slow: int) -> gate.Verdict:
        """Of 1,000 requests so many take 0.3 s."""
        counts = {"0.1": 1000 - slow, "0.25": 1000 - slow, "0.5": 1000, "inf": 1000}
        new = gate.Soak(before=gate.Sample(), after=gate.Sample(requests=1000, buckets=counts))
        return gate.judge(new, None, wanted)

    assert verdict(40).passed
    assert "p95 is" in verdict(60).reasons[0]


def test_a_wheel_holds_what_its_tree_declares(tmp_path: Path) -> None:
    """Without YAML, which a build that only serves does not have."""
    tree = write(tmp_path / "tree", changed_edge, changed_slo)
    (tree / "app").mkdir()
    shutil.copy(REPO / "app/pyproject.toml", tree / "app")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(REPO / "app/src", tree / "app/src", ignore=ignore)
    (tmp_path / "wheels").mkdir()
    wheel = wheelhouse.own_wheel(tree, tmp_path / "wheels", "0.0.1")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "installed")
    code = (
        "import sys, json; sys.modules['yaml'] = None\n"
        f"sys.path.insert(0, {str(tmp_path / 'installed')!r})\n"
        "from skfleet.settings import Settings, environment_of\n"
        "print(json.dumps(environment_of(Settings())))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    names = {f.name: f.metadata["env"] for f in fields(Settings)}
    said = json.loads(done.stdout)
    assert {name: int(said[names[name]]) for name in EXPECTED} == EXPECTED
    first = wheelhouse_version(tree)
    with (tree / SLO).open("a") as file:
        file.write("# changed\n")
    assert wheelhouse_version(tree) != first


def wheelhouse_version(tree: Path) -> str:
    shutil.copytree(REPO / "requirements", tree / "requirements", dirs_exist_ok=True)
    return wheelhouse.build_version(tree)


def of_edge(**change: Any) -> Callable[[Any], None]:
    return lambda document: document.update(change)


def nothing(_: Any) -> None:
    """No change."""


def two_meanings(document: Any) -> None:
    document["loopback"]["metrics"]["port"] = document["listeners"]["iap"]["port"]


def also_taken(document: Any) -> None:
    document["listeners"]["iap"]["also"] = document["listeners"]["internal"]["port"]


def privileged(document: Any) -> None:
    document["listeners"]["iap"]["port"] = 443


def other_readiness(document: Any) -> None:
    document["health_checks"]["readiness"]["path"] = "/healthz"


def other_liveness(document: Any) -> None:
    document["health_checks"]["liveness"]["path"] = "/readyz"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (two_meanings, "has two meanings"),
        (also_taken, "has two meanings"),
        (privileged, "listeners.iap.port"),
        (other_readiness, "health_checks.readiness.path"),
        (other_liveness, "health_checks.liveness.path"),
        (of_edge(timeouts={}), "timeouts"),
    ],
)
def test_what_would_make_a_fleet_that_nobody_reaches_is_refused(
    tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    with pytest.raises(DocumentError, match=said):
        declared.load(write(tmp_path, change, nothing))


def test_the_declared_paths_are_the_health_listeners_own() -> None:
    from skfleet.serving.listeners import OPEN_PATHS, Listener

    checks = declared.declared().edge.health_checks
    assert {checks.readiness.path, checks.liveness.path} <= OPEN_PATHS[Listener.HEALTH]


def test_a_dead_vm_is_ejected_before_one_request_has_used_up_its_retries() -> None:
    edge = yaml.safe_load((REPO / "edge.yml").read_text())
    assert edge["retries"]["attempts"] >= edge["outliers"]["consecutive_gateway_failures"]


def test_two_listeners_of_a_move_are_told_apart_or_refused() -> None:
    from skfleet.serving import listeners

    with pytest.raises(ConfigurationError, match="same port"):
        listeners.by_port(Settings(port_iap_also=Settings().port_internal))


def test_a_release_that_says_no_ports_follows_its_image(other: Path, tmp_path: Path) -> None:
    """Releases whose bundle has no edge.yml, by the environment that every release reads."""
    from skfleet.vm.host import Host
    from skfleet.vm.launch import command

    variables = {"skfleet_bind_address": "0.0.0.0", "skfleet_loopback_address": "127.0.0.1"}
    host = Host(tmp_path, tmp_path, variables, {"SKFLEET_PORT_IAP": "7000"})
    release = tmp_path / "opt/skfleet/releases/old"
    release.mkdir(parents=True)
    (tmp_path / "opt/skfleet/current").symlink_to("releases/old")
    (release / "release.json").write_text("{}")
    (release / "service.env").write_text("SKFLEET_WORKERS=2\n")
    found = Settings.from_environ(command(host)[1])
    ports = (found.port_iap, found.port_internal, found.port_health, found.port_health_also)
    assert ports == (7000, 9181, 9182, 9282), "host.env, and else the image"
    (release / "service.env").write_text("SKFLEET_PORT_IAP=7001\nSKFLEET_PORT_HEALTH=7002\n")
    found = Settings.from_environ(command(host)[1])
    assert (found.port_iap, found.port_health, found.port_metrics) == (7001, 7002, 9183)


def templated(tree: Path, role: str, text: str) -> str:
    """What a role of that tree makes of a template, by its own defaults and vars."""
    folder = tree / "roles" / role
    files = [folder / name / "main.yml" for name in ("defaults", "vars")]
    done = subprocess.run(
        [
            *(f"{sys.prefix}/bin/ansible", "localhost", "-m", "ansible.builtin.debug"),
            *("-a", f"msg={text}"),
            *(option for file in files if file.exists() for option in ("-e", f"@{file}")),
            *("-e", json.dumps({"role_path": str(folder)})),
        ],
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_unit_and_the_agent_follow(other: Path) -> None:
    (other / "roles").symlink_to(REPO / "roles")
    template = "role_path ~ '/templates/skfleet.service.j2'"
    unit = templated(other, "runtime", "{{ lookup('ansible.builtin.template', " + template + ") }}")
    assert "MemoryMax=300M" in unit
    assert "TimeoutStopSec=104" in unit
    assert "127.0.0.1:9183" in templated(
        other, "observability", "{{ observability_metrics_address }}"
    )


# No second copy

PORTS = [*declared.declared().edge.ports()]
OBJECTIVE_MS = round(declared.declared().slo.objectives.latency.threshold_ms)
# What runs, or decides for what runs. The tests of the service have ports of their own (their conftest).
CODE = ("app/src", "ops/src", "local", "loadtest", "bench", "playbooks", "roles", "molecule", "packer",
        "terraform", "inventories", ".github")  # fmt: skip
SUFFIXES = {
    ".py",
    ".yml",
    ".yaml",
    ".j2",
    ".tf",
    ".hcl",
    ".tfvars",
    ".sh",
    ".cfg",
    ".conf",
    ".service",
    "",
}
PORT = re.compile(r"(?<![\w.])(" + "|".join(map(str, PORTS)) + r")(?![\w.])")
THRESHOLD = re.compile(
    rf"(?<![\w.])({OBJECTIVE_MS}(\.0)? ?(ms|milliseconds)|p90(_ms)?\W+(<|>|<=|>=) {OBJECTIVE_MS})\b"
    rf"|threshold_ms\W+{OBJECTIVE_MS}\b"
)
MEMORY = re.compile(
    rf"(?i)(memory|max)_?(max|mib)\W+{declared.declared().slo.objectives.memory.max_mib}\b"
)


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "-C", str(REPO), "ls-files", "--cached", "--others", "--exclude-standard", *CODE],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("this is no git checkout; clone the repository to look for copies")
    paths = [REPO / line for line in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file()]


def test_no_port_or_objective_is_written_down_twice() -> None:
    found = []
    looked_at = sources()
    for path in looked_at:
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
            if PORT.search(line) or THRESHOLD.search(line) or MEMORY.search(line):
                found.append(f"{path.relative_to(REPO)}:{number}: {line.strip()}")
    assert len(looked_at) > 300
    assert not found, "declared in edge.yml or slo.yml, and copied:\n" + "\n".join(found)


def test_the_roles_write_every_declared_setting() -> None:
    """By the names of settings.py; the converge tests compare the values."""
    written = yaml.safe_load((REPO / "roles/release/vars/main.yml").read_text())[
        "_release_declared"
    ]
    from_files = {f.metadata["env"] for f in fields(Settings) if callable(f.default_factory)}
    assert set(written) == from_files
