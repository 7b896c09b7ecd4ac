"""The pool of reader processes: warm ones, lent one a file; one that is late, dead or doubtful is replaced.

The processes themselves, and what they may do, are `repofs.formats.sandbox`.
"""

from __future__ import annotations

import array
import errno
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType

import msgspec
import structlog
import trio

from repofs import config
from repofs.confinement import landlock
from repofs.errors import ReaderFailed
from repofs.formats import exchange
from repofs.formats.exchange import Answer, Given, Limits, Question, Request, Task, Wanted
from repofs.importer.lending import Lender
from repofs.model import Members, Picture, Recognised
from repofs.threads import in_thread

START_SECONDS = 60.0  # loading the readers takes 0.5 s on an idle machine
END_SECONDS = 2.0
FILES_PER_WORKER = 5000  # then a fresh one takes its place, and what its libraries leaked is gone

_log = structlog.get_logger(__name__)


class Worker:
    """One reader process. *usable* is true only between whole exchanges: a file may have left it in any state."""

    def __init__(self, limits: Limits) -> None:
        """Start the process; it loads its readers while we go on. Call on a thread that lives as long as the
        process shall: the kernel ends it with that thread (PR_SET_PDEATHSIG)."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "repofs.formats.sandbox", str(theirs.fileno()),
                 msgspec.json.encode(limits).decode()],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
                cwd="/", env=_environment(),
            )  # fmt: skip
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._limits = limits
        self._ready = False
        self.usable = True
        self.files = 0

    async def ask(self, request: Request, files: Lender, timeout_seconds: float) -> Answer:
        """Return the answer to *request*. Raises ReaderFailed, and is then mostly not usable; OSError when the file
        itself cannot be opened."""
        descriptors = [] if request.name.endswith(b"/") else [await in_thread(files.open, request.name)]
        self.usable = False
        try:
            await self._wait_ready()
            with trio.fail_after(timeout_seconds):
                answer = await self._exchange(request, descriptors, files)
        except trio.TooSlowError:
            raise ReaderFailed(f"the reader did not finish within {timeout_seconds:g} s") from None
        except OSError as error:
            if isinstance(error, ReaderFailed):
                raise
            raise ReaderFailed(await self._cause_of_death()) from error
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.usable = True
        self.files += 1
        if answer.error is not None:
            raise ReaderFailed(answer.error)
        return answer

    async def _wait_ready(self) -> None:
        if self._ready:
            return
        try:
            with trio.fail_after(START_SECONDS):
                await self._receive_answer()
        except trio.TooSlowError:
            raise ReaderFailed(f"the reader process did not start within {START_SECONDS:g} s") from None
        self._ready = True

    async def _exchange(self, request: Request, descriptors: Sequence[int], files: Lender) -> Answer:
        await self._send(exchange.pack(request), descriptors)
        while True:
            answer = await self._receive_answer()
            if isinstance(answer, Answer):
                return answer
            await self._give(answer, files)

    async def _give(self, wanted: Wanted, files: Lender) -> None:
        """Answer what the process asks; why it is refused is no reason to leave it without an answer."""
        descriptors: list[int] = []
        try:
            match wanted.question:
                case Question.HAS:
                    given = Given(0 if await in_thread(files.has, wanted.name) else errno.ENOENT)
                case Question.NAMES:
                    given = Given(names=tuple(await in_thread(files.names, wanted.name)))
                case Question.OPEN:
                    descriptors.append(await in_thread(files.open, wanted.name))
                    given = Given()
        except OSError as error:
            given = Given(error.errno or errno.EIO)
        try:
            await self._send(exchange.pack(given), descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _send(self, message: bytes, descriptors: Sequence[int]) -> None:
        """Send *message*, the *descriptors* with its first bytes."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        sent = await self._socket.sendmsg([message], rights)
        while sent < len(message):
            sent += await self._socket.send(message[sent:])

    async def _receive_answer(self) -> Answer | Wanted:
        header = await self._receive(exchange.HEADER.size)
        return exchange.answer(await self._receive(exchange.body_bytes(header, self._limits.answer_bytes)))

    async def _receive(self, count: int) -> bytes:
        received = bytearray()
        while len(received) < count:
            part = await self._socket.recv(count - len(received))
            if not part:
                raise ConnectionResetError("the reader process has ended")
            received += part
        return bytes(received)

    async def _cause_of_death(self) -> str:
        code = await self.wait_ended()
        if code is None:
            return "the reader process closed its socket"
        if code >= 0:
            return f"the reader process ended with exit code {code}"
        if -code == signal.SIGXCPU:
            return f"the reader used more than {self._limits.cpu_seconds} s of processor time"
        name = signal.Signals(-code).name
        return f"the reader process was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")

    def kill(self) -> None:
        """End the process without waiting for it: one that hangs in a dead file system never ends."""
        self._socket.close()
        self.process.kill()
        self.usable = False

    async def wait_ended(self) -> int | None:
        """Return the exit code (negative: a signal), or None when it has not ended within END_SECONDS."""
        if self.process.poll() is None:
            pidfd = os.pidfd_open(self.process.pid)
            try:
                with trio.move_on_after(END_SECONDS):
                    await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        return self.process.poll()


class Readers:
    """What readers say, for the importer. An async context manager: the processes live as long as it is open."""

    def __init__(self, settings: config.Readers) -> None:
        self._timeout_seconds = settings.timeout_seconds
        self._limits = Limits(memory_bytes=settings.memory_bytes, cpu_seconds=math.ceil(settings.timeout_seconds))
        self._count = settings.workers
        self._workers: set[Worker] = set()
        self._killed: list[Worker] = []  # not yet seen to have ended
        self._return, self._lend = trio.open_memory_channel[Worker](self._count)

    async def __aenter__(self) -> Readers:
        if not landlock.version():
            _log.info("the kernel has no Landlock: readers are confined by seccomp alone")
        for _ in range(self._count):
            self._return.send_nowait(self._worker())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in list(self._workers):
            self._end(worker)
        with trio.CancelScope(shield=True):
            for worker in self._killed:
                await worker.wait_ended()

    async def look(self, name: bytes, files: Lender) -> Members | Recognised:
        """Return which files form one fileset with the file *name*, or what that holds when it stands alone.

        Raises as `read`.
        """
        answer = await self._ask(Request(Task.LOOK, name), files)
        found = answer.members or answer.recognised
        if found is None:
            raise ReaderFailed("the reader gave no answer")
        return found

    async def read(self, name: bytes, files: Lender) -> Recognised:
        """Return what the readers say of the fileset whose main file, or directory with a ``/`` behind it, is *name*.

        Waits for a free process. Raises ReaderFailed with a sentence when the reader broke, took too long, too
        much memory, or its process died; OSError when the file cannot be opened.
        """
        answer = await self._ask(Request(Task.READ, name), files)
        if answer.recognised is None:
            raise ReaderFailed("the reader gave no answer")
        return answer.recognised

    async def picture(self, name: bytes, files: Lender, series: int) -> Picture:
        """Return a thumbnail of one image of the fileset. Raises as `read`."""
        answer = await self._ask(Request(Task.PICTURE, name, series), files)
        if answer.picture is None:
            raise ReaderFailed("the reader gave no picture")
        return answer.picture

    async def _ask(self, request: Request, files: Lender) -> Answer:
        worker = await self._lend.receive()
        if worker.process.poll() is not None:  # died while idle: no fault of this file
            self._end(worker)
            worker = self._worker()
        try:
            return await worker.ask(request, files, self._timeout_seconds)
        finally:
            if worker.usable and worker.files < FILES_PER_WORKER:
                self._return.send_nowait(worker)
            else:
                self._end(worker)
                self._return.send_nowait(self._worker())

    def _worker(self) -> Worker:
        worker = Worker(self._limits)
        self._workers.add(worker)
        return worker

    def _end(self, worker: Worker) -> None:
        self._workers.discard(worker)
        worker.kill()
        self._killed = [one for one in (*self._killed, worker) if one.process.poll() is None]


def _environment() -> dict[str, str]:
    """Return what the process needs of our environment, and no secret of it."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
