"""The process that mounts for root, and keeps the one right that this needs. All else happens in its child, the daemon.

    launcher     mount(2), umount(2), and numbers for files that the kernel is to read by itself: CAP_SYS_ADMIN. It
                 reads nothing of anybody's and answers nobody but the daemon.
      daemon     serves the descriptor of /dev/fuse that it was handed; it can neither mount nor unmount.

An ordinary user needs no launcher: fusermount3 is hers.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from repofs import mounts, passthrough, privileges
from repofs.errors import InvalidValue, RepofsError
from repofs.passthrough import Device

Ready = Callable[[], None]
Serve = Callable[[Device, Ready], int]
"""The daemon: given the device and what to call when the mount answers, it returns an exit code."""

_MS_NOSUID, _MS_NODEV = 2, 4  # mount(2)
_SET = {"ro": 1, "noexec": 8, "sync": 16, "dirsync": 128, "noatime": 1 << 10, "nodiratime": 1 << 11,
        "relatime": 1 << 21, "strictatime": 1 << 24}  # fmt: skip
_CLEARED = {"rw": "ro", "exec": "noexec", "async": "sync", "atime": "noatime", "diratime": "nodiratime"}
_ALWAYS = ("nosuid", "nodev", "default_permissions", "allow_other")
_DAEMON_S = ("debug",)  # for libfuse

_FORWARDED = (signal.SIGTERM, signal.SIGINT)
_HEEDED = (*_FORWARDED, signal.SIGCHLD)


def run(repository: Path, mountpoint: Path, options: Sequence[str], serve: Serve, ready: Ready) -> int:
    """Mount *repository* on *mountpoint*, have a child *serve* it, and return its exit code once all has ended.

    *ready* is called here when the child has said so. Raises RepofsError with a sentence when it cannot be mounted.
    A mount whose daemon was killed, or broke, is left: dead, it keeps people from filling the bare mountpoint.
    """
    flags = _flags(options)
    mounts.require_mountable(mountpoint)
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)  # from here on there is something to tidy up: see `_signals`
    device = os.open(mounts.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    number = _mount(repository, mountpoint, device, flags)
    heard, told = os.pipe()
    ours, daemon_s = passthrough.pair()
    parent, child = os.getpid(), os.fork()
    if child == 0:
        os.close(heard)
        ours.close()
        _be_daemon(serve, Device(device, daemon_s), told, parent)
    os.close(told)
    daemon_s.close()
    os.close(device)  # the child's alone: with its death the mount dies, and nobody waits for an answer
    privileges.keep(privileges.LAUNCHER)
    privileges.hide_memory()
    answered = os.read(heard, 1) != b""
    if answered:
        ready()
    code = _wait_end(child, ours)
    if code == 0 or not answered:
        _unmount(mountpoint, number)
    return code if code >= 0 else _killed(mountpoint, signal.Signals(-code))


def daemon_options(options: Sequence[str]) -> list[str]:
    """Return those of *options* that are not the kernel's but the daemon's."""
    return [word for word in options if word in _DAEMON_S]


def _flags(options: Sequence[str]) -> int:
    """Return *options* as mount(2) takes them. Raises InvalidValue for one that a repofs mount does not have."""
    flags = _MS_NOSUID | _MS_NODEV
    for word in options:
        if word in _SET:
            flags |= _SET[word]
        elif word in _CLEARED:
            flags &= ~_SET[_CLEARED[word]]
        elif word not in (*_ALWAYS, *_DAEMON_S):
            known = ", ".join(sorted({*_SET, *_CLEARED, *_ALWAYS, *_DAEMON_S}))
            raise InvalidValue(f"-o {word} is not an option of a repofs mount: these are {known}")
    return flags


def _mount(repository: Path, mountpoint: Path, device: int, flags: int) -> int:
    """Mount *device* on *mountpoint* and return the number of the mount; its source is *repository*."""
    data = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
    libc = ctypes.CDLL(None, use_errno=True)
    words = os.fsencode(repository), os.fsencode(mountpoint), mounts.FILE_SYSTEM_TYPE.encode()
    if libc.mount(*words, ctypes.c_ulong(flags), data.encode()) != 0:
        reason = os.strerror(ctypes.get_errno())
        raise RepofsError(f"{mountpoint} cannot be mounted: {reason} (in a container, CAP_SYS_ADMIN may be missing)")
    mounted = mounts.on(mountpoint)
    return -1 if mounted is None else mounted.id


def _be_daemon(serve: Serve, device: Device, told: int, parent: int) -> NoReturn:
    def ready() -> None:
        os.write(told, b".")
        os.close(told)

    code = 1
    try:
        privileges.keep(privileges.DAEMON)
        privileges.hide_memory()
        privileges.end_with_parent(signal.SIGTERM, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
        code = serve(device, ready)
    except BaseException:  # noqa: BLE001 - what the interpreter would do: nothing of the launcher's may run here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait_end(child: int, requests: socket.socket) -> int:
    """Pass signals on to *child*, and do what it asks for by *requests*, until it ends; return its exit code, negative
    when a signal has ended it. In one thread: the kernel sends the child a SIGTERM for each of ours that ends."""
    woken = _signals()
    waiting = select.poll()
    waiting.register(woken, select.POLLIN)
    waiting.register(requests, select.POLLIN)
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        for fd, _ in waiting.poll():
            if fd == woken:
                for number in os.read(woken, 64):
                    if number in _FORWARDED:
                        os.kill(child, number)
            elif not passthrough.answer(requests):
                waiting.unregister(requests)


def _signals() -> int:
    """Return a descriptor from which the numbers of signals are read from now on, a byte each; they do nothing else."""
    woken, wakes = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wakes)
    for number in _HEEDED:
        signal.signal(number, lambda _number, _frame: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEEDED)
    return woken


def _unmount(mountpoint: Path, number: int) -> None:
    """End our own mount, unless somebody has; never one that has taken its place."""
    here = mounts.on(mountpoint)
    if here is not None and here.id == number:
        mounts.unmount(mountpoint, detach=True)


def _killed(mountpoint: Path, how: signal.Signals) -> int:
    dead = "its dead mount is left" if mounts.on(mountpoint) is not None else "nothing is mounted"
    print(f"repofs: the daemon was ended by {how.name}, {dead}: repofs mount brings it back", file=sys.stderr)
    return 128 + how
