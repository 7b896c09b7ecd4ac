"""The log of each import: is it there, and does its record tell what the catalogue knows?

A repository of an older repofs has logs without a record: what is written here is what it can be rebuilt from.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial

import msgspec

from repofs.catalog import records
from repofs.catalog.consistency import Kept, KeptFile
from repofs.catalog.forms import now, shown
from repofs.catalog.records import ImportRecord
from repofs.inspection.fsck.findings import Code, Finding, Irreparable
from repofs.inspection.fsck.subject import Subject
from repofs.repository import import_directory
from repofs.repository.layout import load_key
from repofs.repository.log_records import LogRecords


class Logs:
    """For one repository."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._records = LogRecords(load_key(subject.layout))

    def path(self, fileset: Kept) -> bytes:
        """Return where the log of *fileset* belongs."""
        return self._subject.path(fileset.path) + b".log"

    def check(self, fileset: Kept, files: Sequence[KeptFile]) -> Iterator[Finding]:
        """Compare the record with the rows of *fileset* and its *files*."""
        where = shown(fileset.path + b".log")
        wrong: str | None
        try:
            told = records.together(self._records.read(self.path(fileset)))
        except FileNotFoundError:
            text = f"Fileset:{fileset.fileset_id} has no log"
            yield Finding(Code.LOG_MISSING, where, text, partial(self._write_log, fileset))
            return
        except msgspec.ValidationError as error:
            wrong = f"its record is of another version of repofs ({error})"
        else:
            wrong = "it has no record" if told is None else _differing(told.first, fileset, files)
        if wrong:
            yield Finding(Code.RECORD_MISSING, where, wrong, partial(self._add_record, fileset))

    def _write_log(self, fileset: Kept) -> None:
        """Write a log that tells what the catalogue knows."""
        text = (
            f"{now()} the log of this import was lost; this one was written by repofs fsck\n"
            f"{fileset.imported} imported as Fileset:{fileset.fileset_id} by uid {fileset.actor_uid}\n"
        )
        try:
            import_directory.write_lost_log(
                self._subject.layout, fileset.user_directory, fileset.import_directory, fileset.gid,
                text.encode() + self._lines(fileset),
            )  # fmt: skip
        except FileNotFoundError as error:
            raise Irreparable("its import directory is not there either") from error

    def _add_record(self, fileset: Kept) -> None:
        log = self.path(fileset)
        import_directory.append(log, self._lines(fileset))
        fd = os.open(log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def _lines(self, fileset: Kept) -> bytes:
        return self._records.lines(*map(records.written, self._subject.ask(records.anew, fileset.fileset_id)))


def _differing(record: ImportRecord, fileset: Kept, files: Sequence[KeptFile]) -> str | None:
    """Return what *record* says otherwise than the catalogue."""
    finished = record.finished
    if (finished.fileset_id, finished.import_id) != (fileset.fileset_id, fileset.import_id):
        return f"its record is of Fileset:{finished.fileset_id}"
    told = [(one.original_id, one.name, one.size, one.checksum) for one in finished.entries]
    if sorted(told) != sorted((f.held.original_id, f.name, f.held.size, f.held.checksum) for f in files):
        return "its record tells of other originals than the catalogue"
    if tuple(number for number, _ in finished.images) != fileset.images:
        return "its record tells of other images than the catalogue"
    return None
