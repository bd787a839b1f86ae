"""Limits are real: what goes wrong in the service's control group costs at most what was in flight."""

from __future__ import annotations

import time
from typing import Any

from skfleet.declared import declared
from skfleet_testing.fleet import Fleet, at_a, fleet

from .test_service import on, vm

__all__ = ["at_a", "fleet", "vm"]

# Run by root: a process that joins the service's control groups, as a worker's child would be in them.
JOIN = """\
import os, pathlib, re
for line in pathlib.Path("/proc/{pid}/cgroup").read_text().splitlines():
    number, controllers, path = line.split(":", 2)
    if not path.endswith("/skfleet.service"):
        continue
    for name in [f"{{c}}" for c in controllers.split(",")] or [""]:
        for root in (f"/sys/fs/cgroup/{{name.removeprefix('name=')}}", "/sys/fs/cgroup"):
            group = pathlib.Path(root + path + "/cgroup.procs")
            if group.exists():
                group.write_text(str(os.getpid()))
                break
"""
LEAK = (
    JOIN
    + """\
kept = []
while True:
    kept.append(bytearray(1 << 20))
"""
)
FORKS = (
    JOIN
    + """\
import signal, time
children = []
try:
    while len(children) < 2000:
        child = os.fork()
        if child == 0:
            time.sleep(60)
            os._exit(0)
        children.append(child)
    print("no limit")
except OSError as error:
    print(f"{{error.strerror}} after {{len(children)}}")
finally:
    for child in children:
        os.kill(child, signal.SIGKILL)
"""
)


def master(vm: dict[str, Any]) -> str:
    return on(vm, "systemctl", "show", "--property=MainPID", "--value", "skfleet.service")


def test_a_leak_meets_its_limit_and_costs_no_answer(at_a: Fleet, vm: dict[str, Any]) -> None:
    pid = master(vm)
    script = LEAK.format(pid=pid)
    with at_a.witnessed(enough=2000) as record:
        said = on(vm, "sh", "-c", "python3 - ; echo ended with $?", stdin=script)
    assert said == "ended with 137", "killed by the kernel, at the limit of the service's group"
    assert master(vm) == pid, "and the service was not"
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]


def test_a_worker_killed_for_its_memory_costs_at_most_what_it_was_answering(
    at_a: Fleet, vm: dict[str, Any]
) -> None:
    """As the kernel kills: a worker, without notice. The load balancers try what had no answer again."""
    pid = master(vm)
    with at_a.witnessed(enough=2000) as record:
        for _ in range(5):
            workers = on(vm, "cat", f"/proc/{pid}/task/{pid}/children").split()
            on(vm, "kill", "-KILL", workers[0])
            time.sleep(1)
    assert master(vm) == pid
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]


def test_a_fork_bomb_meets_its_limit_and_costs_no_answer(at_a: Fleet, vm: dict[str, Any]) -> None:
    pid = master(vm)
    with at_a.witnessed(enough=2000) as record:
        said = on(vm, "python3", "-", stdin=FORKS.format(pid=pid))
    assert said.startswith("Resource temporarily unavailable after"), said
    assert int(said.rpartition(" ")[2]) < 256
    assert master(vm) == pid
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]


def test_a_full_disk_does_not_stop_serving(at_a: Fleet, vm: dict[str, Any]) -> None:
    """The file systems that units and journald write to; a host's own disk cannot be filled here alone."""
    places = ("/var/log/journal", "/var/lib/skfleet/identity", "/tmp")
    try:
        for place in places:
            on(vm, "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place)
            on(vm, "sh", "-c", f"head -c 2M /dev/zero > {place}/full || true")
        with at_a.witnessed(enough=2000) as record:
            time.sleep(8)
    finally:
        for place in places:
            on(vm, "umount", "--lazy", place)
        on(vm, "systemctl", "restart", "systemd-journald.service")
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]


def test_a_dead_log_sink_does_not_stop_serving(at_a: Fleet, vm: dict[str, Any]) -> None:
    """journald stands still, and more is logged than its socket holds."""
    # A kept connection that was ended is opened again, once, as clients do; the witness counts what is lost.
    port = declared().edge.listeners.internal.port
    flood = (
        "import http.client\n"
        f"c = http.client.HTTPConnection('127.0.0.1', {port}, timeout=5)\n"
        "def ask():\n"
        "  c.request('POST', '/', b'x=[]', {'Content-Type': 'application/x-www-form-urlencoded'})\n"
        "  c.getresponse().read()\n"
        "for _ in range(6000):\n"
        "  try:\n"
        "    ask()\n"
        "  except (ConnectionError, http.client.RemoteDisconnected):\n"
        "    c.close()\n"
        "    ask()\n"
        "print('answered')\n"
    )
    on(vm, "systemctl", "kill", "--signal=STOP", "systemd-journald.service")
    try:
        with at_a.witnessed(enough=2000) as record:
            assert on(vm, "timeout", "60", "python3", "-", stdin=flood) == "answered"
    finally:
        on(vm, "systemctl", "kill", "--signal=CONT", "systemd-journald.service")
    assert_calm(record)


def assert_calm(record: dict[str, Any]) -> None:
    assert (record["failed"], record["wrong"]) == (0, 0), record["samples"]
