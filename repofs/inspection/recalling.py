"""What one import directory tells of its import: the record in its log, else the marks of its files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import itemgetter

import msgspec

from repofs import lifecycle
from repofs.catalog import records
from repofs.catalog.filesets import FinishedFile, FinishedImport
from repofs.catalog.imports import NewImport
from repofs.catalog.origins import DONE
from repofs.catalog.rebuilding import BY_MARKS, Restored
from repofs.catalog.records import Filled, ImportRecord, Told
from repofs.catalog.users import Everybody, Experimenter, Membership
from repofs.errors import NotFound
from repofs.inspection.imported_tree import Imported, ImportedFile, ImportedTree
from repofs.lifecycle import State
from repofs.model import FilesetId, GroupId, ImportId, Origin, Original, OriginalFileId
from repofs.repository import import_directory
from repofs.repository.layout import Layout, load_key
from repofs.repository.log_records import LogRecords
from repofs.repository.outside import open_beneath
from repofs.repository.sources import Sources

UNKNOWN_END = "kept, or not: the catalogue that knew it was lost"


class NotTold(Exception):
    """The tree does not tell enough of an import."""


@dataclass(frozen=True, slots=True)
class _File:
    """A file in the import directory."""

    name: bytes
    status: os.stat_result
    mark: Original | None
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class Recalled:
    """An import, and what the tree tells of it in part only."""

    restored: Restored
    newcomers: Everybody | None  # whose it is, when nobody knew them
    lacking: tuple[str, ...]


class Recalling:
    """For one repository. Knows *people*, and those that records name besides."""

    def __init__(self, layout: Layout, sources: Sources, people: Everybody) -> None:
        self._managed = os.fsencode(layout.managed)
        self._tree = ImportedTree(layout)
        self._records = LogRecords(load_key(layout))
        self._sources = sources
        self._staged = import_directory.staged(layout)
        self._groups = {one.id: one for one in people.groups}
        self._experimenters = {one.id: one for one in people.experimenters}

    def recall(self, found: Imported) -> Recalled:
        """Return the import of *found*. Raises NotTold when there is too little of it, OSError."""
        files = [self._seen(file) for file in self._tree.files(found)]
        told = self._told(found)
        if told is None:
            return self._by_marks(found, files)
        first, moved = told.first, told.moved
        self._require_whole(first, files)
        newcomers = self._newcomers(first)
        finished = replace(first.finished, user_directory=found.user_directory, import_directory=found.name)
        group_id = self._group(found, finished.group_id if moved is None else moved.group_id)
        home = finished.home
        filled = (Filled(home, tuple(number for number, _ in finished.images)),) if home is not None else ()
        entries, lacking = self._as_found(finished.entries, files)
        restored = Restored(
            replace(finished, group_id=group_id, entries=entries, home=None),
            first.intent,
            _state(files),
            filled if moved is None else moved.filled,
            finished.imported if moved is None else moved.at,
            self._removals(entries),
            _stands(files),
        )
        return Recalled(restored, newcomers, lacking)

    def _seen(self, file: ImportedFile) -> _File:
        mark = file.mark if isinstance(file.mark, Original) else None
        return _File(file.name, file.status, mark, file.origin(self._tree.marks))

    def _told(self, found: Imported) -> Told | None:
        try:
            return records.together(self._records.read(self._tree.log_path(found))) if found.has_log else None
        except msgspec.ValidationError as error:
            raise NotTold(f"its record is of another version of repofs ({error})") from error

    def _require_whole(self, record: ImportRecord, files: list[_File]) -> None:
        """Raise NotTold for an import in whose middle the last daemon died; it is whole when all files are marked."""
        number = record.finished.import_id
        marked = {file.name for file in files if file.mark is not None and file.mark.importing == number}
        if number in self._staged and any(entry.name not in marked for entry in record.finished.entries):
            raise NotTold("an import was in the middle of it: the next mount takes it back")

    def _newcomers(self, record: ImportRecord) -> Everybody | None:
        """Return the owner and the group of an import whom nobody knew before."""
        groups = () if record.group.id in self._groups else (record.group,)
        owners = () if record.owner.id in self._experimenters else (record.owner,)
        if not groups and not owners:
            return None
        home = record.owner.group_id
        if home not in self._groups and home != record.group.id:
            raise NotTold(f"nobody knows the group {home} of its owner any more")
        self._groups.update({one.id: one for one in groups})
        self._experimenters.update({one.id: one for one in owners})
        return Everybody(0, groups, owners, tuple(Membership(one.id, home, False) for one in owners))

    def _group(self, found: Imported, told: GroupId) -> GroupId:
        """Return the group of *found*: that of its inode, which chgrp changes, where that is a group."""
        path = self._path(found) if found.has_directory else self._tree.log_path(found)
        gid = os.stat(path, follow_symlinks=False).st_gid
        return next((one.id for one in self._groups.values() if one.gid == gid), told)

    def _path(self, found: Imported) -> bytes:
        return os.path.join(self._managed, found.user_directory, found.name)

    def _as_found(
        self, entries: tuple[FinishedFile, ...], files: list[_File]
    ) -> tuple[tuple[FinishedFile, ...], tuple[str, ...]]:
        """Return *entries* with the origins that their files bear by now, and which files are not there."""
        origins = {file.name: file.origin for file in files}
        now = tuple(replace(one, origin=origins.get(one.name) or one.origin) if one.origin else one for one in entries)
        missing = [one.name for one in entries if one.name not in origins]
        shown = ", ".join(name.decode(errors="backslashreplace") for name in missing[:3])
        return now, (f"{len(missing)} of its files are not there: {shown}",) if missing else ()

    def _removals(self, entries: Iterable[FinishedFile]) -> dict[OriginalFileId, str]:
        return {
            one.original_id: DONE if self._has_gone(one.origin) else UNKNOWN_END
            for one in entries
            if one.removal_due and one.origin is not None
        }

    def _has_gone(self, origin: Origin) -> bool:
        if not origin.source:
            return False
        try:
            with self._sources.root(origin.source) as root:
                if os.fstat(root.fd).st_dev != origin.identity.device:
                    return False  # its store may not be mounted
                with suppress(NotFound), open_beneath(root, os.fsencode(origin.path), None):
                    return False
        except OSError:  # its source is declared no more: nobody can tell
            return False
        return True

    def _by_marks(self, found: Imported, files: list[_File]) -> Recalled:
        """Return an import of which no record tells."""
        originals = sorted(
            ((file.mark.original, file.mark, file) for file in files if file.mark is not None), key=itemgetter(0)
        )
        if not originals:
            raise NotTold("no record and no mark tells what it is")
        _, first, main = originals[0]
        owner = self._owner(found)
        entries = tuple(_entry(file, mark) for _, mark, file in originals)
        actor = owner.uid if first.actor_uid is None else first.actor_uid
        finished = FinishedImport(
            ImportId(first.importing), FilesetId(first.fileset), owner.id, self._group(found, owner.group_id),
            found.user_directory, found.name, first.transfer, first.imported, None, None, entries, note=first.note,
            actor_uid=None if actor == owner.uid else actor,
        )  # fmt: skip
        status = main.status
        intent = NewImport(
            owner.id, found.user_directory, entries[0].path, status.st_dev, status.st_ino, status.st_size,
            status.st_mtime_ns, first.transfer, actor, BY_MARKS, first.imported, status.st_gid,
        )  # fmt: skip
        lacking = ["its log has no record: its format, metadata, target and dropped names are lost with the catalogue"]
        if first.images:
            lacking.append(f"{len(first.images)} images of it: the same")
        return Recalled(
            Restored(finished, intent, _state(files), (), first.imported, {}, _stands(files)), None, tuple(lacking)
        )

    def _owner(self, found: Imported) -> Experimenter:
        uid = os.stat(os.path.join(self._managed, found.user_directory)).st_uid
        own = [one for one in self._experimenters.values() if one.uid == uid]
        if not own:
            raise NotTold(f"no record tells whose it is, and nobody knows uid {uid} any more")
        return next((one for one in own if one.removed is None), own[-1])


def _entry(file: _File, mark: Original) -> FinishedFile:
    size, mtime_ns = file.status.st_size, file.status.st_mtime_ns
    return FinishedFile(OriginalFileId(mark.original), file.name, file.name, size, mtime_ns, mark.checksum, file.origin)


def _stands(files: Iterable[_File]) -> dict[OriginalFileId, State]:
    """Return the originals that were found otherwise than they were imported, as their marks say."""
    marks = (file.mark for file in files if file.mark is not None)
    return {OriginalFileId(mark.original): mark.stands for mark in marks if mark.stands is not State.IMPORTED}


def _state(files: Iterable[_File]) -> State:
    """Return how a fileset stands: as its worst file does."""
    stands = Counter(file.mark.stands for file in files if file.mark is not None)
    return lifecycle.worst(stands) or State.IMPORTED
