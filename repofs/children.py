"""Processes that read what nobody has checked: a parent that is started once, and forks a child for each need.

The parent's half is `repofs.confinement.forking`.
"""

from __future__ import annotations

import array
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence

import trio

from repofs.confinement.forking import READY, START, STATUS
from repofs.errors import Unreachable

START_SECONDS = 60.0  # loading libraries takes seconds on an idle machine
END_SECONDS = 5.0  # from the last word of a child to the news of its end
_RECEIVE_BYTES = 16 << 10  # a short answer with its header at once


class Parent:
    """The process of *program* (arguments of Python), which forks. People know it as *what*."""

    def __init__(self, program: Sequence[str], what: str, environment: Mapping[str, str], *words: str) -> None:
        """Start it; it loads its libraries while we go on. Call on a thread that lives as long as the process shall:
        the kernel ends it with that thread (PR_SET_PDEATHSIG)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._what = what
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, *program, str(theirs.fileno()), *words],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                cwd="/", env=dict(environment),
            )  # fmt: skip
        self._socket = trio.socket.from_stdlib_socket(ours)

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    async def wait_ready(self) -> None:
        """Wait until it has loaded its libraries. Raises Unreachable when it has not within START_SECONDS."""
        try:
            with trio.fail_after(START_SECONDS):
                if not await self._socket.recv(len(READY)):
                    raise self._has_ended()
        except trio.TooSlowError:
            raise Unreachable(f"{self._what} did not start within {START_SECONDS:g} s") from None

    async def fork(self, given: Sequence[int] = ()) -> Child:
        """Have a child made that gets copies of the descriptors *given*. Raises Unreachable when we are too late."""
        talk, childs_talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        life, parents_life = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child(talk, life)
        try:
            with childs_talk, parents_life:
                descriptors = array.array("i", (childs_talk.fileno(), parents_life.fileno(), *given))
                await self._socket.sendmsg([START], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
        except BaseException as error:
            child.end()
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise self._has_ended() from None
            raise
        return child

    def _has_ended(self) -> Unreachable:
        return Unreachable(f"{self._what} has ended: try again")

    def kill(self) -> None:
        """End the process; its children end with it."""
        self._socket.close()
        self.process.kill()
        self.process.wait()


class Gone(Exception):
    """The child has ended, or its parent has."""

    def __init__(self, exit_code: int | None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code  # negative: of that signal; None: its parent has ended, or it goes on without us


class Child:
    """A process, and the stream to it. It is ended by `end`, whatever it does."""

    def __init__(self, talk: socket.socket, life: socket.socket) -> None:
        self._talk = trio.socket.from_stdlib_socket(talk)
        self._life = trio.socket.from_stdlib_socket(life)
        self._received = bytearray()  # and not asked for yet

    @property
    def ended(self) -> bool:
        """Whether its end has been told."""
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        return bool(poll.poll(0))

    async def send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send *message*, the *descriptors* with its first bytes. Raises Gone."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        try:
            sent = await self._talk.sendmsg([message], rights)
            while sent < len(message):
                sent += await self._talk.send(message[sent:])
        except (BrokenPipeError, ConnectionResetError):
            raise await self._gone() from None

    async def receive(self, count: int) -> bytes:
        """Return *count* bytes. Raises Gone."""
        while len(self._received) < count:
            try:
                part = await self._talk.recv(max(count - len(self._received), _RECEIVE_BYTES))
            except ConnectionResetError:
                part = b""
            if not part:
                raise await self._gone()
            self._received += part
        received = bytes(self._received[:count])
        del self._received[:count]
        return received

    async def _gone(self) -> Gone:
        """Return what is told of a child that has closed its stream."""
        status = b""
        with trio.move_on_after(END_SECONDS):
            status = await self._life.recv(STATUS.size)
        if len(status) < STATUS.size:
            return Gone(None)
        return Gone(os.waitstatus_to_exitcode(STATUS.unpack(status)[0]))

    def end(self) -> None:
        """Have the process ended, if it has not by itself. Its parent, who sees the sockets closed, kills it."""
        self._talk.close()
        self._life.close()


def how_it_ended(exit_code: int) -> str:
    """Return the rest of a sentence that begins with whose end it was."""
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    if -exit_code == signal.SIGXCPU:
        return "took too much processor time"
    name = signal.Signals(-exit_code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def environment(**more: str) -> dict[str, str]:
    """Return what such processes need of our environment, and no secret of it."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    fixed = {
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",  # for libraries that keep something there, and break when there is no such account
        "OPENBLAS_NUM_THREADS": "1",  # no threads in the parent: a child would not have them
        "OMP_NUM_THREADS": "1",
    }
    return {**kept, **fixed, **more}
