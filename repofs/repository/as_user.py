"""Acting on file systems with the rights of a caller, and not with the daemon's.

    with acting_as(caller):
        fd = os.open(…)             the kernel decides as if the caller had asked

Changed is what the kernel judges files by, credentials(7): supplementary groups, fsuid, fsgid, and the effective
capabilities of the calling thread. Real and effective ids stay, so that the caller can neither signal nor trace
the thread meanwhile. No other thread is touched: setfsuid, setfsgid and capset are per thread in glibc and musl too,
setgroups only as the bare system call (nptl(7): the wrapper makes all threads follow). What a library does in threads
of its own keeps the rights of the thread that started them: libraries belong in a process.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import re
import threading
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from repofs.errors import AccessDenied
from repofs.privileges import Capability, Sets, capabilities, set_capabilities

_SETGROUPS = {"x86_64": 116, "aarch64": 159}[os.uname().machine]
_NO_ID = 0xFFFF_FFFF  # setfsuid(-1) and setfsgid(-1) change nothing and return what is
_MAY_CHANGE = 1 << Capability.SETGID | 1 << Capability.SETUID
_NOBODYS_GID = 65534
_EXIT_WRONG_IDENTITY = 70  # EX_SOFTWARE of sysexits.h

# The last of each four ids is the file-system one; the kernel escapes a newline in the name above, proc_pid_status(5).
_IDS = re.compile(rb"^Uid:\t\d+\t\d+\t\d+\t(\d+)\nGid:\t\d+\t\d+\t\d+\t(\d+)\nFDSize:.*\nGroups:\t(.*)$", re.MULTILINE)

_log = structlog.get_logger(__name__)

# PyDLL keeps the interpreter's lock. These calls never wait, and with CDLL each would hand the lock to the next thread.
_libc = ctypes.PyDLL(None, use_errno=True)
_setfsuid, _setfsgid = _libc.setfsuid, _libc.setfsgid
for _call in (_setfsuid, _setfsgid):
    _call.argtypes, _call.restype = (ctypes.c_uint,), ctypes.c_uint
_syscall = _libc.syscall
_syscall.argtypes, _syscall.restype = (ctypes.c_long, ctypes.c_size_t, ctypes.c_void_p), ctypes.c_long


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user as the kernel judges her, *groups* being the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def caller_of(pid: int, uid: int, gid: int) -> Caller:
    """Return who makes the request that came from task *pid* as *uid* and *gid*.

    The groups are the task's own. They can be trusted while it waits for its answer: it cannot go away, and its
    number cannot become another's. A task that has other ids (the request was passed on, or it is gone) is not the
    one who asks: then the groups are those that the accounts of the machine say; none for a uid without account.
    """
    groups = _groups_of(pid, uid, gid)
    return Caller(uid, gid, _groups_by_account(uid, gid) if groups is None else groups)


def by_account(uid: int) -> Caller:
    """Return *uid* with the groups that the accounts of the machine say; one without account is in none."""
    try:
        account = pwd.getpwuid(uid)
    except KeyError:
        return Caller(uid, _NOBODYS_GID, ())
    return Caller(uid, account.pw_gid, tuple(os.getgrouplist(account.pw_name, account.pw_gid)))


def _groups_by_account(uid: int, gid: int) -> tuple[int, ...]:
    try:
        return tuple(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
    except KeyError:
        return ()


def _groups_of(task: int, uid: int, gid: int) -> tuple[int, ...] | None:
    try:
        with open(f"/proc/{task}/status", "rb") as file:
            status = _IDS.search(file.read())
    except OSError:  # gone, or hidden by hidepid
        return None
    if status is None or (int(status[1]), int(status[2])) != (uid, gid):
        return None
    return tuple(int(group) for group in status[3].split())


@contextmanager
def acting_as(caller: Caller) -> Iterator[None]:
    """Give this thread the file rights of *caller* and of nobody else, until the end of the `with`.

    A daemon that may not change its identity (that of an ordinary user) can act for its own user only, and does so
    as it is. Raises AccessDenied for any other; RuntimeError in the main thread, whose identity is the process's:
    a signal's handler runs there, and a change makes the kernel forget its PR_SET_PDEATHSIG.
    """
    held = capabilities()
    if held[0] & _MAY_CHANGE != _MAY_CHANGE:
        if caller.uid != os.geteuid():
            raise AccessDenied(
                f"the daemon runs as uid {os.geteuid()}: only root's can open files for uid {caller.uid}"
            )
        yield
        return
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("the main thread never changes its identity: act in a worker thread")
    own = Caller(_setfsuid(_NO_ID), _setfsgid(_NO_ID), tuple(os.getgroups()))
    try:
        _become(caller, held)
        yield
    finally:
        _put_back(own, held)


def _become(caller: Caller, held: ctypes.Array[ctypes.c_uint]) -> None:
    _set_groups(caller.groups)
    _set_ids(caller)
    if caller.uid != 0:
        # setfsuid drops them only on the way from 0 to another: a daemon with capabilities and a uid of its own
        # would keep CAP_DAC_READ_SEARCH, and read everything for everybody.
        set_capabilities(Sets(0, held[1], held[2], 0, held[4], held[5]))


def _put_back(own: Caller, held: ctypes.Array[ctypes.c_uint]) -> None:
    """Be the daemon again. A thread that cannot must not live on, and only the whole process can be ended."""
    try:
        _set_ids(own)
        set_capabilities(held)  # now: setfsuid(0) has raised some, and setgroups needs one
        _set_groups(own.groups)
    except BaseException:  # noqa: BLE001 - whatever it is, nothing may run in this thread any more
        try:
            _log.critical("a thread could not put back its identity: the process ends", exc_info=True)
        finally:
            os._exit(_EXIT_WRONG_IDENTITY)


def _set_ids(who: Caller) -> None:
    _setfsgid(who.gid)
    _setfsuid(who.uid)  # neither says whether it worked
    if (_setfsuid(_NO_ID), _setfsgid(_NO_ID)) != (who.uid, who.gid):
        raise OSError(errno.EPERM, f"setfsuid {who.uid}, setfsgid {who.gid}")


def _set_groups(groups: Sequence[int]) -> None:
    ids = array("I", groups)  # not ctypes, which takes 2**32 for 0
    if _syscall(_SETGROUPS, len(ids), ids.buffer_info()[0]) != 0:
        raise OSError(ctypes.get_errno(), f"setgroups {groups}")
