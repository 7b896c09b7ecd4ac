"""Importer processes that are forked from one that has loaded their modules, for tests that start hundreds.

They are as `repofs.importer.link` starts them, but for three things: what they have loaded is not loaded again, their
readers (`tests.helpers.one_reader`) know one format, and what has found no room is tried again after a second.
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

from repofs import fault_points
from repofs.fault_points import Step
from repofs.importer import __main__ as importer
from repofs.importer import giving_up, link, readers, removal
from repofs.importer.wire import Channel
from repofs.people import People
from repofs.threads import in_thread

CHECKOUT = Path(__file__).parents[2]
_ORDER_BYTES = 4096
_STATUS_BYTES = 4


class PreparedImporters:
    """The process that forks them, as who starts importers sees it."""

    def __init__(self, ours: socket.socket) -> None:
        self._socket = ours
        self.exit_code: int | None = None  # of the importer that has ended last; negative: of that signal

    @asynccontextmanager
    async def start(self, directory: Path, step: Step | None = None) -> AsyncIterator[tuple[Channel, People]]:
        """Do what `link.importer_process` does; the importer dies when it passes *step*."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        life, other_life = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, other_life:
            order = f"{step or ''} {directory}".encode()
            socket.send_fds(self._socket, [order], [theirs.fileno(), other_life.fileno()])
        pid = int.from_bytes(self._socket.recv(8), sys.byteorder)
        channel = Channel(ours)
        try:
            yield channel, await link.wait_ready(channel)
        finally:
            channel.close()
            with life, trio.CancelScope(shield=True):
                self.exit_code = await in_thread(_end, pid, life)


def _end(pid: int, life: socket.socket) -> int:
    ended = select.poll()  # not select: descriptors may be above 1023
    ended.register(life, select.POLLIN)
    if not ended.poll(link.END_SECONDS * 1000):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(int.from_bytes(life.recv(_STATUS_BYTES), sys.byteorder))


@contextmanager
def prepared_importers(environment: Mapping[str, str] | None = None) -> Iterator[PreparedImporters]:
    """Have such a process, whose *environment* has more than ours; ended with all that it has forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            command = [sys.executable, "-m", __name__, importer.__package__, str(theirs.fileno())]
            more = {**os.environ, "PYTHONPATH": str(CHECKOUT), **(environment or {})}
            process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=more, cwd=CHECKOUT)
        try:
            assert ours.recv(1), "the process that prepares importers has ended"
            yield PreparedImporters(ours)
        finally:
            process.kill()
            process.wait()


def _serve(parents: socket.socket) -> None:
    """Fork what is ordered, and tell of each how it has ended."""
    parents.send(b"!")
    lives: dict[int, tuple[int, socket.socket]] = {}  # by descriptor of the process: its pid, and who is told
    waiting = select.poll()
    waiting.register(parents, select.POLLIN)
    while True:
        ready = {fd for fd, _ in waiting.poll()}
        for process in ready - {parents.fileno()}:
            waiting.unregister(process)
            pid, life = lives.pop(process)
            os.close(process)
            with life:
                life.send(os.waitpid(pid, 0)[1].to_bytes(_STATUS_BYTES, sys.byteorder))
        if parents.fileno() in ready:
            order, descriptors, _, _ = socket.recv_fds(parents, _ORDER_BYTES, 2)
            if not order:
                return
            pid = os.fork()
            if pid == 0:
                parents.close()
                _live(order.decode(), descriptors[0])
            os.close(descriptors[0])
            process = os.pidfd_open(pid)
            waiting.register(process, select.POLLIN)
            lives[process] = pid, socket.socket(fileno=descriptors[1])
            parents.send(pid.to_bytes(8, sys.byteorder))


def _live(order: str, fd: int) -> None:
    step, _, directory = order.partition(" ")
    code = 1
    try:
        if step:
            os.environ[fault_points.VARIABLE] = step
            fault_points.arm(with_parent=False)
            del os.environ[fault_points.VARIABLE]
        sys.argv = [importer.__package__, "--fd", str(fd), directory]
        importer.main()
        code = 0
    except BaseException:  # noqa: BLE001 -- told, as Python does at its end
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    readers.PROGRAM = ("-m", "tests.helpers.one_reader")
    giving_up.FULL_SECONDS = removal.FULL_SECONDS = 1.0
    _serve(socket.socket(fileno=int(sys.argv[2])))
