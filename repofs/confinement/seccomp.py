"""The system calls that a confined process has left: memory, threads, time, and the descriptors that it was given.

A filter of the kernel, seccomp(2), written as a list of what is allowed: no call that takes a path, makes a socket,
a file, a process or a mapping shared with others, or changes what a descriptor leads to. All else answers EPERM,
so that a library which tries for it in passing goes on without. One thing remains that names a path: newfstatat,
which is also how glibc does fstat. It tells what nobody may know of any file, and opens none.

A process that has files of its own to open gets `READING` or `WRITING` besides, one that talks to a store `NETWORK`:
which files, and which store, is for `landlock` and the kernel's ordinary rights to decide. Who only reads opens nothing
for writing and truncates nothing, also on a kernel without Landlock, or before 6.2, whose Landlock lets truncate.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

_MACHINES = ("x86_64", "aarch64")
_AUDIT_ARCH = (0xC000_003E, 0xC000_00B7)  # linux/audit.h

Calls = Mapping[str, tuple[int | None, int | None]]

ALLOWED: Calls = {
    # memory
    "brk": (12, 214), "mmap": (9, 222), "munmap": (11, 215), "mremap": (25, 216), "mprotect": (10, 226),
    "madvise": (28, 233), "membarrier": (324, 283),
    # descriptors
    "read": (0, 63), "readv": (19, 65), "pread64": (17, 67), "preadv": (295, 69), "lseek": (8, 62),
    "fstat": (5, 80), "newfstatat": (262, 79), "close": (3, 57), "dup": (32, 23), "fadvise64": (221, 223),
    "readahead": (187, 213), "write": (1, 64), "writev": (20, 66), "sendto": (44, 206), "recvfrom": (45, 207),
    "recvmsg": (47, 212), "poll": (7, None), "ppoll": (271, 73), "select": (23, None), "pselect6": (270, 72),
    # threads and signals
    "futex": (202, 98), "set_robust_list": (273, 99), "rseq": (334, 293), "gettid": (186, 178), "getpid": (39, 172),
    "getppid": (110, 173), "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "getcpu": (309, 168),
    "exit": (60, 93), "exit_group": (231, 94), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "restart_syscall": (219, 128),
    # time, and what the process may know of itself
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101),
    "gettimeofday": (96, 169), "time": (201, None), "getrusage": (98, 165), "getrandom": (318, 278),
    "uname": (63, 160), "sysinfo": (99, 179), "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176),
    "getegid": (108, 177),
}  # fmt: skip
"""System call -> its number on each of _MACHINES; None where the machine has none."""

_FCNTL, _IOCTL, _CLONE, _CLONE3 = (72, 25), (16, 29), (56, 220), (435, 435)
_PRLIMIT, _KILL, _TGKILL, _SECCOMP = (302, 261), (62, 129), (234, 131), (317, 277)
_FCNTLS = (0, 1, 2, 3, 1030)  # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_DUPFD_CLOEXEC: no lease, no lock, no owner
_IOCTLS = (0x5401, 0x5450, 0x5451)  # TCGETS (isatty), FIONCLEX, FIOCLEX
_CLONE_THREAD = 0x10000

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # linux/bpf_common.h
_NUMBER, _ARCH, _ARGUMENT = 0, 4, (16, 24, 32)  # struct seccomp_data; the lower halves of the first three arguments
_KILL_PROCESS, _ALLOW, _ERRNO = 0x8000_0000, 0x7FFF_0000, 0x0005_0000
_SET_MODE_FILTER, _TSYNC = 1, 1  # seccomp(2)


@dataclass(frozen=True, slots=True)
class Rule:
    """A call that is allowed when argument *argument* is one of *values*, has any bit of one, or has no bit of any."""

    numbers: tuple[int, int]  # on each of _MACHINES
    argument: int
    values: Sequence[int]
    when: Literal["is", "has", "has not"] = "is"


@dataclass(frozen=True, slots=True)
class More:
    """What a process may do besides."""

    calls: Calls
    rules: tuple[Rule, ...] = ()


_OPENAT = (257, 56)
_SEEN: Calls = {
    "getdents64": (217, 61), "stat": (4, None), "lstat": (6, None), "statx": (332, 291), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getcwd": (79, 17), "fstatfs": (138, 44), "eventfd2": (290, 19), "epoll_create": (213, None),
    "epoll_create1": (291, 20), "epoll_ctl": (233, 21), "epoll_wait": (232, None), "epoll_pwait": (281, 22),
}  # fmt: skip
_NOT_WRITING = Rule(_OPENAT, 2, (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC,), "has not")

NOTHING = More({})

READING = More(_SEEN, (_NOT_WRITING,))
"""Opening files and directories, to read them."""

WRITING = More(
    {
        **_SEEN,
        "openat": _OPENAT, "pwrite64": (18, 68), "pwritev": (296, 70), "ftruncate": (77, 46), "fsync": (74, 82),
        "fdatasync": (75, 83), "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None),
        "unlinkat": (263, 35), "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
        "fchmod": (91, 52), "utimensat": (280, 88),
    }
)  # fmt: skip
"""Making, writing and removing them too."""

NETWORK = More(
    {
        **_SEEN,
        "connect": (42, 203), "getsockopt": (55, 209), "setsockopt": (54, 208), "getsockname": (51, 204),
        "getpeername": (52, 205), "bind": (49, 200), "shutdown": (48, 210), "sendmsg": (46, 211),
        "sendmmsg": (307, 269), "recvmmsg": (299, 243), "pipe2": (293, 59),
    },
    (_NOT_WRITING, Rule((41, 198), 0, (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK))),  # socket
)  # fmt: skip
"""Reading, and asking a store over the network. `bind` and netlink: so glibc learns which addresses there are."""


def rules(own_pid: int) -> list[Rule]:
    """Return the calls that are allowed for some arguments only, to every process."""
    return [
        Rule(_FCNTL, 1, _FCNTLS),
        Rule(_IOCTL, 1, _IOCTLS),
        Rule(_CLONE, 0, (_CLONE_THREAD,), "has"),
        Rule(_PRLIMIT, 0, (0,)),  # its own: the processor time of each file
        Rule(_KILL, 0, (own_pid,)),
        Rule(_TGKILL, 0, (own_pid,)),  # abort(3)
    ]


def program(machine: int, own_pid: int, more: More = NOTHING) -> bytes:
    """Return the filter as classic BPF, an array of struct sock_filter."""
    made = [
        _step(_LOAD, _ARCH),
        _step(_EQUAL, _AUDIT_ARCH[machine], 1, 0),
        _step(_RETURN, _KILL_PROCESS),  # the calls of another architecture have other numbers
        _step(_LOAD, _NUMBER),
    ]
    for numbers in (*ALLOWED.values(), *more.calls.values()):
        if (number := numbers[machine]) is not None:
            made += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _ALLOW)]
    made += [_step(_EQUAL, _CLONE3[machine], 0, 1), _step(_RETURN, _ERRNO | errno.ENOSYS)]  # glibc then calls clone
    for rule in (*rules(own_pid), *more.rules):
        made += _checked(rule, machine)
    return b"".join([*made, _step(_RETURN, _ERRNO | errno.EPERM)])


def _checked(rule: Rule, machine: int) -> list[bytes]:
    compare = _EQUAL if rule.when == "is" else _ANY_BIT
    allowed, refused = _step(_RETURN, _ALLOW), _step(_RETURN, _ERRNO | errno.EPERM)
    if_so, else_ = (refused, allowed) if rule.when == "has not" else (allowed, refused)
    tests = [step for value in rule.values for step in (_step(compare, value, 0, 1), if_so)]
    body = [_step(_LOAD, _ARGUMENT[rule.argument]), *tests, else_]
    return [_step(_EQUAL, rule.numbers[machine], 0, len(body)), *body]


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


def confine(more: More = NOTHING) -> None:
    """Put the filter, with *more*, on every thread of this process, for good. It must have no_new_privs.

    Raises OSError.
    """
    machine = _MACHINES.index(os.uname().machine)
    steps = program(machine, os.getpid(), more)
    buffer = ctypes.create_string_buffer(steps, len(steps))
    header = struct.pack("@HxxxxxxP", len(steps) // 8, ctypes.addressof(buffer))  # struct sock_fprog
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(_SECCOMP[machine], _SET_MODE_FILTER, _TSYNC, header) != 0:
        raise OSError(ctypes.get_errno(), "seccomp")
