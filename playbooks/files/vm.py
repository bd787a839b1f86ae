"""What a rollout asks and tells one VM, run on the VM itself: `vm.py PREFIX COMMAND …`; answers JSON.

    look                       what it serves, and whether it is ready, drained, converged
    drain OWNER SECONDS [FROM [COVER]]  no new traffic, for so long at most; a mark of FROM (owner,…) is taken
                               over; with COVER `any`, somebody else's is covered, and holds again afterwards
    undrain OWNER,…            remove a mark of these owners (`any`: whoever's); what it covered holds again
    idle SECONDS               wait until no request is in flight
    gate RELEASE MODELS SECONDS [REQUEST_S]  wait until RELEASE is served with MODELS (name=digest,…), and ask
                               golden rows, each for REQUEST_S at most
    soak SECONDS RATE FULL ENOUGH [PERCENTILE REQUEST_S]  count what is served meanwhile, and ask RATE
                               golden rows a second, or FULL where the VM would get fewer than ENOUGH
                               requests otherwise
    sample                     the counters now

It comes from the controller's checkout, not from the release it judges. Standard library, PyYAML and what
every image's skfleet has: it runs in the image's environment, whichever that is.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import platform
import re
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

# Settings of the listeners for the network, and of the VM's own.
PORT_INTERNAL, PORT_HEALTH = "SKFLEET_PORT_INTERNAL", "SKFLEET_PORT_HEALTH"
PORTS = {"iap": "SKFLEET_PORT_IAP", "internal": PORT_INTERNAL, "health": PORT_HEALTH}
PORT_METRICS = "SKFLEET_PORT_METRICS"
PAUSE_S = 0.2
# Between a host and itself there is no proxy.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TIMEOUT_S = 5.0
WORDS = 5  # failures told in full
LOOK_SHARE = 0.2  # of a soak, after which its traffic is known


class Vm:
    """This VM, as its image described it."""

    def __init__(self, prefix: str) -> None:
        self.prefix = Path(prefix or "/")
        self.request_s = TIMEOUT_S  # after which a load balancer would not wait for a prediction
        self.root = self.prefix / "opt/skfleet"
        host = yaml.safe_load((self.prefix / "etc/skfleet/host.yml").read_text())
        bound = host.get("skfleet_bind_address", "0.0.0.0")  # noqa: S104 - compared, not bound
        self.loopback = host.get("skfleet_loopback_address", "127.0.0.1")
        self.address = self.loopback if bound == "0.0.0.0" else bound  # noqa: S104
        self.environment = variables(self.prefix / "etc/skfleet/host.env")

    def port(self, setting: str) -> int:
        """Of a listener: what the current release says, else the host, else the image."""
        release = variables(self.root / "current/service.env")
        said = release.get(setting) or self.environment.get(setting)
        return int(said) if said else self.image_port(setting)

    def image_port(self, setting: str) -> int:
        """What the service listens on where its release does not say."""
        from skfleet.settings import Settings

        found: int = getattr(Settings(), setting.removeprefix("SKFLEET_").lower())
        return found

    def get(self, listener: str, path: str) -> tuple[int, bytes]:
        """Status and body; status 0 where nobody answers."""
        address = self.loopback if listener == PORT_METRICS else self.address
        url = f"http://{address}:{self.port(listener)}{path}"
        try:
            with OPENER.open(url, timeout=TIMEOUT_S) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except (OSError, http.client.HTTPException):
            return 0, b""

    def document(self, listener: str, path: str) -> dict[str, Any]:
        """A JSON answer, whatever its status; empty where there is none."""
        _, body = self.get(listener, path)
        return parsed(body)

    @property
    def drain_file(self) -> Path:
        """The drain mark; `/readyz` reads it."""
        return self.prefix / "run/skfleet/drain.json"

    def drain_mark(self) -> dict[str, Any]:
        """The mark that holds, or nothing."""
        try:
            return unexpired(parsed(self.drain_file.read_bytes()))
        except FileNotFoundError:
            return {}


def look(vm: Vm) -> dict[str, Any]:
    """What a plan needs to know of a VM."""
    version = vm.document(PORT_HEALTH, "/version")
    ready = vm.document(PORT_HEALTH, "/readyz")
    current = vm.root / "current"
    mark = vm.drain_mark()
    covered = unexpired(mark.get("covered", {}))
    reasons = unready(ready)
    return {
        "release": version.get("release") or "",
        "current": current.readlink().name if current.is_symlink() else "",
        "models": {m["name"]: m["digest"] for m in version.get("models", [])},
        "answers": bool(version),
        "ready": bool(ready) and not reasons,
        "why_not": "; ".join(reasons) if ready else "nobody answers",
        "stale": bool(ready.get("stale")),
        "signatures": ready.get("signatures"),
        "drained_by": mark.get("owner", ""),
        "drain_covers": covered.get("owner", ""),
        "drained_until": (covered or mark).get("expires_at", 0),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "platform": f"linux_{platform.machine()}",
        "image_contracts": contracts(),
        # Where it listens whatever its release says, and where it does if that says nothing.
        "host_ports": {
            name: int(vm.environment[s]) for name, s in PORTS.items() if s in vm.environment
        },
        "image_ports": {name: vm.image_port(setting) for name, setting in PORTS.items()},
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "in_flight": in_flight(vm),
    }


def contracts() -> list[int]:
    """The contracts of this VM's image, as its own runtime states them."""
    try:
        from skfleet.vm.host import IMAGE_CONTRACTS
    except ImportError:
        return []
    return sorted(IMAGE_CONTRACTS)


def unready(body: dict[str, Any]) -> list[str]:
    """What fails in a `/readyz` body, apart from a drain."""
    checks = body.get("checks", {})
    return [
        str(check.get("reason", name)).rstrip(".")
        for name, check in checks.items()
        if name != "drain" and not check.get("ok")
    ]


def unexpired(mark: dict[str, Any]) -> dict[str, Any]:
    """The mark, or nothing once its time is over."""
    return mark if mark.get("expires_at", 0) > time.time() else {}


def drain(vm: Vm, owner: str, seconds: float, dead: str = "", cover: str = "") -> dict[str, Any]:
    """Mark the VM, and wait until `/readyz` says so."""
    found = vm.drain_mark()
    own = found.get("owner") in (owner, *dead.split(","))
    if found and not own and cover != "any":
        sys.exit(f"{found['owner']} drains this VM already; playbooks/drain.yml takes that back.")
    covered = unexpired(found.get("covered", {})) if own else found
    mark: dict[str, Any] = {"owner": owner, "expires_at": time.time() + seconds}
    if covered:
        # It holds as long as the covered one, so that a controller that dies uncovers no traffic.
        mark["expires_at"] = max(mark["expires_at"], covered["expires_at"])
        mark["covered"] = {key: covered[key] for key in ("owner", "expires_at")}
    replace(vm.drain_file, json.dumps(mark))
    until(5.0, lambda: vm.get(PORT_HEALTH, "/readyz")[0] != 200, "/readyz still says ready")
    return {"changed": not found}


def undrain(vm: Vm, owners: str) -> dict[str, Any]:
    """Remove a mark of these owners; `drained_by` is who drains the VM still."""
    found = vm.drain_mark()
    everything = owners == "any"
    own = everything or found.get("owner") in owners.split(",")
    covered = {} if everything else unexpired(found.get("covered", {}))
    if own and covered:
        replace(vm.drain_file, json.dumps(covered))
    elif own or not found:
        vm.drain_file.unlink(missing_ok=True)
    return {"changed": bool(found) and own, "drained_by": vm.drain_mark().get("owner", "")}


def in_flight(vm: Vm) -> int:
    """Requests that are being answered now."""
    status, body = vm.get(PORT_METRICS, "/metrics")
    return int(total(body.decode(), "skfleet_requests_in_flight")) if status == 200 else 0


def idle(vm: Vm, seconds: float) -> dict[str, Any]:
    """Wait for the last request; two looks must agree."""
    began = time.monotonic()
    until(seconds, lambda: not in_flight(vm), "requests are in flight still")
    time.sleep(PAUSE_S)
    until(seconds, lambda: not in_flight(vm), "requests are in flight still")
    return {"seconds": round(time.monotonic() - began, 2)}


def gate(vm: Vm, release: str, models: str, seconds: float) -> dict[str, Any]:
    """The release is served, by its own models, ready but for the drain, and its golden rows are right."""
    wanted = dict(model.split("=", 1) for model in models.split(","))
    found: dict[str, Any] = {}

    def is_served() -> bool:
        found.update(look(vm))
        return found["release"] == release and found["models"] == wanted and found["ready"]

    until(seconds, is_served, lambda: why_not(found, release, wanted, seconds))
    asked = 0
    for name in wanted:
        golden = Golden(vm, name, wanted[name])
        for rows in range(0, len(golden.rows), 50):
            golden.ask(range(rows, min(rows + 50, len(golden.rows))))
        if golden.wrong or golden.failed:
            sys.exit(
                f"{golden.wrong + golden.failed} golden answers of model '{name}' are not right: "
                + "; ".join(golden.words)
            )
        asked += len(golden.rows)
    return {"golden": asked, "release": release}


def why_not(found: dict[str, Any], release: str, models: dict[str, str], seconds: float) -> str:
    """What kept the gate shut."""
    if not found["answers"]:
        return f"Nobody answers on the health listener after {seconds:.0f} s."
    if found["release"] != release:
        return f"Release '{found['release']}' is served after {seconds:.0f} s, not '{release}'."
    if found["models"] != models:
        missing = sorted(models.items() - found["models"].items())
        reason = f": {found['why_not']}" if found["why_not"] else ""
        return f"The release's models are not served: {missing}{reason}."
    return f"Not ready after {seconds:.0f} s: {found['why_not']}."


class Golden:
    """The golden rows of one model, asked at the internal listener as any service in the VPC asks."""

    def __init__(self, vm: Vm, model: str, digest: str) -> None:
        self.vm, self.model = vm, model
        file = vm.prefix / "var/lib/skfleet/cache/models" / digest / "manifest.json"
        manifest = json.loads(file.read_bytes())
        self.rows = manifest["golden"]["rows"]
        self.labels = manifest["golden"].get("labels")
        self.probabilities = manifest["golden"].get("probabilities")
        # A backend in single precision differs by as much as the design allows.
        self.tolerance = 1e-4
        self.token = identity_token(vm)
        self.failed = self.wrong = 0
        self.words: list[str] = []
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, numbers: range) -> None:
        """Some rows in one request."""
        body = json.dumps(
            {
                "instances": [self.rows[i] for i in numbers],
                # A model that has none refuses to be asked for them.
                "parameters": {"probabilities": bool(self.probabilities)},
            }
        )
        try:
            status, answer = self._post(f"/v1/models/{self.model}:predict", body)
        except (OSError, http.client.HTTPException) as error:
            self._tell(f"{type(error).__name__}: {error}")
            self.failed += 1
            return
        if status != 200:
            self.failed += 1
            self._tell(f"{status} {answer[:200].decode(errors='replace').strip()}")
        elif not self._right(numbers, parsed(answer)):
            self.wrong += 1

    def _right(self, numbers: range, answer: dict[str, Any]) -> bool:
        labels = answer.get("predictions") or []
        given = answer.get("probabilities") or []
        for place, i in enumerate(numbers):
            got = labels[place] if place < len(labels) else None
            if not near(got, self.labels[i], self.tolerance):
                self._tell(f"row {i} gives {got}, not {self.labels[i]}")
                return False
            wanted = self.probabilities[i] if self.probabilities else []
            here = given[place] if place < len(given) else []
            if len(here) != len(wanted) or any(
                abs(a - b) > self.tolerance for a, b in zip(here, wanted, strict=True)
            ):
                self._tell(f"row {i} gives probabilities {here}, not {wanted}")
                return False
        return True

    def _post(self, path: str, body: str) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection(
                self.vm.address, self.vm.port(PORT_INTERNAL), timeout=self.vm.request_s
            )
        headers = {"Content-Type": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            self._connection.request("POST", path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise

    def _tell(self, words: str) -> None:
        if len(self.words) < WORDS:
            self.words.append(words)


def near(got: Any, wanted: Any, tolerance: float) -> bool:
    """Classes are equal; a regressor's numbers differ by as much as a backend may; several outputs each."""
    if isinstance(wanted, list):
        same_length = isinstance(got, list) and len(got) == len(wanted)
        return same_length and all(near(a, b, tolerance) for a, b in zip(got, wanted, strict=True))
    if type(wanted) is float and isinstance(got, (int, float)):
        return abs(got - wanted) <= tolerance * max(1.0, abs(wanted))
    return bool(got == wanted)


def identity_token(vm: Vm) -> str:
    """An ID token of the VM's own account for the internal listener; empty where none is asked for."""
    policy = parsed((vm.prefix / "var/lib/skfleet/identity/environment.json").read_bytes())
    internal = policy.get("internal", {})
    if internal.get("identity", "id-token") == "none":
        return ""
    audiences = internal.get("audiences") or sys.exit(
        "environment.json names no internal audience."
    )
    host = vm.environment.get("GCE_METADATA_HOST", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{host}/computeMetadata/v1/instance/service-accounts/default/identity"
        f"?audience={audiences[0]}&format=full",
        headers={"Metadata-Flavor": "Google"},
    )
    with OPENER.open(request, timeout=TIMEOUT_S) as answer:
        return answer.read().decode()


def soak(
    vm: Vm, seconds: float, rate: float, full: float, enough: int, percentile: float
) -> dict[str, Any]:
    """Two samples, and the witness between them: open loop, timed from the intended start."""
    before, began = sample(vm), time.monotonic()
    golden = [Golden(vm, name, digest) for name, digest in look(vm)["models"].items()]
    latencies: list[float] = []
    first = seconds * LOOK_SHARE
    witness(golden, latencies, rate, began, first)
    traffic = sample(vm)["requests"] - before["requests"]
    if traffic / LOOK_SHARE < enough:
        rate = max(rate, full)
    witness(golden, latencies, rate, began + first, seconds - first)
    latencies.sort()
    return {
        "before": before,
        "after": sample(vm),
        "seconds": round(time.monotonic() - began, 2),
        "witness": {
            "requests": len(latencies),
            "failed": sum(model.failed for model in golden),
            "wrong": sum(model.wrong for model in golden),
            # Of the objective's percentile, whichever that is.
            "p90_ms": round(latencies[int(len(latencies) * percentile / 100)], 2)
            if latencies
            else 0.0,
            "words": [words for model in golden for words in model.words],
        },
    }


def witness(
    golden: list[Golden], latencies: list[float], rate: float, began: float, seconds: float
) -> None:
    """Ask golden rows one by one, at `rate` a second; latencies in ms from the intended start."""
    for number in range(int(seconds * rate) if golden else 0):
        intended = began + number / rate
        time.sleep(max(0.0, intended - time.monotonic()))
        model = golden[len(latencies) % len(golden)]
        row = len(latencies) // len(golden) % len(model.rows)
        model.ask(range(row, row + 1))
        latencies.append((time.monotonic() - intended) * 1000)
    time.sleep(max(0.0, began + seconds - time.monotonic()))


def sample(vm: Vm) -> dict[str, Any]:
    """The service's counters now."""
    _, body = vm.get(PORT_METRICS, "/metrics")
    text = body.decode()
    buckets: dict[str, int] = {}
    for labels, value in series(text, "skfleet_request_seconds_bucket"):
        if predicts(labels):
            bound = labels["le"].replace("+Inf", "inf")
            buckets[bound] = buckets.get(bound, 0) + int(value)
    answered = [
        (labels["status"], int(value))
        for labels, value in series(text, "skfleet_requests_total")
        if predicts(labels)
    ]
    return {
        "requests": sum(count for _, count in answered),
        "errors": sum(count for status, count in answered if status.startswith("5")),
        "buckets": buckets,
        "process": master(vm),
    }


def predicts(labels: dict[str, str]) -> bool:
    """Whether a series counts predictions: health, metrics and documents are no callers' traffic."""
    return labels.get("route", "") not in ("/livez", "/readyz", "/version", "/metrics", "/docs")


def master(vm: Vm) -> str:
    """Which service process counts: its metrics folder carries its number."""
    folders = sorted((vm.prefix / "run/skfleet").glob("skfleet-metrics-*"))
    return folders[-1].name if folders else ""


def series(text: str, name: str) -> list[tuple[dict[str, str], float]]:
    """The samples of one metric: labels and value."""
    found = []
    for line in text.splitlines():
        match = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
        if match:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match[1] or ""))
            found.append((labels, float(match[2])))
    return found


def total(text: str, name: str) -> float:
    """The sum over all labels."""
    return sum(value for _, value in series(text, name))


def until(seconds: float, true: Callable[[], Any], otherwise: str | Callable[[], str]) -> None:
    """Wait for a condition; ends the script where it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() >= deadline:
            sys.exit(
                f"After {seconds:.0f} s {otherwise}." if isinstance(otherwise, str) else otherwise()
            )
        time.sleep(PAUSE_S)


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object; an empty one for anything else."""
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def variables(file: Path) -> dict[str, str]:
    """`NAME=value` lines."""
    if not file.exists():
        return {}
    pairs = (line.partition("=") for line in file.read_text().splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs if not name.startswith("#")}


def replace(path: Path, text: str) -> None:
    """Write a file whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(name).chmod(0o644)
        with contextlib.suppress(FileNotFoundError):
            Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def main() -> None:
    """The script."""
    vm, command, rest = Vm(sys.argv[1]), sys.argv[2], sys.argv[3:]
    if command == "look":
        answer = look(vm)
    elif command == "drain":
        answer = drain(vm, rest[0], float(rest[1]), *rest[2:])
    elif command == "undrain":
        answer = undrain(vm, rest[0])
    elif command == "idle":
        answer = idle(vm, float(rest[0]))
    elif command == "gate":
        vm.request_s = float((rest[3:] or [TIMEOUT_S])[0])
        answer = gate(vm, rest[0], rest[1], float(rest[2]))
    elif command == "soak":
        percentile, vm.request_s = (float(value) for value in rest[4:] or [90, TIMEOUT_S])
        answer = soak(vm, float(rest[0]), float(rest[1]), float(rest[2]), int(rest[3]), percentile)
    elif command == "sample":
        answer = sample(vm)
    else:
        sys.exit(f"vm.py knows no '{command}'.")
    print(json.dumps(answer))  # noqa: T201 - the answer


main()
