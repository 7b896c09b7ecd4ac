"""From the tree to the catalogue: does it know each import directory, and each file in it?"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice

from repofs.catalog import consistency
from repofs.catalog.consistency import Kept
from repofs.catalog.forms import shown
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.subject import Subject
from repofs.inspection.imported_tree import Imported, ImportedTree
from repofs.model import Original

ORPHANED = "orphaned-"  # what logs without import directory are called in the directory of failure logs

_PORTION = 200  # import directories that are compared at a time


@dataclass(frozen=True, slots=True)
class _Seen:
    """One import directory as it was found."""

    place: Imported
    fileset: int | None  # that the first mark in it says
    files: int
    strange: int  # files that say something else than the first

    @property
    def path(self) -> bytes:
        return self.place.user_directory + b"/" + self.place.name


def check(subject: Subject) -> Iterator[Finding]:
    """Walk all import directories and ask the catalogue for each."""
    looking, done = _Looking(subject), 0
    places = iter(looking.tree)
    while portion := list(islice(places, _PORTION)):
        yield from subject.twice(partial(looking.look, portion))
        done += len(portion)
        subject.tell("import directories", done, None)


class _Looking:
    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.tree = ImportedTree(subject.layout)

    def look(self, places: Sequence[Imported]) -> list[Finding]:
        found: list[Finding] = []
        seen = [self._seen(place) for place in places]
        with self._subject.reader.begin() as conn:
            known = consistency.known(conn, [one.fileset for one in seen if one.fileset is not None])
            counts = consistency.counts(conn, list(known))
            for one in seen:
                kept = None if one.fileset is None else known.get(one.fileset)
                if kept is None or kept.path != one.path:
                    kept = consistency.at(conn, one.place.user_directory, one.place.name)
                if kept is None:
                    on_its_way = one.fileset is not None and consistency.is_trashed(conn, one.fileset)
                    found += () if on_its_way else self._unknown(one)
                elif one.strange or one.files > counts.get(kept.fileset_id, 0):
                    found += self._strange(one, kept, consistency.names(conn, kept.fileset_id))
        return found

    def _seen(self, place: Imported) -> _Seen:
        fileset, files, strange = None, 0, 0
        with suppress(FileNotFoundError, NotADirectoryError):  # it goes away just now
            for file in self.tree.files(place):
                files += 1
                mark = file.mark
                if isinstance(mark, Original):
                    self._count(mark)
                    fileset = fileset or mark.fileset
                strange += not isinstance(mark, Original) or mark.fileset != fileset
        return _Seen(place, fileset, files, strange)

    def _count(self, mark: Original) -> None:
        """Remember the highest ids."""
        highest = self._subject.highest
        used = {"OriginalFile": mark.original, "Fileset": mark.fileset, "Import": mark.importing}
        for kind, number in (*used.items(), *(("Image", image) for image in mark.images[-1:])):
            highest[kind] = max(number, highest.get(kind, 0))

    def _unknown(self, one: _Seen) -> Iterator[Finding]:
        log = self.tree.log_path(one.place)
        with suppress(FileNotFoundError):
            if one.place.has_log and os.stat(log).st_nlink > 1:
                return  # an import is in the middle of it, or was interrupted: `.staging` tells
        if one.place.has_directory:
            says = "no file in it" if one.fileset is None else f"its files say Fileset:{one.fileset}"
            yield Finding(Code.ORIGINAL_WITHOUT_ROW, shown(one.path), f"{one.files} files, {says}")
        else:
            repair = partial(self._move_log, one.place)
            yield Finding(
                Code.LOG_ORPHANED, shown(one.path + b".log"), "there is nothing that it is the log of", repair
            )

    def _strange(self, one: _Seen, kept: Kept, names: set[bytes]) -> Iterator[Finding]:
        for file in self.tree.files(one.place):
            if file.name not in names:
                mark = file.mark
                says = f"OriginalFile:{mark.original}" if isinstance(mark, Original) else "nothing"
                text = f"it is no file of Fileset:{kept.fileset_id}; its mark says {says}"
                yield Finding(Code.FILE_WITHOUT_ROW, shown(one.path + b"/" + file.name), text)

    def _move_log(self, place: Imported) -> None:
        user = os.fsdecode(place.user_directory)
        directory = self._subject.layout.failure_logs / user
        status = os.stat(self._subject.path(place.user_directory))
        if not directory.is_dir():
            directory.mkdir(0o700)
            if os.geteuid() == 0:
                os.chown(directory, status.st_uid, status.st_gid)
        name = ORPHANED + os.fsdecode(place.name).replace("/", "_") + ".log"
        os.rename(self.tree.log_path(place), directory / name)
