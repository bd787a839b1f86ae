"""A process that may compute and answer on its standard output, and nothing else.

Applied by the process to itself, once it has imported all it needs and before it reads a byte of what it must
not trust. None of it needs a privilege:

- seccomp, an allow-list: memory, clocks, reading standard input, writing standard output; every other system
  call fails with EPERM, files are not even opened for reading;
- Landlock without a rule: no file, no TCP port, no signal to another process, whatever system call asks;
- a network namespace of its own where the kernel grants one;
- rlimits: memory, CPU time, and no process, thread, written file or core;
- root becomes `nobody`; the process ends with its parent.

Its parent starts it in a session of its own, without a terminal, and checks from outside what holds.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import mmap
import os
import platform
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_NO_LANDLOCK = "the package 'landlockpy' is not installed"
_NO_SECCOMP = "the package 'pyseccomp' is not installed"
landlockpy: Any = None
pyseccomp: Any = None
with suppress(ImportError):
    landlockpy = importlib.import_module("landlockpy")
try:
    pyseccomp = importlib.import_module("pyseccomp")
except ImportError:
    pass
except RuntimeError:  # what the package raises
    _NO_SECCOMP = (
        "libseccomp.so.2 is not installed (Debian, Ubuntu: libseccomp2; Fedora, RHEL: libseccomp)"
    )

MEMORY_BYTES = 4 * 1024**3
CPU_S = 120
FILES = 256
NOBODY = 65534
SECCOMP, LANDLOCK, NOBODY_USER = "seccomp", "Landlock", "user nobody"
LIMITS = {  # by their names in /proc/PID/limits
    "Max address space": (resource.RLIMIT_AS, MEMORY_BYTES),
    "Max cpu time": (resource.RLIMIT_CPU, CPU_S),
    "Max file size": (resource.RLIMIT_FSIZE, 0),
    "Max open files": (resource.RLIMIT_NOFILE, FILES),
    "Max processes": (resource.RLIMIT_NPROC, 0),
    "Max core file size": (resource.RLIMIT_CORE, 0),
}

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_PDEATHSIG = 1
_MACHINES = ("x86_64", "aarch64")  # where the allow-list was tried
_STDIN, _STDOUT = 0, 1

# Calls of a single-threaded CPython that computes. Neither one that takes a path, nor one that takes another
# process's id, nor one that makes a file descriptor.
ALLOWED = (
    "brk munmap mremap madvise futex "
    "clock_gettime clock_getres clock_nanosleep nanosleep gettimeofday time getrandom "
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack restart_syscall "
    "getpid gettid getuid geteuid getgid getegid close exit exit_group"
).split()


def enter() -> tuple[list[str], dict[str, str]]:
    """Give up everything but computing, for good; (what holds now, what this system lacks: why)."""
    held: list[str] = []
    # Prepared while files may be read: root's interpreter may lie where `nobody` cannot look.
    restrictions, missing = _prepare()
    with suppress(OSError):
        os.chdir("/")
    libc = ctypes.CDLL(None, use_errno=True)
    linux = sys.platform == "linux"
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | (_CLONE_NEWUSER if os.getuid() else 0)
    if linux and libc.unshare(flags) == 0:
        held.append("network namespace of its own")
    elif SECCOMP in missing:  # which refuses sockets
        missing["network namespace"] = "the system grants none"
    for limit, value in LIMITS.values():
        with suppress(ValueError, OSError):  # the parent checks; macOS has no RLIMIT_AS
            resource.setrlimit(limit, (value, value))
    held.append(
        f"at most {MEMORY_BYTES >> 30} GiB, {CPU_S} s of CPU, one process, no file written (rlimits)"
    )
    if os.getuid() == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            held.append(NOBODY_USER)
        except OSError as error:
            missing[NOBODY_USER] = f"root may not become another user: {error}"
    if linux:
        # Forgotten when the user changes, so after that.
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for name, restrict in restrictions.items():
        try:
            held.append(restrict())
        except (_Missing, OSError) as error:
            missing[name] = str(error)
    return held, missing


def lacking() -> dict[str, str]:
    """Of Landlock and seccomp, what this system does not have: why."""
    return _prepare()[1]


def _prepare() -> tuple[dict[str, Callable[[], str]], dict[str, str]]:
    restrictions: dict[str, Callable[[], str]] = {}
    missing: dict[str, str] = {}
    for name, prepare in ((LANDLOCK, _landlock), (SECCOMP, _seccomp)):
        try:
            restrictions[name] = prepare()
        except (_Missing, OSError) as error:
            missing[name] = str(error)
    return restrictions, missing


class _Missing(Exception):
    """A protection that this system does not have."""


def _landlock() -> Callable[[], str]:
    if sys.platform != "linux":
        raise _Missing(f"{platform.system()} has none")
    if landlockpy is None:
        raise _Missing(_NO_LANDLOCK)
    version = landlockpy.abi_version()
    if version == 0:
        raise _Missing("the kernel has none (Linux 5.13 or later, `landlock` in its list `lsm=`)")
    ruleset = landlockpy.Ruleset(
        scoped=landlockpy.Scope.SIGNAL | landlockpy.Scope.ABSTRACT_UNIX_SOCKET
    )

    def restrict() -> str:
        with ruleset:
            ruleset.restrict()
        with suppress(PermissionError):
            os.close(os.open("/", os.O_RDONLY))
            raise _Missing("the kernel says it has it, and does not apply it")
        return f"no file opened, no TCP, no signal (Landlock, version {version})"

    return restrict


def _seccomp() -> Callable[[], str]:
    if sys.platform != "linux" or platform.machine() not in _MACHINES:
        raise _Missing(f"there is no allow-list for {platform.system()} on {platform.machine()}")
    if pyseccomp is None:
        raise _Missing(_NO_SECCOMP)
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.EPERM))
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)  # 32-bit calls, x32
    not_executable = pyseccomp.Arg(2, pyseccomp.MASKED_EQ, mmap.PROT_EXEC, 0)
    anonymous = pyseccomp.Arg(3, pyseccomp.MASKED_EQ, mmap.MAP_ANONYMOUS, mmap.MAP_ANONYMOUS)
    for call in ALLOWED:
        rules.add_rule(pyseccomp.ALLOW, call)
    rules.add_rule(pyseccomp.ALLOW, "mmap", not_executable, anonymous)
    rules.add_rule(pyseccomp.ALLOW, "mprotect", not_executable)
    rules.add_rule(pyseccomp.ALLOW, "read", pyseccomp.Arg(0, pyseccomp.EQ, _STDIN))
    rules.add_rule(pyseccomp.ALLOW, "write", pyseccomp.Arg(0, pyseccomp.EQ, _STDOUT))

    def restrict() -> str:
        rules.load()
        return "no system call but to compute and to answer (seccomp, an allow-list)"

    return restrict
