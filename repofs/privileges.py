"""What each process keeps of root's rights, with the reason for each, and giving up all others: capabilities(7).

A capability stands here because a test or a person notices when it is missing. ``docs/reference/security.md`` prints
the table.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38  # linux/prctl.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_VERSION_3 = 0x2008_0522
_SETPCAP = 1 << 8
_MOST = 64  # capabilities that the kernel's interface has room for


class Capability(IntEnum):
    """The number of a capability, linux/capability.h."""

    CHOWN = 0
    DAC_OVERRIDE = 1
    DAC_READ_SEARCH = 2
    FOWNER = 3
    FSETID = 4
    KILL = 5
    SETGID = 6
    SETUID = 7
    SYS_PTRACE = 19
    SYS_ADMIN = 21
    LEASE = 28


Kept = Mapping[Capability, str]

LAUNCHER: Kept = MappingProxyType(
    {
        Capability.SYS_ADMIN: "mounts, and unmounts at the end; lets the kernel read originals by itself",
        Capability.DAC_READ_SEARCH: "reaches a mountpoint below directories that are closed to others",
    }
)

IMPORTER: Kept = MappingProxyType(
    {
        Capability.CHOWN: "gives import directories and logs to their owners",
        Capability.DAC_OVERRIDE: "opens and links files of all users in the backing tree",
        Capability.FOWNER: "marks files of all users, sets the modes of import directories",
        Capability.KILL: "ends a reader, which runs as nobody or as who asks",
        Capability.LEASE: "asks by a lease whether anybody writes a file that belongs to a user",
        Capability.SETGID: "readers leave root's groups",
        Capability.SETUID: "readers become nobody, or who asks",
    }
)

FORKING: Kept = MappingProxyType(
    {
        Capability.KILL: "ends a child, which runs as who asks",
        Capability.SETGID: "a child has the groups of who asks",
        Capability.SETUID: "a child becomes who asks",
    }
)

DAEMON: Kept = MappingProxyType(
    {
        **IMPORTER,  # it starts the importer, which can have no more than it has itself
        Capability.FSETID: "keeps the set-group-ID bit of directories whose group is not its own",
        Capability.SYS_PTRACE: "sees in /proc how a user's copying program ended",
    }
)


# PyDLL keeps the interpreter's lock. These calls never wait, and with CDLL each would hand the lock to the next thread.
_libc = ctypes.PyDLL(None, use_errno=True)
Sets = ctypes.c_uint * 6  # effective, permitted, inheritable of capabilities 0 to 31; the same of 32 to 63
_this_thread = (ctypes.c_uint * 2)(_CAPABILITY_VERSION_3, 0)


def keep(wanted: Iterable[Capability]) -> None:
    """Give up, for good and with all that this process will ever execute, every capability but *wanted*.

    What it does not hold it does not gain. Call before there are threads: each has capabilities of its own.
    The bounding set stays as it is without CAP_SETPCAP; no_new_privs has the same effect.
    """
    mask = sum(1 << capability for capability in set(wanted))
    held = capabilities()
    if held[0] & _SETPCAP:
        _bound(mask)
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    low, high = held[1] & mask, held[4] & mask >> 32
    set_capabilities(Sets(low, low, 0, high, high, 0))
    gain_none()


def _bound(mask: int) -> None:
    for number in range(_MOST):
        if not mask >> number & 1 and _libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:  # -1: there is no such
            _prctl(_PR_CAPBSET_DROP, number)


def gain_none() -> None:
    """Let no program that is executed from here on have more rights than this process: set-user-ID is not honoured."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def hide_memory() -> None:
    """Leave no core, and keep processes of the same user from tracing this one and from reading its memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_DUMPABLE, 0)


def end_with_parent(signal: int, parent: int) -> None:
    """Have the kernel send *signal* when the thread that started this process ends; at once if *parent* has ended.

    Call after every change of identity, which makes the kernel forget it.
    """
    _prctl(_PR_SET_PDEATHSIG, signal)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option} {value}: {os.strerror(ctypes.get_errno())}")


def capabilities() -> ctypes.Array[ctypes.c_uint]:
    """Return the capabilities of this thread as the kernel tells them: six words, see `Sets`."""
    held = Sets()
    if _libc.capget(_this_thread, held) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    return held


def set_capabilities(wanted: ctypes.Array[ctypes.c_uint]) -> None:
    """Give this thread the capabilities *wanted*, six words as `capabilities` returns them."""
    if _libc.capset(_this_thread, wanted) != 0:
        raise OSError(ctypes.get_errno(), "capset")
