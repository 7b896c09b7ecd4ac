"""The importer process as the mount daemon sees it: started with one end of a socket, waited for, ended.

It never outlives the daemon: the socket hangs up, and the kernel kills it (PR_SET_PDEATHSIG, set by the process
itself) should it not notice.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from repofs.errors import DaemonUnreachable
from repofs.importer.wire import Channel, Hangup, NotReady, Ready
from repofs.people import People
from repofs.threads import in_thread

END_SECONDS = 2.0  # that the process has to end by itself once its socket has hung up


@asynccontextmanager
async def importer_process(directory: Path) -> AsyncIterator[tuple[Channel, People]]:
    """Start an importer process of the repository in *directory*; entered when it is ready, with who there is
    then; ended on leaving.

    Raises DaemonUnreachable, with the reason, when it cannot start.
    """
    process, channel = _spawn(directory)
    try:
        yield channel, await wait_ready(channel)
    finally:
        channel.close()
        with trio.CancelScope(shield=True):
            await in_thread(_end, process)


def _spawn(directory: Path) -> tuple[subprocess.Popen[bytes], Channel]:
    # Not in a worker thread: the kernel takes the end of the thread that started a process for the death of its parent.
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        command = [sys.executable, "-m", "repofs.importer", "--fd", str(theirs.fileno()), str(directory)]
        process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    return process, Channel(ours)


async def wait_ready(channel: Channel) -> People:
    """Return who there is when the process at the other end of *channel* is ready. Raises DaemonUnreachable."""
    try:
        message, _ = await channel.receive()
    except Hangup:
        raise DaemonUnreachable("the importer process died at its start: the daemon's log tells why") from None
    if isinstance(message, NotReady):
        raise DaemonUnreachable(message.error)
    assert isinstance(message, Ready)
    return message.people


def _end(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
