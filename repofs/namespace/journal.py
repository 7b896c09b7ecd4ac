"""Where something is going on, so that a start after a crash looks there and nowhere else.

A file to which records are added. A record is a kind, a path below the mount, and NUL:

    d alice_2/run7      a file in this directory is written, or is a drop that has not come to rest
    t alice_2/x.zarr    something at this directory or below it
    D, T                one of these is over
    b BOOT              what waited before that boot of the machine was looked at for bytes that it has lost
    m alice_2/a//alice_2/b    what is recorded at the first or below it may have the second name from here on; of two
                        that are exchanged there are two such pairs
    M, N                it has that name; it has not

A beginning is recorded before the change that it stands for, an end at some time after: what is recorded once too
often costs a look. A daemon that is killed leaves all records in the kernel; `sync` makes them survive the machine.
Without the file, as in a repository of an older repofs, all of the mount is to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from repofs.fault_points import Step, passed
from repofs.namespace.nodes import Node
from repofs.namespace.standing import Standing
from repofs.repository import journal_records
from repofs.repository.durable import sync_directory
from repofs.repository.trees import is_within
from repofs.threads import in_thread

_TICK_SECONDS = 1.0  # until an end is recorded, and a beginning is on the disk
_MOST_ENDED = 1000  # records beyond twice those that stand, at which the file is written anew

log = structlog.get_logger()

Move = tuple[Node, Node, bytes]
"""What is renamed, into which directory, and what it is called there."""


@dataclass(slots=True, eq=False)
class Restless:
    """A directory in which something is going on."""

    node: Node
    below: bool  # also in the directories below it
    path: bytes  # as recorded last
    holders: int = 0

    def record(self, *, over: bool = False) -> bytes:
        kind = b"t" if self.below else b"d"
        return (kind.upper() if over else kind) + b" " + self.path + b"\0"


class Journal:
    """The journal of one mount, in the file *path*. Every method is called on the event loop."""

    def __init__(self, path: Path, standing: Standing) -> None:
        self._path = path
        self._next = journal_records.next_of(path)
        self._standing = standing
        self._root = standing.backing.table.root
        self._fd: int | None = None  # until the earlier life is read
        self._restless: dict[tuple[Node, bool], Restless] = {}
        self._idle: set[Restless] = set()  # without a holder, their end not recorded yet
        self._ended = 0  # records that do not stand any more
        self._length = self._synced = 0
        self._boot = journal_records.boot_of(path)
        self.left = [
            place for below, where in journal_records.left(path) if (place := self._again(where, below)) is not None
        ]
        self._fd = self._write_anew()
        self._replace(self._fd)

    # --- an earlier life ------------------------------------------------------------------------

    @property
    def machine_went_down(self) -> bool:
        """Whether what waits may have lost bytes that the kernel had not written yet, and nobody has looked."""
        return self._boot != journal_records.this_boot()

    def looked_for_lost_bytes(self) -> None:
        """Record that somebody has."""
        self._boot = journal_records.this_boot()
        self._append(journal_records.booted(self._boot))

    def _again(self, where: bytes, below: bool) -> Restless | None:
        node: Node | None = self._root
        try:
            for name in where.split(b"/") if where else ():
                node = node and self._standing.child(node, name)
        except OSError as error:
            log.error(
                "a directory cannot be looked at: repofs fsck finds what waits in it", path=where, error=str(error)
            )
            return None
        return self._begin(node, below) if node is not None and node.is_directory else None  # or it was removed

    # --- this one -------------------------------------------------------------------------------

    def hold(self, node: Node) -> Restless | None:
        """Something is about to go on with *node*, a file or a directory with all below it, until `let_go`.

        None for a file that has no name any more. Raises OSError when the disk is full.
        """
        if node.is_directory:
            return self._begin(node, True)
        return self._begin(node.names[0][0], False) if node.names else None

    def let_go(self, place: Restless | None) -> None:
        """End one `hold`."""
        if place is not None:
            place.holders -= 1
            if not place.holders:
                self._idle.add(place)

    @contextmanager
    def naming(self, directory: Node) -> Iterator[None]:
        """While a name is made in *directory*: what it leads to may be a drop from that moment on."""
        place = self._begin(directory, False)
        try:
            yield
        finally:
            self.let_go(place)

    @contextmanager
    def renaming(self, *moves: Move) -> Iterator[None]:
        """While each of *moves* is made: what goes on in a directory is known by both names.

        In the journal that is a record whatever goes on there, in memory a step for each place.
        """
        whole = [self._begin(*((node, True) if node.is_directory else (above, False))) for node, above, _ in moves]
        try:
            ways = [
                (self._path_of(node), self._path_of(above) + b"/" + name)
                for node, above, name in moves
                if node.is_directory
            ]
            if ways:
                with self._moving(ways):
                    yield
            else:
                yield
        finally:
            for place in whole:
                self.let_go(place)

    @contextmanager
    def _moving(self, ways: Sequence[tuple[bytes, bytes]]) -> Iterator[None]:
        moved = [
            (place, new + place.path[len(old) :])
            for old, new in ways
            for place in self._restless.values()
            if is_within(place.path, old)
        ]
        self._append(journal_records.moving(ways))
        try:
            yield
        except BaseException:
            self._conclude(journal_records.NOT_MOVED)
            raise
        for place, path in moved:
            place.path = path
        self._ended += 2 * len(moved)  # that many a reader has to go through
        self._conclude(journal_records.MOVED)

    def _conclude(self, record: bytes) -> None:
        try:
            self._append(record)
        except OSError as error:  # both names are looked at
            log.warning("how a rename ended is not recorded", journal=str(self._path), error=str(error))

    def _begin(self, node: Node, below: bool) -> Restless:
        place = self._restless.get((node, below))
        if place is None:
            place = Restless(node, below, self._path_of(node))
            self._append(place.record())
            passed(Step.JOURNAL_BEGUN)
            node.users += 1
            self._restless[node, below] = place
        place.holders += 1
        self._idle.discard(place)
        return place

    def _path_of(self, node: Node) -> bytes:
        return self._standing.backing.path_below(self._root, node)

    def _over(self, places: list[Restless]) -> None:
        self._append(b"".join(place.record(over=True) for place in places))
        self._ended += 2 * len(places)

    def _append(self, records: bytes) -> None:
        # At its place, not at the end: what a full disk has cut is written over.
        if self._fd is not None:
            _write(self._fd, records, self._length)
            self._length += len(records)

    # --- on the disk ----------------------------------------------------------------------------

    async def sync(self) -> None:
        """Return when all that is recorded now survives the machine."""
        fd, length = self._fd, self._length
        if fd is not None and self._synced < length:
            await in_thread(os.fdatasync, fd)
            if fd == self._fd:
                self._synced = max(self._synced, length)

    async def run(self) -> None:
        """Record what has ended, and sync, now and then until cancelled."""
        while True:
            await trio.sleep(_TICK_SECONDS)
            try:
                self.end_idle()
                if self._ended > 2 * len(self._restless) + _MOST_ENDED:
                    await self._renew()
                await self.sync()
            except OSError as error:
                self._standing.backing.health.heed("the journal", error)
                log.error("the journal cannot be written now", journal=str(self._path), error=str(error))

    def end_idle(self) -> None:
        """Record the end of what nobody holds any more."""
        over = list(self._idle)
        self._over(over)
        if over:
            passed(Step.JOURNAL_ENDED)
        self._idle.clear()
        for place in over:
            del self._restless[place.node, place.below]
            place.node.users -= 1
            self._standing.backing.table.release(place.node)

    async def _renew(self) -> None:
        """Begin a new file with what stands. Until it has the name of the old one both are read."""
        before = self._fd
        self._fd = self._write_anew()
        await in_thread(self._replace, self._fd)
        if before is not None:
            os.close(before)

    def _write_anew(self) -> int:
        boot = b"" if self._boot is None else journal_records.booted(self._boot)
        records = boot + b"".join(place.record() for place in self._restless.values())
        fd = os.open(self._next, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write(fd, records, 0)
        except OSError:  # the disk is full: the one before stays
            os.close(fd)
            self._next.unlink()
            raise
        self._length = len(records)
        self._synced = self._ended = 0
        return fd

    def _replace(self, fd: int) -> None:
        os.fdatasync(fd)
        passed(Step.JOURNAL_ANEW)
        self._next.rename(self._path)
        sync_directory(self._path.parent)

    def close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)


def _write(fd: int, records: bytes, offset: int) -> None:
    view = memoryview(records)
    while view:
        done = os.pwrite(fd, view, offset)
        view, offset = view[done:], offset + done
