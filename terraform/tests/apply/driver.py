"""Run a journey: apply, plan empty, change, apply, plan empty, …, destroy, and read what is left.

The provider is what `terraform init` finds. The API is the endpoint that the environment names, or an
emulator that lives as long as the journey: without a named endpoint every request goes to loopback.
"""

from __future__ import annotations

import contextlib
import copy
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from skfleet.polling import wait_until
from skfleet_operator.ports import free_ports

from .journeys import REMOVED, Journey, Step

TERRAFORM = Path(__file__).resolve().parents[2]
REPOSITORY = TERRAFORM.parent
DOCUMENTS = ("edge.yml", "slo.yml")  # what the tree reads from beside it
NOT_COPIED = shutil.ignore_patterns(".terraform", "*.tfstate*", "__pycache__")

HOW_TO_GET_PROVIDER = (
    "let `terraform init` reach its provider registry, or set TF_CLI_CONFIG_FILE to a CLI configuration "
    "whose provider_installation names a mirror with the real hashicorp/google"
)
# The smallest thing that a provider can only apply when it is the real one.
PROBE = """
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
}

resource "google_compute_network" "probe" {
  name = "probe"
}
"""
# Ids and addresses, which every resource gets anew.
ANEW = re.compile(r'\d{6,}|(?<=")\d+\.\d+\.\d+\.\d+(?=")')
NO_CHANGES = "0 to add, 0 to change, 0 to destroy"


class Unavailable(Exception):
    """Nothing can be applied here; the message says what is missing and how to get it."""


class JourneyFailed(Exception):
    """A step did not do what the journey says it does."""


# ---------------------------------------------------------------------- the endpoint
@dataclass
class Endpoint:
    """An API to apply against, and the environment that points the provider at it."""

    url: str
    project: str
    environment: dict[str, str]

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Send a request as the provider would; raise JourneyFailed with the API's message."""
        request = urllib.request.Request(
            f"{self.url}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": "Bearer placeholder", "Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            message = error.read().decode(errors="replace")[:500]
            raise JourneyFailed(f"{method} {path} answered {error.code}: {message}") from error

    def state(self) -> dict[str, Any]:
        """What exists at the endpoint: `resources` (keys) and `policies` (key => bindings)."""
        state: dict[str, Any] = self.call("GET", "_fake/state")
        return state


def bare(value: Any) -> Any:
    """`value` without members that are empty or false, which Google shows or leaves out as it likes."""
    if isinstance(value, dict):
        members = {k: bare(v) for k, v in value.items()}
        return {k: v for k, v in members.items() if v not in ("", [], {}, None) and v is not False}
    return [bare(v) for v in value] if isinstance(value, list) else value


@contextmanager
def endpoint(project: str, journal: Path, fresh: bool = False) -> Iterator[Endpoint]:
    """The endpoint named by GOOGLE_COMPUTE_CUSTOM_ENDPOINT, else an emulator of `project` of its own."""
    named = os.environ.get("GOOGLE_COMPUTE_CUSTOM_ENDPOINT")
    if named:
        address = urlsplit(named)
        yield Endpoint(
            f"{address.scheme}://{address.netloc}", os.environ.get("GOOGLE_PROJECT", project), {}
        )
        return

    from .emulator.__main__ import variables  # imports the discovery documents' package

    (port,) = free_ports(1)
    process = subprocess.Popen(
        [sys.executable, "-m", "apply.emulator", "serve", "--port", str(port),
         "--project", project, "--journal", str(journal), *(["--fresh-project"] if fresh else [])],
        cwd=TERRAFORM / "tests", env={**os.environ, "PYTHONPATH": str(TERRAFORM / "tests")},
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        yield Endpoint(f"http://127.0.0.1:{port}", project, dict(variables(port, project)))
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int, process: subprocess.Popen[bytes], timeout_s: float = 30) -> None:
    def has_ended_or_listens() -> bool:
        if process.poll() is None:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True

    with contextlib.suppress(TimeoutError):
        wait_until(
            has_ended_or_listens, timeout_s, "the emulator", interval_s=0.05, ignore=(OSError,)
        )
        if process.poll() is None:
            return
    raise JourneyFailed(
        "The emulator did not start. Run `python -m apply.emulator serve` to see why."
    )


# ---------------------------------------------------------------------- terraform
@dataclass
class Workspace:
    """A copy of the tree in a directory of its own, with its state."""

    base: Path
    environment: dict[str, str]

    @property
    def root(self) -> Path:
        return self.base / "terraform"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["terraform", *arguments], cwd=self.root, env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip

    def need(self, *arguments: str) -> str:
        done = self.run(*arguments)
        if done.returncode != 0:
            raise JourneyFailed(
                f"terraform {arguments[0]} failed with exit code {done.returncode}.\n{errors(done.stdout)}"
            )
        return done.stdout


def errors(output: str) -> str:
    """Terraform's messages without the plan before them."""
    start = output.find("Error:")
    return output[start if start >= 0 else 0 :][-6000:]


def differences(output: str) -> str:
    """A plan's changes without what was refreshed before them."""
    found = re.search(r"Terraform will perform|Changes to Outputs", output)
    return output[found.start() if found else 0 :][:6000]


def terraform_environment(plugins: Path) -> dict[str, str]:
    return {
        **os.environ,
        "TF_IN_AUTOMATION": "1", "CHECKPOINT_DISABLE": "1", "TF_INPUT": "0", "TF_CLI_ARGS": "-no-color",
        "TF_PLUGIN_CACHE_DIR": str(plugins),
        "TF_PLUGIN_CACHE_MAY_BREAK_DEPENDENCY_LOCK_FILE": "1",
        "GOGC": "400",  # the provider's schema is read anew by every command
    }  # fmt: skip


def copy_tree(base: Path) -> Path:
    """A copy of the tree and its documents below `base`, its state kept beside it."""
    shutil.copytree(TERRAFORM, base / "terraform", ignore=NOT_COPIED)
    for name in DOCUMENTS:
        shutil.copy(REPOSITORY / name, base / name)
    (base / "terraform" / "state_override.tf").write_text(
        'terraform {\n  backend "local" {}\n}\n', encoding="utf-8"
    )
    return base / "terraform"


def initialise(base: Path) -> Workspace:
    """A copy of the tree after `terraform init`; raise Unavailable where its provider cannot apply."""
    if shutil.which("terraform") is None:
        raise Unavailable(
            "terraform is not on PATH; install Terraform 1.11 or newer and put it on PATH"
        )
    plugins = base / "plugins"
    plugins.mkdir(parents=True)
    environment = terraform_environment(plugins)
    probe(base / "probe", environment)
    workspace = Workspace(base, environment)
    copy_tree(base)
    workspace.need("init")
    return workspace


def probe(base: Path, environment: dict[str, str]) -> None:
    """Apply one network; raise Unavailable where the provider is not one that applies."""
    (base / "terraform").mkdir(parents=True)
    (base / "terraform" / "main.tf").write_text(PROBE, encoding="utf-8")
    with endpoint("probe-project", base / "journal.jsonl") as target:
        workspace = Workspace(base, {**environment, **target.environment})
        done = workspace.run("init")
        if done.returncode == 0:
            done = workspace.run("apply", "-auto-approve")
        if done.returncode != 0:
            message = " ".join(errors(done.stdout).split())[:300]
            raise Unavailable(
                f"`terraform init` finds no provider that applies ({message}); {HOW_TO_GET_PROVIDER}"
            )
        workspace.need("destroy", "-auto-approve")


# ---------------------------------------------------------------------- a journey
def change(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `document` with values set (or REMOVED) at dotted paths."""
    changed = copy.deepcopy(document)
    for path, value in changes.items():
        *steps, last = path.split(".")
        node = changed
        for step in steps:
            if node.get(step) is None:
                node[step] = {}
            node = node[step]
        if value is REMOVED:
            node.pop(last, None)
        else:
            node[last] = value
    return changed


def look_up(document: Any, path: str) -> Any:
    """The value at a dotted path, None where there is none; `#` is a list's length."""
    for step in path.split("."):
        if step == "#":
            document = len(document or [])
        elif isinstance(document, list):
            document = document[int(step)] if int(step) < len(document) else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document


# What the tree takes as given, by the form in which a variable names it, and how it is made.
PREREQUISITES: list[tuple[str, str, str, dict[str, Any]]] = [
    (
        r"projects/{project}/global/images/([a-z0-9-]+)",
        "compute/v1/projects/{project}/global/images",
        "",
        {"name": "{0}"},
    ),
    (
        r"projects/{project}/regions/([a-z0-9-]+)/sslCertificates/([a-z0-9-]+)",
        "compute/v1/projects/{project}/regions/{0}/sslCertificates",
        "",
        {"name": "{1}", "selfManaged": {"certificate": "PEM", "privateKey": "PEM"}},
    ),
    (
        r"projects/{project}/global/sslCertificates/([a-z0-9-]+)",
        "compute/v1/projects/{project}/global/sslCertificates",
        "",
        {"name": "{0}", "selfManaged": {"certificate": "PEM", "privateKey": "PEM"}},
    ),
    (
        r"projects/{project}/locations/([a-z0-9-]+)/certificates/([a-z0-9-]+)",
        "certificatemanager/v1/projects/{project}/locations/{0}/certificates",
        "certificateId={1}",
        {"selfManaged": {"pemCertificate": "PEM", "pemPrivateKey": "PEM"}},
    ),
    (
        r"projects/{project}/notificationChannels/([0-9]+)",
        "monitoring/v3/projects/{project}/notificationChannels",
        "",
        {
            "name": "projects/{project}/notificationChannels/{0}",
            "type": "pagerduty",
            "labels": {"service_key": "key"},
        },
    ),
    (
        r'\bdns_zone"?\s*[=:]\s*"([a-z0-9-]+)"',
        "dns/v1/projects/{project}/managedZones",
        "",
        {"name": "{0}", "dnsName": "example.com.", "description": "given"},
    ),
    (
        r'\bstate_bucket"?\s*[=:]\s*"([a-z0-9-]+)"',
        "storage/v1/b",
        "project={project}",
        {"name": "{0}"},
    ),
]


def fill_in(value: Any, project: str, groups: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {k: fill_in(v, project, groups) for k, v in value.items()}
    return value.format(*groups, project=project) if isinstance(value, str) else value


@dataclass
class Run:
    """One journey under way."""

    journey: Journey
    workspace: Workspace
    endpoint: Endpoint
    variables: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    made: set[str] = field(default_factory=set)
    dumps: dict[str, dict[str, str]] = field(default_factory=dict)
    lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def example(self) -> Path:
        return self.workspace.root / "environments" / f"{self.journey.environment}.tfvars"

    def run(self) -> list[dict[str, Any]]:
        text = self.example.read_text(encoding="utf-8")
        self.example.write_text(
            text.replace(self.journey.project, self.endpoint.project), encoding="utf-8"
        )
        for name in DOCUMENTS:
            self.documents[name] = yaml.safe_load((REPOSITORY / name).read_text(encoding="utf-8"))
        for step in self.journey.steps:
            self.take(step)
        self.destroy()
        return self.lines

    def take(self, step: Step) -> None:
        started = time.monotonic()
        changes = json.loads(
            json.dumps({k: v for k, v in step.set.items() if v is not REMOVED}).replace(
                self.journey.project, self.endpoint.project
            )
        )
        changes |= {k: v for k, v in step.set.items() if v is REMOVED}
        variables = change(self.variables, changes) if self.variables else {}
        documents = {
            "edge.yml": change(self.documents["edge.yml"], step.edge),
            "slo.yml": change(self.documents["slo.yml"], step.slo),
        }
        if not step.targets:
            self.prepare(self.text(variables))
        for method, path, body in step.requests:
            self.endpoint.call(
                method, path.format(project=self.endpoint.project), self.resolve(body)
            )
        arguments = self.write(variables, documents)
        # The step before ended with an empty plan, so that nothing needs to be read again.
        fresh = bool(self.dumps) and not step.requests
        output, planned = self.plan(
            step,
            *(["-refresh=false"] if fresh else []),
            *arguments,
            *(f"-target={t}" for t in step.targets),
            *(f"-replace={r}" for r in step.replace),
        )
        refusal = output
        if planned is not None:
            applied = self.workspace.run("apply", "plan")
            refusal = applied.stdout if applied.returncode != 0 else ""
        if step.refused is not None:
            if not re.search(step.refused, re.sub(r"[\s│]+", " ", refusal)):
                raise self.failure(step, f"was not refused with '{step.refused}'", output)
            self.report(step, "refused, as documented", started)
            arguments = self.write(self.variables, self.documents)
        else:
            if refusal:
                raise self.failure(step, "was refused", errors(refusal))
            self.check_plan(step, planned or {}, output)
            if not self.variables:
                self.variables = {
                    k: v.get("value") for k, v in (planned or {})["variables"].items()
                }
            else:
                self.variables = variables
            self.documents = documents
            self.report(step, summary(output), started)
        if step.targets:
            return
        after = self.workspace.run("plan", "-detailed-exitcode", *arguments)
        # A refused apply may have dropped an output, which the next one writes again.
        only_outputs = after.returncode == 2 and summary(after.stdout) == NO_CHANGES
        if after.returncode != 0 and not (step.refused and only_outputs):
            raise self.failure(step, "leaves a plan that is not empty", differences(after.stdout))
        self.dumps[step.name] = dump = self.dump()
        if step.like is not None:
            before = self.dumps[step.like]
            differ = [
                f"{key}: {before.get(key)} is now {dump.get(key)}"
                for key in sorted(before.keys() | dump.keys())
                if before.get(key) != dump.get(key)
            ]
            if differ:
                raise self.failure(
                    step, f"does not restore what step '{step.like}' left", "\n".join(differ)
                )
        for path, expected in step.shows.items():
            shown = self.endpoint.call("GET", path.format(project=self.endpoint.project))
            for member, value in expected.items():
                if look_up(shown, member) != value:
                    raise self.failure(
                        step,
                        f"leaves {path} with {member} = {look_up(shown, member)!r} instead of {value!r}",
                        json.dumps(shown, indent=1),
                    )

    def text(self, variables: dict[str, Any]) -> str:
        return json.dumps(variables) if variables else self.example.read_text(encoding="utf-8")

    def prepare(self, text: str) -> None:
        """Make what the variables name and the tree takes as given."""
        project = self.endpoint.project
        for pattern, path, query, body in PREREQUISITES:
            for found in re.finditer(pattern.replace("{project}", project), text):
                made = f"{pattern} {found.groups()}"
                if made in self.made:
                    continue
                where = fill_in(f"{path}?{query}" if query else path, project, found.groups())
                self.endpoint.call("POST", where, fill_in(body, project, found.groups()))
                self.made.add(made)

    def resolve(self, body: Any) -> Any:
        """`body` with `{template:FLEET/IMAGE}` replaced by that template's link, as playbooks read it."""
        text = json.dumps(body)
        if "{template:" not in text:
            return body
        fleets = json.loads(self.workspace.need("output", "-json", "ansible"))["fleets"]
        return json.loads(
            re.sub(
                r"\{template:([^/}]+)/([^}]+)\}",
                lambda m: fleets[m[1]]["templates"][m[2]]["template"],
                text,
            )
        )

    def write(self, variables: dict[str, Any], documents: dict[str, dict[str, Any]]) -> list[str]:
        for name, document in documents.items():
            (self.workspace.base / name).write_text(yaml.safe_dump(document), encoding="utf-8")
        if not variables:
            return [f"-var-file={self.example}"]
        file = self.workspace.base / "journey.tfvars.json"
        file.write_text(
            json.dumps({k: v for k, v in variables.items() if v is not None}), encoding="utf-8"
        )
        return [f"-var-file={file}"]

    def plan(self, step: Step, *arguments: str) -> tuple[str, dict[str, Any] | None]:
        """What Terraform prints, and the plan as JSON where it is read; None where it refuses."""
        done = self.workspace.run("plan", "-out=plan", *arguments)
        if done.returncode != 0:
            return done.stdout, None
        if self.variables and not step.without:
            return done.stdout, {"resource_changes": []}
        return done.stdout, json.loads(self.workspace.need("show", "-json", "plan"))

    def check_plan(self, step: Step, planned: dict[str, Any], output: str) -> None:
        changes = [
            c
            for c in planned["resource_changes"]
            if c["change"]["actions"] not in (["no-op"], ["read"])
        ]
        forbidden = sorted({c["address"] for c in changes if c["type"] in step.without})
        if forbidden:
            raise self.failure(step, f"plans {forbidden}", "")
        if step.plans is not None and summary(output) != step.plans:
            raise self.failure(
                step, f"plans {summary(output)} instead of {step.plans}", differences(output)
            )

    def destroy(self) -> None:
        """Tear down as docs/deploy.md says, and compare what is left with what was given and is protected."""
        step = Step("destroy")
        started = time.monotonic()
        arguments = self.write(self.variables, self.documents)
        self.workspace.need("state", "rm", "module.artifacts.google_storage_bucket.this")
        done = self.workspace.run("destroy", "-auto-approve", *arguments)
        if done.returncode != 0:
            raise self.failure(step, "fails", errors(done.stdout))
        found = re.search(r"Plan: (.*)\.", done.stdout)
        self.report(step, found[1] if found else NO_CHANGES, started)
        left = self.left()
        if left:
            raise self.failure(step, "leaves " + ", ".join(left), "")

    def given(self) -> list[str]:
        """Keys of what PREREQUISITES made, as patterns: a zone is given with its own records alone."""
        project, keys = self.endpoint.project, []
        for pattern, path, _, _ in PREREQUISITES:
            for made in self.made:
                if made.startswith(f"{pattern} "):
                    collection = re.sub(r"/v\d/", "/", path)
                    groups = re.findall(r"'([^']*)'", made.removeprefix(pattern))
                    key = f"{fill_in(collection, project, tuple(groups))}/{groups[-1]}"
                    keys.append(f"{re.escape(key)}(/rrsets/.*/(NS|SOA))?")
        return keys

    def dump(self) -> dict[str, str]:
        """What every resource but the given ones is set to, as text that two runs have in common."""
        dump, given = self.endpoint.call("GET", "_fake/dump"), self.given()
        return {
            ANEW.sub("#", key): ANEW.sub("#", json.dumps(bare(value), sort_keys=True))
            for key, value in [*dump["resources"].items(), *dump["policies"].items()]
            if not any(re.fullmatch(pattern, key) for pattern in given)
        }

    def left(self) -> list[str]:
        """What exists beyond what was given and the bucket, which is protected."""
        state, project = self.endpoint.state(), self.endpoint.project
        name = self.variables.get("name") or "skfleet"
        bucket = self.variables["artifacts"].get("name") or f"{project}-{name}"
        given = [re.escape(f"storage/b/{bucket}"), *self.given()]
        resources = [
            r for r in state["resources"] if not any(re.fullmatch(pattern, r) for pattern in given)
        ]
        policies = [
            f"a grant on {key}: {binding['role']} {member}"
            for key, bindings in state["policies"].items()
            for binding in bindings
            for member in binding["members"]
            if not re.match("project(Editor|Owner|Viewer):", member)
        ]
        return resources + policies

    def report(self, step: Step, plan: str, started: float) -> None:
        line = {
            "journey": self.journey.name,
            "step": step.name,
            "plan": plan,
            "seconds": round(time.monotonic() - started),
        }
        self.lines.append(line)
        print(f"{self.journey.name}: {step.name}: {plan} ({line['seconds']} s)", flush=True)

    def failure(self, step: Step, what: str, output: str) -> JourneyFailed:
        return JourneyFailed(f"Step '{step.name}' of journey {self.journey.name} {what}.\n{output}")


def summary(output: str) -> str:
    """`99 to add, 0 to change, 0 to destroy`, as Terraform counts."""
    found = re.search(r"^Plan: (.*)\.$", output, re.MULTILINE)
    return found[1] if found else NO_CHANGES


def run_journey(journey: Journey, initialised: Workspace, base: Path) -> list[dict[str, Any]]:
    """Run `journey` in a copy of the initialised workspace; its plan summaries."""
    base.mkdir(parents=True)
    copy_tree(base)
    for name in (".terraform", ".terraform.lock.hcl"):
        source = initialised.root / name
        if source.is_dir():
            shutil.copytree(source, base / "terraform" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, base / "terraform" / name)
    with endpoint(journey.project, base / "journal.jsonl", journey.fresh) as target:
        if "GOOGLE_COMPUTE_CUSTOM_ENDPOINT" in os.environ:
            target.call("POST", "_fake/reset")
        workspace = Workspace(base, {**initialised.environment, **target.environment})
        return Run(journey, workspace, target).run()
