"""The pool of reader processes: warm ones, lent one a file; one that is late, dead or doubtful is replaced.

The processes themselves, and what they may do, are `repofs.formats.sandbox`.
"""

from __future__ import annotations

import errno
import math
import os
import signal
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType

import msgspec
import structlog
import trio

from repofs import config
from repofs.children import Child, Gone, Parent, environment, how_it_ended
from repofs.confinement import landlock
from repofs.errors import ReaderFailed, Unreachable
from repofs.formats import exchange
from repofs.formats.exchange import TOGETHER, Answer, Given, Limits, Question, Request, Task, Wanted
from repofs.image import Appearance, Members, Picture, Recognised
from repofs.importer import answers
from repofs.importer.lending import Lender
from repofs.importer.turns import Turns
from repofs.threads import in_thread

FILES_PER_WORKER = 5000  # then a fresh one takes its place, and what its libraries leaked is gone

PROGRAM = ("-P", "-m", "repofs.formats.process")

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Asked:
    """A request on its way, and the one who waits for what comes of it."""

    request: Request
    files: Lender
    answer: Answer | None = None
    error: Exception | None = None
    done: trio.Event = field(default_factory=trio.Event)

    @property
    def is_settled(self) -> bool:
        return self.answer is not None or self.error is not None

    def result(self) -> Answer:
        """Return the answer, or raise why there is none."""
        if self.error is not None:
            raise self.error
        assert self.answer is not None
        return self.answer


class Worker:
    """One reader process. *usable* is true only between whole exchanges: a file may have left it in any state."""

    def __init__(self, process: Child, limits: Limits) -> None:
        self.process = process
        self._limits = limits
        self._ready = False
        self.usable = True
        self.files = 0

    async def ask(self, together: Sequence[Asked], timeout_seconds: float) -> None:
        """Settle each of *together*, for which it has *timeout_seconds*; OSError when its file cannot be opened.

        Raises ReaderFailed, for the first that is not settled then, or whichever it may have been, and is then not
        usable.
        """
        with ExitStack() as descriptors:
            opened: list[Asked] = []
            given: list[int] = []
            for one in together:
                try:
                    if not one.request.name.endswith(b"/"):
                        given.append(await _opened(one.request.name, one.files))
                        descriptors.callback(os.close, given[-1])
                    opened.append(one)
                except OSError as error:
                    one.error = error
            if not opened:
                return
            self.usable = False
            await self._exchange(opened, given, timeout_seconds)
            self.usable = True

    async def _exchange(self, together: Sequence[Asked], descriptors: Sequence[int], timeout_seconds: float) -> None:
        try:
            with trio.fail_after(timeout_seconds) as time:
                if not self._ready:
                    await self._receive_answer()  # it says that it is confined
                    self._ready = True
                await self.process.send(exchange.pack([one.request for one in together]), descriptors)
                for one in together:
                    self._settle(one, await self._answer_to(one))
                    time.deadline = trio.current_time() + timeout_seconds
        except trio.TooSlowError:
            raise ReaderFailed(f"the reader did not finish within {timeout_seconds:g} s") from None
        except Gone as gone:
            raise ReaderFailed(self._cause_of_death(gone.exit_code)) from None

    async def _answer_to(self, one: Asked) -> Answer:
        while True:
            answer = await self._receive_answer()
            if isinstance(answer, Answer):
                return answer
            await self._give(answer, one.files)

    def _settle(self, one: Asked, answer: Answer) -> None:
        answers.require_possible(answer)
        self.files += 1
        one.answer, one.error = answer, None if answer.error is None else ReaderFailed(answer.error)

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
        message = exchange.pack(given)
        if len(message) > exchange.REQUEST_BYTES:
            message = exchange.pack(Given(errno.E2BIG))
        try:
            await self.process.send(message, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    async def _receive_answer(self) -> Answer | Wanted:
        header = await self.process.receive(exchange.HEADER.size)
        return exchange.answer(await self.process.receive(exchange.body_bytes(header, self._limits.answer_bytes)))

    def _cause_of_death(self, exit_code: int | None) -> str:
        if exit_code is None:
            return "the reader process closed its socket"
        if -exit_code == signal.SIGXCPU:
            return f"the reader used more than {self._limits.cpu_seconds} s of processor time"
        return f"the reader process {how_it_ended(exit_code)}"

    def end(self) -> None:
        """End the process without waiting for it: one that hangs in a dead file system never ends."""
        self.process.end()
        self.usable = False


async def _opened(name: bytes, files: Lender) -> int:
    return files.open(name) if files.at_hand else await in_thread(files.open, name)


class Readers:
    """What readers say, for the importer. An async context manager: the processes live as long as it is open."""

    def __init__(self, settings: config.Readers) -> None:
        self._timeout_seconds = settings.timeout_seconds
        self._limits = Limits(memory_bytes=settings.memory_bytes, cpu_seconds=math.ceil(settings.timeout_seconds))
        # One user's files keep all workers busy, or make them all hang: one more is for somebody else.
        self._turns = Turns(settings.workers + 1)
        self._gathering: dict[bytes, list[Asked]] = {}  # small files of a user, until a process is free
        self._idle: list[Worker] = []
        self._starting = trio.Lock()
        self.parent: Parent | None = None
        self._parent_ready = False
        self.workers: set[Worker] = set()

    async def __aenter__(self) -> Readers:
        if not landlock.version():
            _log.info("the kernel has no Landlock: readers are confined by seccomp alone")
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in list(self.workers):
            self._end(worker)
        if self.parent is not None:
            self.parent.kill()

    def _start(self) -> Parent:
        limits = msgspec.json.encode(self._limits).decode()
        self.parent = Parent(PROGRAM, "the process of the readers", environment(), limits)
        self._parent_ready = False
        return self.parent

    async def _running_parent(self) -> Parent:
        async with self._starting:
            parent = self.parent
            if parent is None or parent.ended:
                parent = self._start()
            if not self._parent_ready:
                await parent.wait_ready()
                self._parent_ready = True
            return parent

    async def look(self, name: bytes, files: Lender, user: bytes = b"") -> Members | Recognised:
        """Return which files form one fileset with the file *name* of *user*, or what it holds when it stands alone.

        Raises as `read`.
        """
        answer = await self._ask(Request(Task.LOOK, name), files, user)
        found = answer.members or answer.recognised
        if found is None:
            raise ReaderFailed("the reader gave no answer")
        if isinstance(found, Members) and os.fsdecode(name) not in found.names:
            raise ReaderFailed("the answer of the reader makes no sense (the file is not of its own fileset)")
        return found

    async def read(self, name: bytes, files: Lender, user: bytes = b"") -> Recognised:
        """Return what the readers say of the fileset whose main file, or directory with a ``/`` behind it, is *name*.

        Waits for a free process. Raises ReaderFailed with a sentence when the reader broke, took too long, too
        much memory, or its process died; OSError when the file cannot be opened.
        """
        answer = await self._ask(Request(Task.READ, name), files, user)
        if answer.recognised is None:
            raise ReaderFailed("the reader gave no answer")
        return answer.recognised

    async def picture(
        self, name: bytes, files: Lender, series: int, appearance: Appearance, user: bytes = b""
    ) -> Picture:
        """Return a thumbnail of one image of the fileset, shown as *appearance* says. Raises as `read`."""
        answer = await self._ask(Request(Task.PICTURE, name, series, appearance), files, user)
        if answer.picture is None:
            raise ReaderFailed("the reader gave no picture")
        return answer.picture

    async def _ask(self, request: Request, files: Lender, user: bytes) -> Answer:
        one = Asked(request, files)
        if files.is_small:
            await self._ask_with_others(one, user)
        if not one.is_settled:  # another may have been to blame
            await self._ask_together([one], user)
        return one.result()

    async def _ask_with_others(self, one: Asked, user: bytes) -> None:
        """Have *one* asked with other small files; it is not settled then when the process did not answer of all."""
        gathering = self._gathering.get(user)
        if gathering is not None and len(gathering) < TOGETHER:
            gathering.append(one)
            with trio.CancelScope(shield=True):  # its file is in use; who asks for all is cancelled with all
                await one.done.wait()
            return
        self._gathering[user] = together = [one]
        try:
            await self._ask_together(together, user)
        except ReaderFailed as error:
            if len(together) == 1:
                one.error = error
        finally:
            self._gathered(together, user)
            for other in together:
                other.done.set()

    def _gathered(self, together: list[Asked], user: bytes) -> None:
        """Let nobody join *together* any more."""
        if self._gathering.get(user) is together:
            del self._gathering[user]

    async def _ask_together(self, together: list[Asked], user: bytes) -> None:
        """Ask for all that is in *together* when a process is free. Raises ReaderFailed."""
        async with self._turns.turn(user):
            worker = self._idle.pop() if self._idle else await self._new_worker()
            if worker.process.ended:  # while it was idle: no fault of these files
                self._end(worker)
                worker = await self._new_worker()
            self._gathered(together, user)
            try:
                await worker.ask(together, self._timeout_seconds)
            finally:
                if worker.usable and worker.files < FILES_PER_WORKER:
                    self._idle.append(worker)
                else:
                    self._end(worker)

    async def _new_worker(self) -> Worker:
        try:
            parent = await self._running_parent()
            worker = Worker(await parent.fork(), self._limits)
        except Unreachable as error:
            raise ReaderFailed(error.message) from None
        self.workers.add(worker)
        return worker

    def _end(self, worker: Worker) -> None:
        self.workers.discard(worker)
        worker.end()
