"""What is asked of arrays, each time in a process of its own (`repofs.tables.child`): bounded in time and number,
ended when it is too late or nobody waits any more. TileDB is in no other process of ours.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import msgspec
import structlog
import trio

from repofs.config import Store
from repofs.config import Tables as TableSettings
from repofs.confinement import landlock
from repofs.errors import InvalidValue, Unreachable
from repofs.registration import stores
from repofs.registration.children import Child, Crashed, Parent
from repofs.repository.as_user import Caller
from repofs.table import Examined, Form, Secret, Selection
from repofs.tables.exchange import (
    Answer,
    Bytes,
    Create,
    Done,
    Examine,
    Export,
    File,
    Found,
    Job,
    Listed,
    ListFiles,
    Made,
    ReadFile,
    Rotate,
    Task,
)
from repofs.threads import in_thread

LOOKS = 4  # children at a time that look into an array
EXPORTS = 4  # and that write a whole one into a file, which may take long
STREAMS = 4  # or to a client, who takes it as slowly as she likes
CREATIONS = 4  # and that make one
OF_STORES = 8  # and that list and read files of stores
KEPT_SECONDS = 120.0  # an idle one of these; it ends by itself a minute later
MOST_READ = 1 << 20  # bytes at a time

Expected = TypeVar("Expected", bound=Answer)

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class At:
    """An array, opened: what a process needs to look into it."""

    directory: int | None  # its directory; to be closed by whoever opened it. None: it is in a store
    store: Store | None
    path: bytes  # below the store's prefix
    who: Caller | None  # with whose rights its files are read; None: nobody's

    def close(self) -> None:
        """Close its directory."""
        if self.directory is not None:
            os.close(self.directory)


@dataclass(frozen=True, slots=True)
class _Idle:
    """A child that has been asked for files of a store, and waits for more to do."""

    child: Child
    task: Task
    since: float


class TableProcesses:
    """The processes live within `running`, from the first need on."""

    def __init__(self, settings: TableSettings) -> None:
        self._settings = settings
        self._looks = trio.CapacityLimiter(LOOKS)
        self._exports = trio.CapacityLimiter(EXPORTS)
        self._streams = trio.CapacityLimiter(STREAMS)
        self._creations = trio.CapacityLimiter(CREATIONS)
        self._of_stores = trio.CapacityLimiter(OF_STORES)
        self._starting = trio.Lock()
        self._parent: Parent | None = None
        self._idle: list[_Idle] = []

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let arrays be looked into while the context lasts; it ends every process."""
        try:
            yield
        finally:
            for idle in self._idle:
                idle.child.end()
            self._idle.clear()
            if self._parent is not None:
                self._parent.kill()
                self._parent = None

    # --- what may be asked ------------------------------------------------------------------------

    async def examine(self, at: At) -> Examined:
        """Return what the array is.

        Raises InvalidValue for what is no table or cannot be read, NotFound, AccessDenied, Unreachable.
        """
        try:
            return (await self._timely(at, Examine(), Found)).examined()
        except Crashed:  # as TileDB 2.30 does now and then, whatever the array: its sorts use memory that is freed
            return (await self._timely(at, Examine(), Found)).examined()

    async def rotate(self, at: At, token: Secret) -> None:
        """Give the array another token. Raises as `examine`, and RepofsError when it cannot be written."""
        await self._timely(at, Rotate(token.reveal()), Done)

    async def export(self, at: At, form: Form, selection: Selection, into: int) -> None:
        """Write what is selected into the descriptor *into*; it ends in the middle when cancelled. Raises as `examine`.

        It has no time but what the caller gives it.
        """
        async with self._streams if form == "arrow" else self._exports:
            task, parent = await self._task(at, None), await self._running_parent()
            await self._ask(parent, task, Export(form, selection), Done, _given(at.directory, into))

    async def create(self, source: bytes, target: bytes, who: Caller) -> Secret:
        """Make the array *target* of the file *source*, both absolute paths, with the rights of *who*.

        Returns its token. Raises InvalidValue, OSError of what the kernel refuses her; it has no time but the caller's.
        """
        async with self._creations:
            task, parent = await self._task(At(None, None, b"", who), None), await self._running_parent()
            return Secret((await self._ask(parent, task, Create(source, target), Made, ())).token)

    async def list_files(self, at: At, below: bytes) -> Sequence[File]:
        """Return what lies in a directory of an array in a store. Raises NotFound, Unreachable."""
        return (await self._of_store(at, ListFiles(_uri(at, below)), Listed)).files

    async def read_file(self, at: At, below: bytes, offset: int, size: int) -> bytes:
        """Return up to *size* bytes (MOST_READ at most) of a file of an array in a store.

        Raises NotFound, Unreachable.
        """
        if size > MOST_READ:
            raise InvalidValue(f"{size} bytes are asked for at a time, {MOST_READ} are allowed")
        return (await self._of_store(at, ReadFile(_uri(at, below), offset, size), Bytes)).content

    # --- asking -----------------------------------------------------------------------------------

    async def _task(self, at: At, cpu_seconds: int | None) -> Task:
        who = None if at.who is None else (at.who.uid, at.who.gid, at.who.groups)
        task = Task(who, self._settings.memory_bytes, cpu_seconds)
        if at.store is None:
            return task
        s3 = await in_thread(stores.settings, at.store)
        uri = stores.uri(at.store, at.path)
        return msgspec.structs.replace(task, uri=uri, s3=s3, port=stores.port(at.store))

    async def _timely(self, at: At, job: Job, expected: type[Expected]) -> Expected:
        async with self._looks:
            task = await self._task(at, math.ceil(self._settings.timeout_seconds))
            parent = await self._running_parent()
            with self._in_time(at):
                return await self._ask(parent, task, job, expected, _given(at.directory))

    @contextlib.contextmanager
    def _in_time(self, at: At) -> Iterator[None]:
        seconds = self._settings.timeout_seconds
        try:
            with trio.fail_after(seconds):
                yield
        except trio.TooSlowError:
            kind = InvalidValue if at.store is None else Unreachable
            raise kind(f"the array was not read within {seconds:g} s") from None

    async def _ask(
        self, parent: Parent, task: Task, job: Job, expected: type[Expected], given: Sequence[int]
    ) -> Expected:
        child = await parent.child(given)
        try:
            return await child.answer(task, job, expected)
        finally:
            child.end()

    async def _of_store(self, at: At, job: Job, expected: type[Expected]) -> Expected:
        """Have a child that stays do *job*. It reads no array; a new one takes seven times as long."""
        async with self._of_stores:
            task = msgspec.structs.replace(await self._task(at, None), uri="")  # of any array in the store
            parent = await self._running_parent()
            with self._in_time(at):
                child = self._lent(task) or await parent.child(())
                try:
                    return await child.answer(task, job, expected)
                finally:
                    if child.usable:
                        self._idle.append(_Idle(child, task, trio.current_time()))
                    else:
                        child.end()

    def _lent(self, task: Task) -> Child | None:
        """Return the child that was used last for the same store with the same keys, if it is still there."""
        until = trio.current_time() - KEPT_SECONDS
        for idle in [one for one in self._idle if one.since < until or one.child.ended]:
            self._idle.remove(idle)
            idle.child.end()
        for idle in reversed(self._idle):
            if idle.task == task:
                self._idle.remove(idle)
                return idle.child
        return None

    async def _running_parent(self) -> Parent:
        async with self._starting:
            if self._parent is None or self._parent.ended:
                parent = Parent()
                try:
                    await parent.wait_ready()
                except BaseException:
                    parent.kill()
                    raise
                if not landlock.version():
                    _log.info("the kernel has no Landlock: what looks into arrays is confined by seccomp and its uid")
                self._parent = parent
            return self._parent


def _uri(at: At, below: bytes) -> str:
    if at.store is None:
        raise InvalidValue("the array is in no store")
    return stores.uri(at.store, at.path + b"/" + below if below else at.path)


def _given(*descriptors: int | None) -> list[int]:
    return [fd for fd in descriptors if fd is not None]
