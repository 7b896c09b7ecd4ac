"""Tables as CSV and Parquet: made when they are opened, kept for the next reader, thrown away when room is needed.

Each is a file without a name in the repository's `cache` directory, which a process fills. One that is open stays,
whatever room it takes; one that is being made ends when nobody waits for it any more.
"""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import structlog
import trio

from repofs.errors import RepofsError
from repofs.namespace.array_files import Read
from repofs.namespace.openers import is_being_killed
from repofs.table import Form, Table, TableState

CSV_SECONDS = 2.0  # after which reading a CSV begins, whole or not; a Parquet file is read from its end
_LEAST_FREE = 0.02  # of the repository's disk: imports need it more than a copy of a table
_ROOM_SECONDS = 0.5  # between two looks at how much is free
_LOOK_SECONDS = 0.05  # between two looks at how far it is: whoever fills it says nothing before the end

Export = Callable[[Table, Form, int], Awaitable[None]]
"""Writes a table in a form to a descriptor. Raises RepofsError."""

_Key = tuple[int, str, TableState, Form]  # table, manifest, state, form: what changes is made anew

log = structlog.get_logger()


@dataclass(eq=False, slots=True)
class _Made:
    """A file that is made, or being made."""

    key: _Key
    file: IO[bytes]
    users: int = 0  # open handles, and those who wait for one
    size: int = 0  # bytes, once it is whole
    failed: str | None = None  # why it never will be
    ended: str = "it was not made to its end: nobody waited for it"  # why, if `making` is cancelled
    done: trio.Event = field(default_factory=trio.Event)
    making: trio.CancelScope = field(default_factory=trio.CancelScope)

    async def wait_more(self, task: int) -> None:
        """Wait until it is done, or a moment. EINTR when *task*, which waits for it, is being killed."""
        with trio.move_on_after(_LOOK_SECONDS):
            await self.done.wait()
        if is_being_killed(task):
            raise OSError(errno.EINTR, "its reader is being killed")


class Exports:
    """The files of one mount. *directory* is made when it is not there."""

    def __init__(self, directory: Path, most_bytes: int, export: Export, read: Read) -> None:
        directory.mkdir(mode=0o700, exist_ok=True)
        self._directory = directory
        self._most_bytes = most_bytes
        self._export = export
        self._read = read
        self._kept: OrderedDict[_Key, _Made] = OrderedDict()  # the one used last comes last
        self._to_make_in, self._to_make = trio.open_memory_channel[tuple[_Made, Table]](math.inf)

    def size(self, table: Table, form: Form) -> int:
        """Return the size of *table* in *form*, in bytes; 0 before it was made."""
        made = self._kept.get(_key(table, form))
        return 0 if made is None else made.size

    async def open(self, table: Table, form: Form, task: int) -> Exported:
        """Open *table* in *form* for *task*: a CSV when it is whole, or has been in the making for a while.

        Raises RepofsError (EIO) when it cannot be made: the next open tries again; EINTR when *task* is being killed.
        """
        key = _key(table, form)
        made = self._kept.get(key) or self._begin(key, table)
        self._kept.move_to_end(key)
        made.users += 1
        try:
            begins = trio.current_time() + (CSV_SECONDS if form == "csv" else math.inf)
            while not made.done.is_set() and trio.current_time() < begins:
                await made.wait_more(task)
            if made.failed is not None:
                raise RepofsError(made.failed)
        except BaseException:
            self._leave(made)
            raise
        return Exported(made, task, self._read, self._leave)

    def _begin(self, key: _Key, table: Table) -> _Made:
        file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - `_settle` closes it
        made = self._kept[key] = _Made(key, file)
        self._to_make_in.send_nowait((made, table))
        return made

    async def run(self) -> None:
        """Make files until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_room)
            async for made, table in self._to_make:
                nursery.start_soon(self._make, made, table)

    async def _watch_room(self) -> None:
        """End what is being made when the disk is nearly full."""
        while True:
            await trio.sleep(_ROOM_SECONDS)
            disk = os.statvfs(self._directory)
            if disk.f_bavail < disk.f_blocks * _LEAST_FREE:
                for made in [made for made in self._kept.values() if not made.done.is_set()]:
                    log.warning("a table is not exported: the disk is nearly full", table=made.key[0])
                    made.ended = "the disk of the repository is nearly full"
                    made.making.cancel()

    async def _make(self, made: _Made, table: Table) -> None:
        failed: str | None = "the daemon ends"
        try:
            with made.making:
                await self._export(table, made.key[-1], made.file.fileno())
                made.size = os.fstat(made.file.fileno()).st_size
                failed = None
            if made.making.cancelled_caught:
                failed = made.ended
        except OSError as error:
            failed = f"{table.ref} cannot be made {made.key[-1]}: {error}"
            log.warning("a table cannot be exported", table=str(table.ref), form=made.key[-1], error=str(error))
        except Exception:  # of one table: the others, and the mount, go on
            failed = f"{table.ref} cannot be made {made.key[-1]}: the daemon's log tells why"
            log.exception("a table could not be exported", table=str(table.ref), form=made.key[-1])
        finally:
            made.failed = failed
            made.done.set()
            if failed is not None:
                self._drop(made)
            self._settle(made)

    def _leave(self, made: _Made) -> None:
        """One user less."""
        made.users -= 1
        if not made.users and (not made.done.is_set() or made.key[2] is not TableState.REGISTERED):
            made.making.cancel()
            self._drop(made)  # what has changed once may change again, and nobody says so
        self._settle(made)

    def _settle(self, made: _Made) -> None:
        """Make room, and close *made* when it is of no more use."""
        surplus = sum(one.size for one in self._kept.values()) - self._most_bytes
        for one in [one for one in self._kept.values() if one.done.is_set() and not one.users]:
            if surplus <= 0:
                break
            surplus -= one.size
            self._drop(one)
            one.file.close()
        if made.done.is_set() and not made.users and self._kept.get(made.key) is not made:
            made.file.close()

    def _drop(self, made: _Made) -> None:
        if self._kept.get(made.key) is made:
            del self._kept[made.key]

    def forget(self, before: Table | None, after: Table | None) -> None:
        """Throw away what was made of a table that is not registered any more, or whose array is another by now."""
        if before is None or (after is not None and (after.manifest, after.state) == (before.manifest, before.state)):
            return
        for made in [made for made in self._kept.values() if made.key[0] == before.id]:
            self._drop(made)
            self._settle(made)

    def close(self) -> None:
        """Close all files."""
        for made in self._kept.values():
            made.file.close()
        self._kept.clear()


class Exported:
    """A file that *task* has open."""

    def __init__(self, made: _Made, task: int, read: Read, leave: Callable[[_Made], None]) -> None:
        self._made = made
        self._task = task
        self._read = read
        self._leave = leave

    async def read(self, offset: int, size: int) -> bytes | memoryview:
        """Return *size* bytes from *offset*, once they are there; fewer at the end. EIO when they never will be."""
        made = self._made
        fd = made.file.fileno()
        while not made.done.is_set() and os.fstat(fd).st_size < offset + size:
            await made.wait_more(self._task)
        if made.failed is not None:
            raise RepofsError(made.failed)
        return await self._read(fd, offset, size)

    def close(self) -> None:
        self._leave(self._made)


def _key(table: Table, form: Form) -> _Key:
    return table.id, table.manifest, table.state, form
