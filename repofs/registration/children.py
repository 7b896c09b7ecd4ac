"""The daemon's side of `repofs.tables.process`: a parent, started once, and a child of its own for each task."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import TypeVar

import trio

from repofs.errors import InvalidValue, Unreachable
from repofs.tables import exchange
from repofs.tables.exchange import ANSWER_BYTES, TASK_BYTES, Answer, Job, Refused, Task

PROGRAM = ("-P", "-m", "repofs.tables.process")
START_SECONDS = 60.0  # it takes 1 s on an idle machine
END_SECONDS = 5.0  # from the last word of a child to the news of its end

_ENDED = "the process that reads arrays has ended: try again"

Expected = TypeVar("Expected", bound=Answer)


class Crashed(InvalidValue):
    """The child was ended by a fault of its libraries."""


class Parent:
    """The process that forks a child for each task."""

    def __init__(self) -> None:
        """Start it; it loads its libraries while we go on. Call on a thread that lives as long as the process shall:
        the kernel ends it with that thread (PR_SET_PDEATHSIG)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                cwd="/", env=_environment(),
            )  # fmt: skip
        self._socket = trio.socket.from_stdlib_socket(ours)

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    async def wait_ready(self) -> None:
        """Wait until it has loaded its libraries. Raises Unreachable when it has not within START_SECONDS."""
        try:
            with trio.fail_after(START_SECONDS):
                if not await self._socket.recv(len(exchange.READY)):
                    raise Unreachable(_ENDED)
        except trio.TooSlowError:
            raise Unreachable(f"the process that reads arrays did not start within {START_SECONDS:g} s") from None

    async def fork(self, given: Sequence[int]) -> Child:
        """Have a child made that gets copies of the descriptors *given*. Raises Unreachable when we are too late."""
        talk, childs_talk = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        life, parents_life = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = Child(talk, life)
        try:
            with childs_talk, parents_life:
                fds = (childs_talk.fileno(), parents_life.fileno(), *given)
                rights = b"".join(fd.to_bytes(4, sys.byteorder) for fd in fds)
                await self._socket.sendmsg([exchange.START], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        except BaseException as error:
            child.end()
            if isinstance(error, BrokenPipeError | ConnectionResetError):
                raise Unreachable(_ENDED) from None
            raise
        return child

    def kill(self) -> None:
        """End the process; its children end with it."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class Child:
    """A process for one task. It is ended by `end`, whatever it does. *usable* is true only after a whole answer."""

    def __init__(self, talk: socket.socket, life: socket.socket) -> None:
        self._talk = trio.socket.from_stdlib_socket(talk)
        self._life = trio.socket.from_stdlib_socket(life)
        self._begun = False
        self.usable = False

    @property
    def ended(self) -> bool:
        """Whether its end has been told."""
        poll = select.poll()
        poll.register(self._life, select.POLLIN)
        return bool(poll.poll(0))

    async def answer(self, task: Task, job: Job, expected: type[Expected]) -> Expected:
        """Have *job* of *task* done. Raises the RepofsError that is its answer; InvalidValue when there is none, of
        which Crashed is one."""
        self.usable = False
        asked = exchange.pack(job, TASK_BYTES)
        await self._send(asked if self._begun else exchange.pack(task, TASK_BYTES) + asked)
        self._begun = True
        header = await self._receive(exchange.HEADER.size)
        answer = exchange.read_answer(await self._receive(exchange.body_bytes(header, ANSWER_BYTES)))
        self.usable = True
        if isinstance(answer, Refused):
            raise answer.error()
        if not isinstance(answer, expected):
            raise InvalidValue("the array cannot be read: its reader answers something else")
        return answer

    async def _send(self, message: bytes) -> None:
        try:
            while message:
                message = message[await self._talk.send(message) :]
        except (BrokenPipeError, ConnectionResetError):
            raise await self._death() from None

    async def _receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            try:
                part = await self._talk.recv(count - len(received))
            except ConnectionResetError:
                part = b""
            if not part:
                raise await self._death()
            received += part
        return bytes(received)

    async def _death(self) -> InvalidValue | Unreachable:
        """Return what to say of a child that has closed its socket."""
        status = b""
        with trio.move_on_after(END_SECONDS):
            status = await self._life.recv(exchange.STATUS.size)
        if len(status) < exchange.STATUS.size:
            return Unreachable(_ENDED)
        (code,) = exchange.STATUS.unpack(status)
        exit_code = os.waitstatus_to_exitcode(code)
        kind = Crashed if -exit_code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT) else InvalidValue
        return kind(f"the array cannot be read: its reader {_how(exit_code)}")

    def end(self) -> None:
        """Have the process ended, if it has not by itself. Its parent, who sees the sockets closed, kills it."""
        self._talk.close()
        self._life.close()


def _how(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    if -code == signal.SIGXCPU:
        return "took too much processor time"
    name = signal.Signals(-code).name
    return f"was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _environment() -> dict[str, str]:
    """Return what the processes need of our environment, and no secret of it."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {
        **kept,
        "LC_ALL": "C.UTF-8",
        "OPENBLAS_NUM_THREADS": "1",  # no threads in the parent: a child would not have them
        "OMP_NUM_THREADS": "1",
        "ARROW_DEFAULT_MEMORY_POOL": "system",
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of the address space that a child may have
        "AWS_EC2_METADATA_DISABLED": "true",  # no host is asked but the store's
    }
