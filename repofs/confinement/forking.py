"""A parent that waits and forks a child for whatever is to be done: its half of `repofs.children`.

It has loaded the libraries, so that a child is there in milliseconds, and makes nothing that has threads: a child would
not have them.

    who asks ──the descriptors of a child──▶ parent     over the parent's socket (SOCK_SEQPACKET)
    parent ──status of waitpid(2), 4 bytes──▶ who asks  over the child's second one, when it has ended

Descriptors of a child, in this order: its socket; the one on which its end is told, and whose closing ends it; others
that are given to it. The parent forwards nothing: what is asked of a child is never in its memory, of which each later
child has a copy.
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

STATUS = struct.Struct("<i")
READY, START = b"ready", b"child"  # what the parent says once, and who asks for each child
MOST_GIVEN = 2

Live = Callable[[int, Sequence[int], int], NoReturn]
"""What a child does with its socket and what it was given; the last is the pid of its parent."""


@dataclass(slots=True)
class _Child:
    pid: int
    pidfd: int
    life: socket.socket

    def end(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def bury(self) -> None:
        """Tell who asked for it, if he still listens, how the child has ended."""
        _, status = os.waitpid(self.pid, 0)
        with contextlib.suppress(BrokenPipeError):
            self.life.send(STATUS.pack(status))
        self.life.close()
        os.close(self.pidfd)


def serve(connection: socket.socket, live: Live) -> None:
    """Fork children until who asks for them closes his end; those that are left end with this process."""
    try:
        connection.send(READY)
    except BrokenPipeError:  # he has ended while the libraries were loaded
        return
    selector = selectors.PollSelector()
    selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if selector.get_map().get(key.fd) is not key:
                continue  # of a child that has been buried a moment ago
            if key.data is None:
                try:
                    _, descriptors, _, _ = socket.recv_fds(connection, len(START), 2 + MOST_GIVEN)
                except ConnectionResetError:  # he has closed it before he read all that was sent
                    return
                if not descriptors:
                    return
                made = _fork(descriptors, live)
                selector.register(made.pidfd, selectors.EVENT_READ, made)
                selector.register(made.life, selectors.EVENT_READ, made)
            elif key.fd == key.data.pidfd:
                selector.unregister(key.fd)
                with contextlib.suppress(KeyError):
                    selector.unregister(key.data.life)
                key.data.bury()
            else:
                selector.unregister(key.data.life)
                key.data.end()


def _fork(descriptors: list[int], live: Live) -> _Child:
    talk, life, *given = descriptors
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            close_all_but({0, 1, 2, talk, *given})
            live(talk, given, parent)
        finally:
            os._exit(1)
    for descriptor in (talk, *given):
        os.close(descriptor)
    return _Child(pid, os.pidfd_open(pid), socket.socket(fileno=life))


def close_all_but(kept: set[int]) -> None:
    """Close what is for the parent: its own socket, and those of other children."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in kept:
            try:
                os.close(int(name))
            except OSError as error:
                if error.errno != errno.EBADF:  # the directory itself
                    raise


def connection_of_parent() -> socket.socket:
    """Return the socket that the first argument of this program names; signals for who started it are ignored here."""
    for number in (signal.SIGINT, signal.SIGTERM):  # he finishes what is in hand
        signal.signal(number, signal.SIG_IGN)
    return socket.socket(fileno=int(sys.argv[1]))
