"""What a hostile pickle would try, run in one process by the pickle itself.

An attempt raises where it is refused; what returns went through. The exception's text is all that leaves the
process.
"""

import ctypes
import mmap
import os
import resource
import socket
import struct
import subprocess

GIVEN = {}  # the test writes it here

libc = ctypes.CDLL(None, use_errno=True)
THERE = os.fsencode(GIVEN.get("there", ""))
NEW = os.fsencode(GIVEN.get("new", ""))
VICTIM = GIVEN.get("victim", 0)
PARENT = GIVEN.get("parent", 0)
AT = -100
MARK = b"skfleet-escape"


def call(name, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(
        GIVEN["calls"][name],
        *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments),
    )
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def refused():
    raise PermissionError


def forked(name, *arguments):
    if call(name, *arguments) == 0:  # in the new process, which outlives the import
        while True:
            call("sched_yield")


def terminal(request):
    file = os.open("/dev/tty", os.O_RDONLY)
    for byte in b"touch escaped\n":
        call("ioctl", file, request, ctypes.byref(ctypes.c_char(byte)))


def buffer(size=256):
    return ctypes.create_string_buffer(size)


def clone3_arguments():
    return struct.pack("11Q", 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)


def limits():
    return struct.pack("2Q", 64, 64)


def vector(text):
    data = ctypes.create_string_buffer(text)
    return data, struct.pack("2Q", ctypes.addressof(data), len(text))


def parent_memory(flags):
    os.close(os.open(f"/proc/{PARENT}/mem", flags))


SIGINFO = struct.pack("3i", 9, 0, -1) + bytes(116)

ATTEMPTS = {
    # The operator's terminal.
    "tiocsti": lambda: terminal(0x5412),
    "tioclinux": lambda: terminal(0x541C),
    # Other processes.
    "kill": lambda: call("kill", VICTIM, 9),
    "tkill": lambda: call("tkill", VICTIM, 9),
    "tgkill": lambda: call("tgkill", VICTIM, VICTIM, 9),
    "rt_sigqueueinfo": lambda: call("rt_sigqueueinfo", VICTIM, 9, SIGINFO),
    "rt_tgsigqueueinfo": lambda: call("rt_tgsigqueueinfo", VICTIM, VICTIM, 9, SIGINFO),
    "pidfd_open": lambda: call("pidfd_open", VICTIM, 0),
    "ptrace": lambda: call("ptrace", 16, VICTIM, 0, 0),
    "ptrace seize": lambda: call("ptrace", 0x4206, VICTIM, 0, 0),
    "process_vm_readv": lambda: call(
        "process_vm_readv", PARENT, vector(b"x")[1], 1, vector(b"x")[1], 1, 0
    ),
    "process_vm_writev": lambda: call(
        "process_vm_writev", PARENT, vector(b"x")[1], 1, vector(b"x")[1], 1, 0
    ),
    "prlimit64 on the parent": lambda: call("prlimit64", PARENT, 7, limits(), 0),
    "prlimit64 on the victim": lambda: call("prlimit64", VICTIM, 7, limits(), 0),
    "prlimit64 on itself": lambda: call("prlimit64", 0, 4, 0, buffer()),
    "setpriority": lambda: call("setpriority", 0, VICTIM, 19),
    "sched_setaffinity": lambda: call("sched_setaffinity", VICTIM, 8, struct.pack("Q", 1)),
    "sched_setscheduler": lambda: call("sched_setscheduler", VICTIM, 3, struct.pack("i", 0)),
    "ioprio_set": lambda: call("ioprio_set", 1, VICTIM, 0x4007),
    "kcmp": lambda: call("kcmp", PARENT, PARENT, 0, 0, 0),
    "parent's memory, read": lambda: parent_memory(os.O_RDONLY),
    "parent's memory, write": lambda: parent_memory(os.O_RDWR),
    "migrate_pages": lambda: call("migrate_pages", VICTIM, 0, 0, 0),
    # Processes and threads of its own.
    "fork": os.fork,
    "clone": lambda: forked("clone", 17, 0, 0, 0, 0),
    "clone3": lambda: forked("clone3", clone3_arguments(), 88),
    "vfork by clone": lambda: forked("clone", 0x4000 | 17, 0, 0, 0, 0),
    "thread": lambda: __import__("_thread").start_new_thread(lambda: None, ()),
    "execve": lambda: os.execv("/bin/true", ["true"]),
    "execveat": lambda: call("execveat", AT, b"/bin/true", 0, 0, 0),
    "subprocess": lambda: subprocess.run(["/bin/true"]),
    "shell": lambda: os.system("exit 0") == 0 or refused(),
    "memfd_create": lambda: os.memfd_create("x"),
    "memfd_secret": lambda: call("memfd_secret", 0),
    "setsid": os.setsid,
    "setpgid": lambda: os.setpgid(0, PARENT),
    "prctl dumpable": lambda: call("prctl", 4, 1, 0, 0, 0),
    "prctl parent's death": lambda: call("prctl", 1, 0, 0, 0, 0),
    "personality": lambda: call("personality", 0x0400000),
    # Files.
    "open to read": lambda: os.open(THERE, os.O_RDONLY),
    "open /etc/passwd": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "open to write": lambda: os.open(THERE, os.O_WRONLY),
    "open to create": lambda: os.open(NEW, os.O_CREAT | os.O_WRONLY),
    "open a temporary file": lambda: os.open(THERE.rpartition(b"/")[0], 0o20200000 | os.O_RDWR),
    "openat2": lambda: call("openat2", AT, THERE, struct.pack("3Q", 0, 0, 0), 24),
    "open_by_handle_at": lambda: call("open_by_handle_at", AT, bytes(128), 0),
    "list": lambda: os.listdir("/"),
    "stat": lambda: os.stat("/etc/passwd"),
    "readlink": lambda: os.readlink("/proc/self/exe"),
    "rename": lambda: os.rename(THERE, NEW),
    "renameat2": lambda: call("renameat2", AT, THERE, AT, NEW, 0),
    "unlink": lambda: os.unlink(THERE),
    "mkdir": lambda: os.mkdir(NEW),
    "link": lambda: os.link(THERE, NEW),
    "symlink": lambda: os.symlink(THERE, NEW),
    "mknod": lambda: os.mknod(NEW, 0o10600),
    "truncate": lambda: os.truncate(THERE, 0),
    "chmod": lambda: os.chmod(THERE, 0),
    "fchmodat": lambda: call("fchmodat", AT, THERE, 0),
    "fchmodat2": lambda: call("fchmodat2", AT, THERE, 0, 0),
    "chown": lambda: os.chown(THERE, 0, 0),
    "fchownat": lambda: call("fchownat", AT, THERE, 65534, 65534, 0),
    "setxattr": lambda: call("setxattr", THERE, b"user.x", b"x", 1, 0),
    "lsetxattr": lambda: call("lsetxattr", THERE, b"user.x", b"x", 1, 0),
    "setxattrat": lambda: call("setxattrat", AT, THERE, 0, b"user.x", bytes(16), 16),
    "removexattr": lambda: call("removexattr", THERE, b"user.kept"),
    "lremovexattr": lambda: call("lremovexattr", THERE, b"user.kept"),
    "utimensat": lambda: call("utimensat", AT, THERE, 0, 0),
    "utimes": lambda: os.utime(THERE, (1, 1)),
    "chdir": lambda: os.chdir("/tmp"),
    "chroot": lambda: os.chroot("/"),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, 0),
    "umount2": lambda: call("umount2", b"/mnt", 2),
    "pivot_root": lambda: call("pivot_root", b"/", b"/"),
    "fsopen": lambda: call("fsopen", b"tmpfs", 0),
    "open_tree": lambda: call("open_tree", AT, b"/", 0),
    "mount_setattr": lambda: call("mount_setattr", AT, b"/", 0, bytes(32), 32),
    "quotactl": lambda: call("quotactl", 0, 0, 0, 0),
    "swapon": lambda: call("swapon", THERE, 0),
    "acct": lambda: call("acct", THERE),
    "inotify": lambda: call("inotify_init1", 0),
    "fanotify": lambda: call("fanotify_init", 0, 0),
    # The network and other processes' ears.
    "socket": socket.socket,
    "connection": lambda: socket.create_connection(("127.0.0.1", GIVEN.get("port", 0))),
    "unix socket": lambda: socket.socket(socket.AF_UNIX),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "socketpair": socket.socketpair,
    "pipe": os.pipe,
    "mq_open": lambda: call("mq_open", b"skfleet-escape", 0o102, 0o600, 0),
    "shmget": lambda: call("shmget", 0x5F1EE7, 4096, 0o1666),
    "semget": lambda: call("semget", 0x5F1EE7, 1, 0o1666),
    "msgget": lambda: call("msgget", 0x5F1EE7, 0o1666),
    "add_key": lambda: call("add_key", b"user", b"skfleet", b"x", 1, -4),
    "keyctl": lambda: call("keyctl", 0, -4, 1),
    "request_key": lambda: call("request_key", b"user", b"skfleet", 0, -4),
    # The kernel.
    "io_uring_setup": lambda: call("io_uring_setup", 1, bytes(120)),
    "bpf": lambda: call("bpf", 0, bytes(72), 72),
    "perf_event_open": lambda: call("perf_event_open", bytes(112), 0, -1, -1, 0),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "unshare": lambda: call("unshare", 0x10000000),
    "setns": lambda: call("setns", 0, 0),
    "seccomp": lambda: call("seccomp", 1, 0, 0),
    "landlock_create_ruleset": lambda: call("landlock_create_ruleset", 0, 0, 1),
    "sethostname": lambda: socket.sethostname("escaped"),
    "clock_settime": lambda: call("clock_settime", 0, bytes(16)),
    "reboot": lambda: call("reboot", 0, 0, 0, 0),
    "init_module": lambda: call("init_module", 0, 0, b""),
    "syslog": lambda: call("syslog", 10, 0, 0),
    "setuid": lambda: os.setuid(0),
    "setgroups": lambda: os.setgroups([0]),
    "capset": lambda: call("capset", struct.pack("2I", 0x20080522, 0), bytes(24)),
    "setrlimit": lambda: resource.setrlimit(resource.RLIMIT_NPROC, (9, 9)),
    "executable memory": lambda: mmap.mmap(-1, 4096, prot=7),
    "write elsewhere": lambda: os.write(2, MARK),
    "fcntl": lambda: __import__("fcntl").fcntl(1, 8, PARENT),
    "vmsplice": lambda: call("vmsplice", 1, vector(MARK)[1], 1, 0),
}


def through():
    """Names of the attempts that went through."""
    names = []
    for name in GIVEN.get("only") or ATTEMPTS:
        try:
            ATTEMPTS[name]()
        except (OSError, LookupError, RuntimeError, ValueError):
            continue
        names.append(name)
    return names


def not_refused():
    """Numbers of calls outside the list that the kernel did not refuse by EPERM."""
    numbers = []
    for number in range(1024):
        if number in GIVEN["allowed"]:
            continue
        ctypes.set_errno(0)
        if libc.syscall(number, -1, -1, -1, -1, -1, -1) != -1 or ctypes.get_errno() != 1:
            numbers.append(number)
    return numbers


if GIVEN:
    said = f"{len(ATTEMPTS)} attempts, through: {through()}"
    if "allowed" in GIVEN:
        said += f", calls not refused: {not_refused()}"
    raise ValueError(said)
