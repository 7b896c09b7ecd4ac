"""The parent of the processes that look into arrays: it waits, and forks a child (`child`) for whatever is to be done.

Started by the daemon as ``python -P -m repofs.tables.process FD``. It has loaded the libraries, so that a child is
there in milliseconds, and makes nothing of TileDB's that has threads: a child would not have them. It keeps of root's
rights those to become somebody else and to end what it has started, opens no array and hears no token.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import socket
import sys
from dataclasses import dataclass

from repofs import privileges
from repofs.tables import child, exchange


@dataclass(slots=True)
class _Child:
    pid: int
    pidfd: int
    life: socket.socket  # over which its end is told; the daemon closes its side to have it ended

    def end(self) -> None:
        signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def bury(self) -> None:
        """Tell the daemon, if it still listens, how the child has ended."""
        _, status = os.waitpid(self.pid, 0)
        with contextlib.suppress(BrokenPipeError):
            self.life.send(exchange.STATUS.pack(status))
        self.life.close()
        os.close(self.pidfd)


def serve(connection: socket.socket) -> None:
    """Fork children until the daemon closes its end; those that are left end with this process."""
    connection.send(exchange.READY)
    selector = selectors.PollSelector()
    selector.register(connection, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if selector.get_map().get(key.fd) is not key:
                continue  # of a child that has been buried a moment ago
            if key.data is None:
                _, descriptors, _, _ = socket.recv_fds(connection, len(exchange.START), exchange.DESCRIPTORS)
                if not descriptors:
                    return
                made = _fork(descriptors)
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


def _fork(descriptors: list[int]) -> _Child:
    talk, life, *given = descriptors
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        child.live(talk, given, parent)
    for descriptor in (talk, *given):
        os.close(descriptor)
    return _Child(pid, os.pidfd_open(pid), socket.socket(fileno=life))


def main() -> None:
    """Load the libraries, give up what is not needed, and serve."""
    parent = os.getppid()
    connection = socket.socket(fileno=int(sys.argv[1]))
    for number in (signal.SIGINT, signal.SIGTERM):  # for the daemon, which finishes what is in hand
        signal.signal(number, signal.SIG_IGN)
    logging.disable()
    child.load()
    privileges.keep(privileges.TABLES)
    privileges.hide_memory()
    privileges.end_with_parent(signal.SIGKILL, parent)
    serve(connection)


if __name__ == "__main__":
    main()
