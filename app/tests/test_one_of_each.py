"""One of each: a second wait loop, atomic write, PSS reader, binomial test, … fails here with its place.

An exception names its file and why its code truly differs; one that no code needs any more fails, too.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
# A script that Ansible sends to a VM by itself: it may import only what the oldest image has.
ALONE = "runs alone on a VM, whichever image that has"
PACES = "paces what it sends; waits for nothing"
REPEATS = "repeats for ever on gevent's or the event loop's clock, beside other tasks"

Finder = Callable[[ast.Module], Iterator[ast.AST]]


class Kind(NamedTuple):
    """What there is one of: the words without which a file has none, how it is found, its one module."""

    words: tuple[str, ...]
    find: Finder
    module: str
    exceptions: dict[str, str]  # file → reason


@cache
def sources() -> dict[str, str]:
    """Every Python file of the checkout by its path."""
    return {
        str(path.relative_to(REPOSITORY)): path.read_text(encoding="utf-8")
        for top in sorted(REPOSITORY.iterdir())
        if top.is_dir() and not top.name.startswith(".")
        for path in sorted(top.rglob("*.py"))
        if path != Path(__file__)
        and not any(part.startswith(".") for part in path.relative_to(REPOSITORY).parts)
    }


def called(node: ast.AST) -> str:
    """The last part of the name that a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def sleeps_in_loops(node: ast.AST, in_loop: bool = False) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        is_loop = isinstance(child, ast.While | ast.For | ast.AsyncFor)
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if in_loop and called(child) == "sleep":
            yield child
        yield from sleeps_in_loops(child, (in_loop or is_loop) and not is_function)


def renames(tree: ast.Module) -> Iterator[ast.AST]:
    """`path.replace(other)`, `path.rename(other)`, the same of `os`, and files made to be renamed."""
    for node in ast.walk(tree):
        name = called(node)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        is_of_os = isinstance(node.func.value, ast.Name) and node.func.value.id in ("os", "shutil")
        is_of_path = len(node.args) == 1 and not node.keywords
        if (name in ("replace", "rename") and (is_of_os or is_of_path)) or name == "mkstemp":
            yield node


def calls(*names: str) -> Finder:
    return lambda tree: (node for node in ast.walk(tree) if called(node) in names)


def texts(*words: str) -> Finder:
    """Strings that are one of the words."""
    return lambda tree: (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in words
    )


def google_sessions(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        name = called(node)
        is_default = name == "default" and ast.unparse(node).startswith("google.auth.default(")
        if name == "AuthorizedSession" or is_default:
            yield node


def free_port_binds(tree: ast.Module) -> Iterator[ast.AST]:
    """`bind((host, 0))`, and a search on one address: `bind(("127.0.0.1", port))`."""
    for node in ast.walk(tree):
        text = ast.unparse(node) if called(node) == "bind" else ""
        if text.endswith(", 0))") or "(('127.0.0.1', " in text:
            yield node


def sha256_digests(tree: ast.Module) -> Iterator[ast.AST]:
    """`sha256(…).hexdigest()`, and a digest that is fed in parts."""
    for node in ast.walk(tree):
        if called(node) == "hexdigest" and "md5" not in ast.unparse(node):
            yield node


def lookups(key: str) -> Finder:
    """`answer.get(key)`"""
    return lambda tree: (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and called(node) == "get"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value == key
    )


KINDS: dict[str, Kind] = {
    "wait loop": Kind(
        ("sleep",),
        sleeps_in_loops,
        "polling.py",
        {
            "vm/converge.py": "retries for ever, with pauses that grow with the kind of failure",
            "vm/metadata.py": "three attempts; who asks tries again",
            "vm/refresh.py": "repeats for ever, at an interval that each round decides",
            "serving/worker.py": "waits on the event loop, and tells gunicorn meanwhile that it lives",
            "serving/fuzz_target.py": "turns of an event loop that is the test's subject",
            "serving/test_connection.py": PACES,
            "serving/test_probes.py": PACES,
            "serving/test_rejected_bodies.py": PACES,
            "serving/test_time_limits.py": PACES,
            "serving/test_whole.py": PACES,
            "skfleet_bench/open_loop.py": PACES,
            "bench/tests/test_open_loop.py": PACES,
            "skfleet_loadtest/engine.py": PACES,
            "skfleet_loadtest/witness.py": PACES,
            "skfleet_loadtest/bearer.py": REPEATS,
            "skfleet_loadtest/leader.py": REPEATS,
            "skfleet_loadtest/worker.py": REPEATS,
            "compute/group.py": REPEATS,
            "hardening/tests/test_limits.py": "kills one worker a second",
            "playbooks/files/vm.py": ALONE,
            "roles/release/files/look.py": ALONE,
            "playbooks/library/mig.py": "goes with the rollout's rewrite",
        },
    ),
    "atomic write": Kind(
        ("replace", "rename", "mkstemp"),
        renames,
        "files.py",
        {
            "outputs.py": "moves a set of files, the document that names them last",
            "skfleet_local/objects.py": "an upload comes in chunks, and is checked before it counts",
            "hosts/base.py": "mmdebstrap makes the directory itself",
            "hosts/__main__.py": "keeps a host's disk, which is not a copy",
            "imports/attacks.py": "system calls that the sandbox must refuse",
            "playbooks/files/vm.py": ALONE,
        },
    ),
    "reader of the proportional set size": Kind(
        ("smaps", "Pss:"),
        texts("smaps_rollup", "smaps", "Pss:"),
        "pss.py",
        {"test_pss.py": "makes the file that is read"},
    ),
    "binomial test": Kind(
        ("lgamma", "comb", "binom", "betainc"),
        calls("lgamma", "comb", "binomtest", "cdf", "sf", "betainc"),
        "binomial.py",
        {"test_binomial.py": "scipy's distribution, to compare with"},
    ),
    "check of known answers": Kind(
        ("predictions",),
        lookups("predictions"),
        "backends/compare.py",
        {"playbooks/files/vm.py": ALONE},
    ),
    "REST client of Google's": Kind(
        ("google.auth",),
        google_sessions,
        "google_rest.py",
        {
            "client/tokens.py": "mints tokens; calls no API",
            "cli/context.py": "asks only whether there are credentials",
        },
    ),
    "picker of free ports": Kind(
        ("bind(",),
        free_port_binds,
        "ports.py",
        {
            "serving/test_accepting.py": "keeps the socket, which it listens on",
            "local/tests/test_addresses.py": "keeps the socket, so that the port is not free",
        },
    ),
    "digest in hexadecimal": Kind(
        ("sha256",),
        sha256_digests,
        "documents/__init__.py",
        {
            "skfleet_loadtest/local.py": "adds up many parts",
            "builds/wheelhouse.py": "adds up many parts",
            "apply/emulator/compute.py": "stands for Google, without skfleet",
        },
    ),
    "reader of lists in pages": Kind(
        ("nextPageToken",),
        lookups("nextPageToken"),
        "google_rest.py",
        {},
    ),
}


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse(sources()[path])


@cache
def places(name: str) -> dict[str, list[int]]:
    """File → lines at which there is one of a kind."""
    kind = KINDS[name]
    found = {
        path: [node.lineno for node in kind.find(tree_of(path)) if isinstance(node, ast.expr)]
        for path, text in sources().items()
        if any(word in text for word in kind.words)
    }
    return {path: lines for path, lines in found.items() if lines}


def belongs(path: str, name: str) -> bool:
    return f"/{path}".endswith(f"/{name}")


@pytest.mark.parametrize("name", KINDS)
def test_there_is_one_of_each(name: str) -> None:
    kind = KINDS[name]
    seconds = {
        f"{path}:{line}"
        for path, lines in places(name).items()
        for line in lines
        if not any(belongs(path, file) for file in (kind.module, *kind.exceptions))
    }
    assert not seconds, f"use the {name} of {kind.module}"


@pytest.mark.parametrize("name", KINDS)
def test_no_exception_is_without_need(name: str) -> None:
    kind, found = KINDS[name], places(name)
    files = (kind.module, *kind.exceptions)
    assert not [file for file in files if not any(belongs(path, file) for path in found)]


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("wait loop", "while not done():\n    time.sleep(1)"),
        ("wait loop", "async def f():\n    for _ in range(9):\n        await asyncio.sleep(1)"),
        (
            "wait loop",
            "for _ in range(9):\n    try:\n        g()\n    except OSError:\n        sleep(1)",
        ),
        ("atomic write", "part.replace(path)"),
        ("atomic write", "os.replace(part, path)"),
        ("atomic write", "part.rename(path)"),
        ("atomic write", "tempfile.mkstemp(dir=path.parent)"),
        ("reader of the proportional set size", "open(f'/proc/{pid}/' + 'smaps_rollup')"),
        ("reader of the proportional set size", "line.startswith('Pss:')"),
        ("binomial test", "math.lgamma(n + 1)"),
        ("binomial test", "scipy.stats.binom.cdf(1, 2, 0.5)"),
        ("check of known answers", "body.get('predictions')"),
        ("REST client of Google's", "google.auth.transport.requests.AuthorizedSession(c)"),
        ("reader of lists in pages", "page.get('nextPageToken', '')"),
        ("picker of free ports", "probe.bind(('127.0.0.1', 0))"),
        ("digest in hexadecimal", "hashlib.sha256(data).hexdigest()"),
    ],
)
def test_second_of_a_kind_is_found(kind: str, source: str) -> None:
    assert list(KINDS[kind].find(ast.parse(source)))


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("wait loop", "time.sleep(1)"),
        ("wait loop", "for _ in x:\n    def f():\n        time.sleep(1)"),
        ("atomic write", "text.replace('a', 'b')"),
        ("atomic write", "dataclasses.replace(target, url=url)"),
        ("atomic write", "moment.replace(second=0)"),
    ],
)
def test_other_code_is_left_alone(kind: str, source: str) -> None:
    assert not list(KINDS[kind].find(ast.parse(source)))
