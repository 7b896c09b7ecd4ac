"""Importer processes that are forked from one that has loaded their modules, for tests that start hundreds.

They are as `repofs.importer.link` starts them, but for two things: what they have loaded is not loaded again, and their
readers (`tests.helpers.one_reader`) know one format.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import trio

from repofs.importer import __main__ as importer
from repofs.importer import link, readers
from repofs.importer.wire import Channel
from repofs.people import People
from repofs.threads import in_thread

CHECKOUT = Path(__file__).parents[2]
_PATH_BYTES = 4096


class PreparedImporters:
    """The process that forks them, as who starts importers sees it."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours

    @asynccontextmanager
    async def start(self, directory: Path) -> AsyncIterator[tuple[Channel, People]]:
        """Do what `link.importer_process` does."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._socket, [os.fsencode(directory)], [theirs.fileno()])
        pid = int.from_bytes(self._socket.recv(8), sys.byteorder)
        process, channel = os.pidfd_open(pid), Channel(ours)
        try:
            yield channel, await link.wait_ready(channel)
        finally:
            channel.close()
            with trio.CancelScope(shield=True):
                await in_thread(_end, process)


def _end(process: int) -> None:
    if not select.select([process], [], [], link.END_SECONDS)[0]:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [])
    os.close(process)


@contextmanager
def prepared_importers(environment: Mapping[str, str]) -> Iterator[PreparedImporters]:
    """Have such a process, whose *environment* has more than ours; ended with all that it has forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-m", __name__, importer.__package__, str(theirs.fileno())]
            more = {**os.environ, "PYTHONPATH": str(CHECKOUT), **environment}
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=more, cwd=CHECKOUT)
        try:
            assert ours.recv(1), "the process that prepares importers has ended"
            yield PreparedImporters(ours)
        finally:
            process.kill()
            process.wait()


def _serve(parents: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    parents.send(b"!")
    while True:
        path, descriptors, _, _ = socket.recv_fds(parents, _PATH_BYTES, 1)
        if not path:
            return
        pid = os.fork()
        if pid == 0:
            parents.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _live(path, descriptors[0])
        os.close(descriptors[0])
        parents.send(pid.to_bytes(8, sys.byteorder))


def _live(path: bytes, fd: int) -> None:
    sys.argv = [importer.__package__, "--fd", str(fd), os.fsdecode(path)]
    code = 1
    try:
        importer.main()
        code = 0
    except BaseException:  # noqa: BLE001 -- told, as Python does at its end
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    readers.PROGRAM = ("-m", "tests.helpers.one_reader")
    _serve(socket.socket(fileno=int(sys.argv[2])))
