"""What lies under the names that users make: marks that are true of another file, and drops that nobody waits for."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial

from repofs.catalog import consistency
from repofs.catalog.forms import shown
from repofs.formats.candidates import any_of
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.mending import Mending
from repofs.inspection.fsck.subject import Subject, by_descriptor
from repofs.model import Closed, Original, Refused
from repofs.repository import journal_records, templates
from repofs.repository.marks import ORIGINAL_BIT, Target
from repofs.repository.openat2 import NO_WAY
from repofs.repository.trees import opened, walk
from repofs.xattrs import ORIGIN

_HALF_MADE = re.compile(rb"\..{1,80}\.[0-9a-f]{8}", re.DOTALL)  # as `tables.creating` names what it makes
_SCHEMA = b"__schema"  # in every TileDB array


def check(subject: Subject) -> Iterator[Finding]:
    """Walk the user directories but for the import directories in them."""
    looking = _Looking(subject, _Waiting(subject))
    reserved = templates.reserved(subject.layout, subject.settings.repository.template)
    for user in subject.user_directories():
        with opened(subject.path(user)) as top:
            for directory, below, names, fd in walk(top, passing=NO_WAY):
                if not directory:
                    below[:] = [name for name in below if not reserved.fullmatch(name)]
                here = os.path.join(user, directory) if directory else user
                yield from subject.twice(partial(looking.look, fd, here, names))
                yield from _half_made(subject, fd, here, below)


def _half_made(subject: Subject, fd: int, here: bytes, below: Sequence[bytes]) -> Iterator[Finding]:
    for name in below:
        if (
            not subject.live
            and _HALF_MADE.fullmatch(name)
            and os.path.lexists(by_descriptor(fd, name + b"/" + _SCHEMA))
        ):
            yield Finding(Code.TABLE_HALF_MADE, shown(here + b"/" + name), "it has no name that anybody sees")


class _Waiting:
    """Which drops somebody waits for: the next daemon those where the journal says, nobody those that are excluded."""

    def __init__(self, subject: Subject) -> None:
        drops = subject.settings.drops
        self._journal = subject.layout.journal
        left = journal_records.ALL if subject.live else journal_records.left(self._journal)  # a daemon waits for them
        self._here = {where for below, where in left if not below}
        self._below = {where for below, where in left if below}
        self._never = any_of(drops.temporary_names + drops.exclude)
        self._tables = tuple(suffix.encode().lower() for suffix in drops.table_formats)

    def is_forgotten(self, path: bytes) -> bool:
        """Return whether the closed drop at *path*, below the mount, is imported neither soon nor never."""
        directory, name = os.path.split(path)
        above = directory.split(b"/")
        waits = directory in self._here or any(
            b"/".join(above[:depth]) in self._below for depth in range(len(above) + 1)
        )
        never = self._never.fullmatch(os.fsdecode(name)) or any(part.lower().endswith(self._tables) for part in above)
        return not waits and not never

    def remember(self, path: bytes) -> None:
        """Have the next daemon look at the drop at *path*."""
        journal_records.look_at(self._journal, os.path.dirname(path))


class _Looking:
    def __init__(self, subject: Subject, waiting: _Waiting) -> None:
        self._subject = subject
        self._waiting = waiting
        self._marks = subject.marks
        self._mending = Mending(subject)

    def look(self, fd: int, here: bytes, names: Sequence[bytes]) -> list[Finding]:
        """Return what is wrong with the files *names* in the directory *fd*, which is *here* below the mount."""
        found: list[Finding] = []
        for name in names:
            with suppress(FileNotFoundError):  # renamed or removed since it was listed
                status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found += self._file(by_descriptor(fd, name), here + b"/" + name, status)
        return found

    def _file(self, path: bytes, below: bytes, status: os.stat_result) -> Iterator[Finding]:
        mark = self._marks.read(path)
        if isinstance(mark, Original):
            yield from self._original(mark, below, status)
        elif status.st_mode & ORIGINAL_BIT and status.st_nlink == 1:  # else it may be one whose mark is missing
            repair = partial(take_bit, self._subject.path(below))
            yield Finding(Code.BIT_WITHOUT_MARK, shown(below), "it is shown as an original, and is none", repair)
        elif isinstance(mark, Refused):
            self._subject.named_logs.add(os.fsencode(mark.log))
        elif isinstance(mark, Closed) and _as_closed(mark, status) and self._waiting.is_forgotten(below):
            repair = partial(self._waiting.remember, below)
            yield Finding(Code.DROP_FORGOTTEN, shown(below), "it was closed, and nobody waits for it", repair)
        if has_origin(path):
            self._subject.stand_ins.append(status.st_ino)

    def _original(self, mark: Original, below: bytes, status: os.stat_result) -> Iterator[Finding]:
        """Compare a file with the original that its mark says it is."""
        place = self._subject.path(os.fsencode(f"{mark.user_directory}/{mark.import_directory}/{mark.name}"))
        try:
            if os.path.samestat(status, os.stat(place, follow_symlinks=False)):
                return
            there = True
        except (FileNotFoundError, NotADirectoryError):
            there = False
        file = self._subject.ask(consistency.file, mark.original)
        if file is None or file.fileset.fileset_id != mark.fileset:
            if self._subject.ask(consistency.is_trashed, mark.fileset):
                return  # it may be on its way
            if self._subject.ask(consistency.is_deleted, mark.importing):
                text = f"its mark says OriginalFile:{mark.original}, which was deleted"
                yield Finding(Code.MARK_COPIED, shown(below), text, partial(self._unmark, self._subject.path(below)))
            elif not there:
                text = f"its mark says OriginalFile:{mark.original}, which the catalogue does not know"
                yield Finding(Code.ORIGINAL_WITHOUT_ROW, shown(below), text)
        elif there:
            text = f"its mark says OriginalFile:{mark.original}, which is another file"
            yield Finding(Code.MARK_COPIED, shown(below), text, partial(self._unmark, self._subject.path(below)))
        else:
            self._subject.found_elsewhere.add(mark.original)
            repair = partial(self._mending.bring_back, file, self._subject.path(below))
            text = f"OriginalFile:{mark.original}: it is not there, but under the name {shown(below)!r}"
            yield Finding(Code.ROW_WITHOUT_ORIGINAL, shown(file.held.path), text, repair)

    def _unmark(self, path: bytes) -> None:
        self._marks.clear(path)
        take_bit(path)


def take_bit(path: bytes) -> None:
    """Take the sticky bit off a file."""
    os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) & ~ORIGINAL_BIT)


def _as_closed(mark: Closed, status: os.stat_result) -> bool:
    return (mark.size, mark.mtime_ns) == (status.st_size, status.st_mtime_ns)


def has_origin(file: Target) -> bool:
    """Return whether a file says that its bytes are, or were, elsewhere; True also when that cannot be told."""
    try:
        os.getxattr(file, ORIGIN, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EACCES):
            raise
        return error.errno == errno.EACCES
    return True
