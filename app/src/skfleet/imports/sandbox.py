"""A process that may compute and answer on its standard output, and nothing else. Linux, any user.

Applied by the process to itself, before it reads what it must not trust:

- no network: a network namespace of its own where the kernel grants one, and no `socket` call anyway;
- no other program, no signal to another process, no tracing, no writing, renaming or deleting of files: a
  seccomp filter, which needs no privilege;
- bounded memory, CPU time, file size, files and processes: rlimits;
- root becomes `nobody`.

Reading files stays allowed: scikit-learn is imported after that. What is read cannot leave but by the answer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import struct
from contextlib import suppress

from skfleet.errors import ConfigurationError

MEMORY_BYTES = 4 * 1024**3
CPU_S = 120
FILES = 256
NOBODY = 65534

_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000 | 1, 0x80000000  # refuse: EPERM
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

# (audit architecture, calls that are refused, call `openat`, call `open` or None)
_X86_64 = (
    0xC000003E,
    # socket socketpair connect bind listen accept sendto sendmsg ptrace kill tkill tgkill execve execveat
    [41, 53, 42, 49, 50, 43, 44, 46, 101, 62, 200, 234, 59, 322,
     # fork vfork unshare setns mount umount2 chroot pivot_root bpf perf_event_open io_uring_setup keyctl
     57, 58, 272, 308, 165, 166, 161, 155, 321, 298, 425, 250,
     # rename renameat renameat2 unlink unlinkat rmdir mkdir mkdirat creat link linkat symlink symlinkat
     82, 264, 316, 87, 263, 84, 83, 258, 85, 86, 265, 88, 266,
     # chmod fchmod fchmodat chown fchown lchown fchownat truncate mknod mknodat setxattr openat2 memfd_create
     90, 91, 268, 92, 93, 94, 260, 76, 133, 259, 188, 437, 319,
     # process_vm_readv process_vm_writev pidfd_open pidfd_getfd pidfd_send_signal accept4 sendmmsg
     310, 311, 434, 438, 424, 288, 307],
    257,
    2,
)  # fmt: skip
_AARCH64 = (
    0xC00000B7,
    [198, 199, 203, 200, 201, 202, 206, 211, 117, 129, 130, 131, 221, 281,
     97, 268, 40, 39, 51, 41, 280, 241, 425, 219,
     38, 276, 35, 34, 37, 36, 52, 53, 54, 55, 45, 33, 5, 437, 279,
     270, 271, 434, 438, 424, 242, 269],
    56,
    None,
)  # fmt: skip
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}


def enter() -> list[str]:
    """Give up everything but computing; what holds now, for the report. There is no way back.

    Raises ConfigurationError where this machine cannot do it: nothing is unpickled then.
    """
    if platform.machine() not in _MACHINES:
        raise ConfigurationError(
            f"There is no sandbox for {platform.machine()}.",
            where="skfleet model import",
            hint="Import on x86-64 or arm64 Linux.",
        )
    libc = ctypes.CDLL(None, use_errno=True)
    held: list[str] = []
    flags = _CLONE_NEWNET | _CLONE_NEWIPC | (_CLONE_NEWUSER if os.getuid() else 0)
    if libc.unshare(flags) == 0:
        held.append("network namespace of its own")
    for limit, value in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))
    held.append(f"at most {MEMORY_BYTES >> 30} GiB and {CPU_S} s of CPU")
    if os.getuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        held.append("user nobody")
    with suppress(OSError):
        os.chdir("/")
    _filter(libc)
    held.append("no sockets, programs, signals or writing of files (seccomp)")
    return held


def _filter(libc: ctypes.CDLL) -> None:
    program = _program(*_MACHINES[platform.machine()])
    code = b"".join(struct.pack("HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    given = Program(len(program), ctypes.cast(buffer, ctypes.c_void_p))
    if (
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        or libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(given), 0, 0) != 0
    ):
        raise ConfigurationError(
            f"The kernel refuses the sandbox: {os.strerror(ctypes.get_errno())}.",
            where="seccomp",
            hint="Import on a Linux whose kernel has seccomp filters.",
        )


Line = tuple[int, int, int, int]
_LOAD, _EQUAL, _ANY_BIT, _AT_LEAST, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06


def _program(
    architecture: int, refused: list[int], openat: int, old_open: int | None
) -> list[Line]:
    """The filter, in classic BPF: of the data number is at 0, architecture at 4, arguments from 16."""
    program: list[Line] = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, 0),
        # The x32 calls of an x86-64 kernel have numbers of their own.
        (_AT_LEAST, 0, 1, 0x40000000),
        (_RETURN, 0, 0, _KILL),
    ]
    for number in refused:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]
    for call, argument in ((openat, 2), (old_open, 1)):
        if call is not None:
            program += [
                (_EQUAL, 0, 4, call),
                (_LOAD, 0, 0, 16 + 8 * argument),
                (_ANY_BIT, 0, 1, _WRITES),
                (_RETURN, 0, 0, _REFUSE),
                (_RETURN, 0, 0, _ALLOW),
            ]
    return [*program, (_RETURN, 0, 0, _ALLOW)]
