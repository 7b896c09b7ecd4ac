"""A whole new catalogue from the tree (`recalling`), and from what can be read of the one before (`catalog.salvage`).

No daemon may be running. The new one takes its place when it is whole and durable; that of before stays beside it.
Memory holds a batch of imports, the datasets and projects, and what could not be rebuilt.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from repofs.catalog import salvage
from repofs.catalog.engine import Connection, create, open_engine, settle
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.rebuilding import Rebuilding, Restored, conclude
from repofs.catalog.users import VERSION, Everybody
from repofs.config import Settings
from repofs.inspection.imported_tree import Imported, ImportedTree
from repofs.inspection.recalling import NotTold, Recalling
from repofs.repository.kept import Counters, Kept
from repofs.repository.layout import Layout
from repofs.repository.sources import Sources
from repofs.repository.trash_notes import TrashNotes

BATCH = 2000  # files, images and kilobytes of metadata that are written together
NOBODY = Everybody(0, (), (), ())


@dataclass(frozen=True, slots=True)
class Lack:
    """What could not be rebuilt, or in part only."""

    path: bytes  # the import directory, below the mount; empty: it concerns the whole repository
    reason: str


@dataclass(slots=True)
class Rebuilt:
    """What was rebuilt so far."""

    filesets: int = 0
    files: int = 0
    trashed: int = 0  # filesets in the trash
    lacks: list[Lack] = field(default_factory=list)
    taken: tuple[str, ...] = ()  # what was taken over from the catalogue of before, as old as that is
    kept: Path | None = None  # the catalogue of before


def rebuild(layout: Layout, settings: Settings, told: Callable[[Rebuilt], None]) -> Rebuilt:
    """Put a new catalogue in the place of the one that is there, be it none, damaged or old; return what is in it.

    *told* is called now and then with what is there so far. The caller holds the lock of the repository. Blocking.
    Raises OSError; then all is as it was.
    """
    new = layout.catalogue.with_name("catalogue.new.sqlite")
    for name in (new, Path(f"{new}-wal"), Path(f"{new}-shm")):
        name.unlink(missing_ok=True)  # of one that did not come to its end
    old = salvage.Old(layout.catalogue)
    create(new)
    filling = _Filling(layout, settings, old, told)
    rebuilt = filling.fill(new)
    rebuilt.taken, lacking = old.take_over(new)
    rebuilt.lacks += [Lack(b"", reason) for reason in lacking]
    filling.conclude(new)
    rebuilt.kept = settle(new, layout.catalogue)
    return rebuilt


class _Filling:
    def __init__(self, layout: Layout, settings: Settings, old: salvage.Old, told: Callable[[Rebuilt], None]) -> None:
        self._layout = layout
        self._told = told
        self._rebuilt = Rebuilt()
        self._queued = old.queued()
        self._arrived: dict[int, str] = {}  # those of them that were imported since
        self._people = self._who(old)
        self._trash = TrashNotes(layout)
        self._recalling = Recalling(layout, Sources(settings.declared_sources(), layout.root), self._people)

    def fill(self, new: Path) -> Rebuilt:
        with _transaction(new) as conn:
            rebuilding = Rebuilding(conn)
            rebuilding.add_people(self._people)
            for batch in self._batches(rebuilding):
                self._write(rebuilding, batch)
            for fileset in self._trash.numbers():
                self._refill_trash(rebuilding, fileset)
        return self._rebuilt

    def conclude(self, new: Path) -> None:
        there = [fileset for fileset in self._trash.numbers() if self._trash.has_files(fileset)]
        marks = Counters(self._layout).read()
        marks[VERSION] = max(marks.get(VERSION, 0), self._people.version)  # else the file of people would be the newer
        with _transaction(new) as conn:
            conclude(conn, marks, self._arrived, there)

    def _who(self, old: salvage.Old) -> Everybody:
        kept = Kept(self._layout, self._layout.people).read()
        if kept is not None:
            return msgspec.convert(kept, Everybody)
        self._lack(b"", "the file of people is missing: they are those of the old catalogue, or of the records")
        return old.people() or NOBODY

    def _batches(self, rebuilding: Rebuilding) -> Iterator[list[Restored]]:
        batch: list[Restored] = []
        weight = 0
        for found in ImportedTree(self._layout):
            restored = self._recall(found, rebuilding)
            if restored is None:
                continue
            batch.append(restored)
            weight += _weight(restored.finished)
            if weight >= BATCH:
                yield batch
                batch, weight = [], 0
        yield batch

    def _recall(self, found: Imported, rebuilding: Rebuilding) -> Restored | None:
        path = os.path.join(found.user_directory, found.name)
        try:
            recalled = self._recalling.recall(found)
        except (NotTold, OSError) as error:
            self._lack(path, str(error))
            return None
        if recalled.newcomers is not None:
            rebuilding.add_people(recalled.newcomers)
        finished = recalled.restored.finished
        if not found.has_directory and self._trash.has_files(finished.fileset_id):
            return None  # its log was to go to the trash, too, or is back before the rest
        for reason in recalled.lacking:
            self._lack(path, reason)
        if finished.queued in self._queued:
            self._arrived[finished.queued] = finished.imported
        return recalled.restored

    def _write(self, rebuilding: Rebuilding, batch: list[Restored]) -> None:
        left_out = 0
        for one, reason in rebuilding.add(batch):
            left_out += 1
            self._lack(os.path.join(one.finished.user_directory, one.finished.import_directory), reason)
        self._rebuilt.filesets += len(batch) - left_out
        self._rebuilt.files += sum(len(one.finished.entries) for one in batch)
        self._told(self._rebuilt)

    def _refill_trash(self, rebuilding: Rebuilding, fileset: int) -> None:
        """Write what the trash says of a deleted fileset, unless that is in the tree: it is back, or still there."""
        if rebuilding.has(fileset) or not self._trash.has_files(fileset):
            return
        rows = self._trash.read(fileset)
        where = b".trash/%d" % fileset
        if rows is None:
            self._lack(where, "no note tells what it was: it was on its way to nowhere, or the note is damaged")
        elif (reason := rebuilding.add_trash(rows)) is not None:
            self._lack(where, reason)
        else:
            self._rebuilt.trashed += 1

    def _lack(self, path: bytes, reason: str) -> None:
        self._rebuilt.lacks.append(Lack(path, reason))


def _weight(finished: FinishedImport) -> int:
    characters = sum(len(value) for value in finished.original_metadata.values())
    return len(finished.entries) + len(finished.images) + characters // 1000


@contextmanager
def _transaction(path: Path) -> Iterator[Connection]:
    engine = open_engine(path)
    try:
        with engine.begin() as conn:
            yield conn
    finally:
        engine.dispose()
