"""What an import makes in the tree, and how it is taken back. Blocking; run in threads."""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from repofs.catalog import records
from repofs.catalog.filesets import FinishedImport
from repofs.catalog.records import ImportRecord
from repofs.disk import Disk
from repofs.fault_points import Step, passed
from repofs.importer import files
from repofs.importer.ahead import Ahead
from repofs.importer.bringing import Bringing
from repofs.importer.lending import Directory
from repofs.lifecycle import State
from repofs.model import Drop, ImportId, Original
from repofs.repository import import_directory, openat2
from repofs.repository.durable import own
from repofs.repository.failure_logs import FailureLogs
from repofs.repository.import_directory import StagedFile
from repofs.repository.layout import Layout, load_key
from repofs.repository.log_records import LogRecords
from repofs.repository.marks import ORIGINAL_BIT, Marks
from repofs.repository.room import Room
from repofs.repository.sources import Sources
from repofs.repository.trees import opened


class Placement:
    def __init__(self, layout: Layout, sources: Sources, reserve_bytes: int | None, ahead: Ahead) -> None:
        self.marks = Marks(load_key(layout))
        self._layout = layout
        self._records = LogRecords(load_key(layout))
        self._failure_logs = FailureLogs(layout)
        self._disk = Disk(layout.managed)
        self._catalogues = Disk(layout.catalogue.resolve().parent)  # which may be another
        room = Room(self._disk.fd, reserve_bytes)
        self._rooms = room, Room(self._catalogues.fd, reserve_bytes)
        self.bringing = Bringing(self.marks, sources, os.fspath(layout.linked), room, ahead)

    def close(self) -> None:
        self._disk.close()
        self._catalogues.close()

    def require_room(self) -> None:
        """Raise StoreFull when nothing should be begun now, neither here nor in the catalogue."""
        for room in self._rooms:
            room.require_to_import()

    def directory_of(self, drop: Drop) -> Directory:
        """Return what lends the directory that *drop* lies in."""
        return functools.partial(self._directory_of, drop)

    @contextmanager
    def _directory_of(self, drop: Drop) -> Iterator[int]:
        path = os.path.join(drop.user_directory, os.path.dirname(drop.path))
        with opened(self._layout.managed) as managed:
            directory = openat2.beneath(managed, path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield directory
        finally:
            os.close(directory)

    def put(
        self,
        drop: Drop,
        new: Iterable[tuple[bytes, int]],
        importing: ImportId,
        gid: int,
        log: str,
        record: ImportRecord,
        name_for: Callable[[int], bytes],
    ) -> bytes:
        """Link the *new* files of *drop* (name, descriptor) into an import directory of group *gid*.

        Beside it goes its *log*, with the *record* of it that a catalogue can be made from again. Returns its name. It
        is durable after `sync`.
        """
        import_directory.stage(self._layout, importing, (StagedFile(file, name) for name, file in new))
        import_directory.write_log(self._layout, importing, self._records.added(log, records.written(record)))
        passed(Step.LOG_WRITTEN)
        return import_directory.publish(self._layout, importing, drop.user_directory, gid, name_for, durable=False)

    def mark(self, drop: Drop, fd: int, gid: int, finished: FinishedImport) -> None:
        """Write on each file of the import what original it is, and give it to its user and the group *gid*.

        Raises ChangedWhileReading when one is not as it was hashed, or is open for writing.
        """
        entries = {entry.name: entry for entry in finished.entries}
        images = tuple(int(image) for image, _ in finished.images)
        for name, file in files.named(drop, fd, entries):
            origin = entries[name].origin
            mark = Original(
                original=entries[name].original_id,
                fileset=finished.fileset_id,
                images=images,
                checksum=entries[name].checksum,
                transfer=finished.transfer if origin is None else origin.transfer,
                imported=finished.imported,
                user_directory=os.fsdecode(finished.user_directory),
                import_directory=os.fsdecode(finished.import_directory),
                name=os.fsdecode(name),
                importing=finished.import_id,
                actor_uid=drop.actor_uid,
                note=finished.note,
                size=entries[name].size,
            )
            self.marks.write(file, mark)
            self._give(file, drop.user_directory, gid)
            passed(Step.FILE_MARKED)
            # From the mark on the mount opens it for nobody: who came between the hash and the mark is found here.
            files.require_still(file, entries[name].size, entries[name].mtime_ns)

    def sync(self) -> None:
        """Make all that was put and marked durable."""
        self._disk.sync()

    def finish(self, importing: ImportId) -> None:
        """Forget how to take back an import: it is committed."""
        import_directory.finish(self._layout, importing)

    def take_back(self, drop: Drop, fd: int, importing: ImportId) -> None:
        """Undo `put` and `mark`, however far they got: the files are drops again."""
        for _, file in files.opened(drop, fd):
            mark = self.marks.read(file)
            if isinstance(mark, Original) and mark.importing == importing:
                files.mark_closed(file, self.marks, drop.actor_uid)
        import_directory.undo(self._layout, importing)

    def let_go(self, drop: Drop, fd: int) -> None:
        """Let go of the bytes that were brought in from outside for an import that did not succeed."""
        for _, file in files.new_ones(drop, fd, self.marks):
            self.bringing.take_back(file)

    def refuse(self, drop: Drop, fd: int, state: State, error: str, lines: Sequence[str], name: str) -> None:
        """Keep the log under *name* and leave *state* and *error* on the files of the drop."""
        uid = self._owner(drop.user_directory)
        log = self._failure_logs.write(drop.user_directory, name, lines, uid, os.fstat(fd).st_gid)
        files.refuse(drop, fd, self.marks, state, error, log)

    def _owner(self, user_directory: bytes) -> int:
        return os.stat(os.path.join(os.fsencode(self._layout.managed), user_directory)).st_uid

    def _give(self, fd: int, user_directory: bytes, gid: int) -> None:
        """What was dropped for somebody is hers from now on; who owns an original may read and annotate it."""
        mode = stat.S_IMODE(os.fstat(fd).st_mode) | stat.S_IRUSR | stat.S_IWUSR | ORIGINAL_BIT
        own(fd, self._owner(user_directory), gid, mode)
