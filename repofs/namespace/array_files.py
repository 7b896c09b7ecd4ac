"""The files of registered arrays, wherever they lie: in the mount, in a declared source or in a store.

All of it is done in threads, as many at a time for each source: one that hangs holds up nobody but its own readers.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from repofs.errors import InvalidValue, NotFound, Unreachable
from repofs.namespace.virtual import made_status
from repofs.patience import Patience
from repofs.registration.processes import At
from repofs.registration.watch import NotLookedAt
from repofs.repository.arrays import Listed, list_in, open_in, status_in
from repofs.repository.as_user import acting_as
from repofs.table import Table
from repofs.tables.exchange import File

_FILE, _DIRECTORY = stat.S_IFREG | 0o444, stat.S_IFDIR | 0o555

Answer = TypeVar("Answer")
OpenTable = Callable[[Table], At]
"""Opens the array of a table; blocks, but for one in a store. Raises NotLookedAt before it was looked into."""

LookAnew = Callable[[Table], Awaitable[None]]
"""Looks into the array of a table before it is opened again. Raises Unreachable when it is not to be read."""

Read = Callable[[int, int, int], Awaitable[bytes | memoryview]]
"""Reads from a descriptor, as `Handles.read`."""


class Stores(Protocol):
    """What is asked of arrays in stores."""

    async def list_files(self, at: At, below: bytes) -> Sequence[File]: ...

    async def read_file(self, at: At, below: bytes, offset: int, size: int) -> bytes: ...


class OpenFile(Protocol):
    """A file that is open for reading."""

    async def read(self, offset: int, size: int) -> bytes | memoryview: ...

    def close(self) -> None: ...


class _OnDisk:
    def __init__(self, fd: int, read: Read, close: Callable[[int], None]) -> None:
        self._fd = fd
        self._read = read
        self._close = close

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        return await self._read(self._fd, offset, size)

    def close(self) -> None:
        self._close(self._fd)


class _InStore:
    def __init__(self, stores: Stores, at: At, below: bytes) -> None:
        self._stores = stores
        self._at = at
        self._below = below

    async def read(self, offset: int, size: int) -> bytes:
        return await self._stores.read_file(self._at, self._below, offset, size)

    def close(self) -> None:
        return


class ArrayFiles:
    """Reads the arrays of registered tables, for who was found to be let to them."""

    def __init__(
        self, open_table: OpenTable, look_anew: LookAnew, stores: Stores, read: Read, patience: Patience
    ) -> None:
        self._open_table = open_table
        self._look_anew = look_anew
        self._stores = stores
        self._read = read
        self._patience = patience

    async def status(self, table: Table, below: bytes) -> os.stat_result:
        """Return the status of the file or directory *below*. NotFound; Unreachable when the array is not there."""
        if table.place.kind != "store":
            return await self._ask(table, status_in, below)
        above, name = os.path.split(below)
        for file in await self._stores.list_files(self._open(table), above):
            if file.name == name:
                return _status(file)
        raise NotFound(f"{os.fsdecode(below)!r} is not in the array")

    async def entries(self, table: Table, below: bytes) -> Sequence[Listed]:
        """Return the files and directories in the directory *below*, by name. Raises as `status`."""
        if table.place.kind != "store":
            return await self._ask(table, list_in, below)
        listed = await self._stores.list_files(self._open(table), below)
        return [(file.name, _status(file)) for file in sorted(listed, key=lambda file: file.name)]

    async def open(self, table: Table, below: bytes) -> OpenFile:
        """Open the file *below* for reading. Raises as `status`, and NotPermitted for what is no file."""
        if table.place.kind != "store":
            fd = self._patience.opened(await self._ask(table, _open_file, below), _store(table))
            return _OnDisk(fd, self._read, self._patience.close)
        if stat.S_ISDIR((await self.status(table, below)).st_mode):
            raise InvalidValue("a directory is not read")
        return _InStore(self._stores, self._open(table), below)

    async def _ask(self, table: Table, question: Callable[[int, bytes], Answer], below: bytes) -> Answer:
        try:
            return await self._in_thread(table, question, below)
        except NotLookedAt:
            await self._look_anew(table)
            return await self._in_thread(table, question, below)

    async def _in_thread(self, table: Table, question: Callable[[int, bytes], Answer], below: bytes) -> Answer:
        return await self._patience.ask(_store(table), self._on_disk, table, question, below)

    def _on_disk(self, table: Table, question: Callable[[int, bytes], Answer], below: bytes) -> Answer:
        at = self._open(table)
        assert at.directory is not None
        # Outside, whoever owns the table may have moved there what she may not read: she reads, and not the daemon.
        acting: AbstractContextManager[None] = nullcontext()
        if table.place.kind == "source" and at.who is not None:
            acting = acting_as(at.who)
        try:
            with acting:
                return question(at.directory, below)
        finally:
            at.close()

    def _open(self, table: Table) -> At:
        try:
            return self._open_table(table)
        except NotLookedAt:
            raise
        except OSError as error:
            raise Unreachable(f"the array of {table.ref} cannot be reached: {error}") from error


def _open_file(array: int, below: bytes) -> int:
    return open_in(array, below, directory=False)


def _status(file: File) -> os.stat_result:
    return made_status(_DIRECTORY) if file.is_directory else made_status(_FILE, size=file.size)


def _store(table: Table) -> str:
    """Return what `Patience` calls the disk or source that the array of *table* is on."""
    return table.place.root if table.place.kind == "source" else ""
