"""From the catalogue to the tree: is each original where its row says, and is it what the row says?"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from itertools import groupby

from repofs.catalog import consistency
from repofs.catalog.consistency import Kept, KeptFile
from repofs.catalog.forms import nearest, shown
from repofs.inspection.fsck.findings import Code, Finding
from repofs.inspection.fsck.logs import Logs
from repofs.inspection.fsck.mending import Mending
from repofs.inspection.fsck.subject import Subject, by_descriptor, in_directory
from repofs.model import Identity, Origin, Original
from repofs.repository import transfers
from repofs.repository.marks import ORIGINAL_BIT
from repofs.repository.outside import identity_of, is_same_inode
from repofs.repository.trees import lent

_PORTION = 200  # filesets that are read at a time
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_COMPARED = ("original", "fileset", "checksum", "user_directory", "import_directory", "name", "importing")


def check(subject: Subject) -> Iterator[Finding]:
    """Look at all originals that the catalogue knows."""
    looking, last, done = _Looking(subject), 0, 0
    total = subject.ask(consistency.filesets_count)
    while portion := subject.ask(consistency.after, last, _PORTION):
        last, done = portion[-1].fileset_id, done + len(portion)
        yield from subject.twice(partial(looking.look, [one.fileset_id for one in portion]))
        subject.tell("filesets", done, total)


class _Looking:
    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._logs = Logs(subject)
        self._mending = Mending(subject)
        self._owner = cache(subject.owner)
        self._marks = subject.marks

    def look(self, numbers: list[int]) -> list[Finding]:
        """Return what is wrong with some filesets that come one after another."""
        found: list[Finding] = []
        with self._subject.reader.begin() as conn:
            kept = list(consistency.known(conn, numbers).values())
            files = consistency.files(conn, kept) if kept else iter(())
            for fileset, its in groupby(files, key=lambda file: file.fileset):
                found += self._fileset(fileset, its)
        return found

    def _fileset(self, fileset: Kept, files: Iterable[KeptFile]) -> Iterator[Finding]:
        try:
            with in_directory(self._subject, fileset) as fd:
                files = list(files)
                yield from self._directory(fileset, files, fd)
                for file in files:
                    if file.held.original_id not in self._subject.found_elsewhere:
                        yield from self._file(file, fd)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            for file in files:
                if file.held.original_id not in self._subject.found_elsewhere:
                    yield self._missing(file, "its import directory is not there")

    def _directory(self, fileset: Kept, files: Sequence[KeptFile], fd: int) -> Iterator[Finding]:
        yield from self._owners(fileset, fileset.path, os.fstat(fd))
        yield from self._logs.check(fileset, files)
        with suppress(FileNotFoundError):
            status = os.stat(self._logs.path(fileset), follow_symlinks=False)
            yield from self._owners(fileset, fileset.path + b".log", status)

    def _file(self, file: KeptFile, fd: int) -> Iterator[Finding]:
        path, held = by_descriptor(fd, file.name), file.held
        try:
            status = os.stat(path, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            yield self._missing(file, "it is not there")
            return
        if not stat.S_ISREG(status.st_mode):
            yield self._missing(file, "what is there is no file")
            return
        if status.st_size != held.size:
            text = f"it has {status.st_size:,} bytes, OriginalFile:{held.original_id} has {held.size:,}"
            yield _finding(Code.SIZE_DIFFERS, held.path, text)
            return
        yield from self._mark(file, path, status)
        if held.origin is not None and transfers.named(held.origin.transfer).in_place:
            yield from self._stand_in(file, held.origin, path, status)
        yield from self._owners(file.fileset, held.path, status)

    def _mark(self, file: KeptFile, path: bytes, status: os.stat_result) -> Iterator[Finding]:
        mark, wanted = self._marks.read(path), file.mark()
        again = partial(self._mending.mark, file)
        if not isinstance(mark, Original):
            forged = mark is None and self._marks.is_marked(path)
            text = "a mark that this repository has not written" if forged else f"the mark of {_kind(mark)}"
            yield _finding(Code.MARK_MISSING, file.held.path, f"it bears {text}", again)
            return
        if differing := [name for name in _COMPARED if getattr(mark, name) != getattr(wanted, name)]:
            what = ", ".join(
                f"{name} {getattr(mark, name)!r} in place of {getattr(wanted, name)!r}" for name in differing
            )
            yield _finding(Code.MARK_DIFFERS, file.held.path, f"its mark says {what}", again)
            return
        if mark.stands is not file.held.stands:
            text = f"its mark says {mark.stands}, its row {file.held.stands}"
            yield _finding(Code.STANDS_DIFFER, file.held.path, text, partial(self._mending.follow, file))
        if not status.st_mode & ORIGINAL_BIT:
            yield _finding(Code.BIT_MISSING, file.held.path, "it has no sticky bit", again)

    def _stand_in(self, file: KeptFile, wanted: Origin, path: bytes, status: os.stat_result) -> Iterator[Finding]:
        try:
            origin = self._marks.origin(path)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            origin = None
        if origin is None or _plain(origin) != _plain(wanted):
            says = "says nothing of its origin" if origin is None else f"says {origin.path!r} in {origin.source!r}"
            text = f"it {says}, the catalogue has {wanted.path!r} in {wanted.source!r}"
            yield _finding(Code.ORIGIN_DIFFERS, file.held.path, text, partial(self._mending.origin, file))
        if transfers.named(wanted.transfer).linked:
            self._subject.stand_ins.append(status.st_ino)
            if (why := self._no_link(status.st_ino, wanted.identity)) is not None:
                text = f".linked/{status.st_ino}, which has its bytes, {why}"
                yield _finding(Code.LINK_BEHIND_MISSING, file.held.path, text, partial(self._mending.link_behind, file))

    def _no_link(self, inode: int, wanted: Identity) -> str | None:
        """Return why the link of a stand-in is not its. One that its owner has changed is, and one that was copied."""
        try:
            fd = os.open(self._subject.layout.linked / str(inode), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return "is not there"
        with lent(fd):
            link = identity_of(fd)
        as_imported = (link.size, nearest(link.mtime_ns)) == (wanted.size, nearest(wanted.mtime_ns))
        return None if as_imported or is_same_inode(link, wanted) else "is another file"

    def _missing(self, file: KeptFile, text: str) -> Finding:
        text = f"OriginalFile:{file.held.original_id}: {text}"
        return _finding(Code.ROW_WITHOUT_ORIGINAL, file.held.path, text, partial(self._mending.bring_back, file))

    def _owners(self, fileset: Kept, path: bytes, status: os.stat_result) -> Iterator[Finding]:
        """Only root's repositories have files of several people."""
        now, wanted = (status.st_uid, status.st_gid), (self._owner(fileset.user_directory), fileset.gid)
        if os.geteuid() == 0 and fileset.gid != -1 and now != wanted:
            text = f"it belongs to uid {now[0]} and gid {now[1]}, in place of {wanted[0]} and {wanted[1]}"
            yield _finding(Code.OWNER_DIFFERS, path, text, partial(self._mending.give, fileset, path))


def _kind(mark: object) -> str:
    return "nothing" if mark is None else "a drop"


def _plain(origin: Origin) -> Origin:
    """Return *origin* as the catalogue can keep it, without what says nothing of its bytes: verify renews that, on the
    file before its row."""
    identity = replace(origin.identity, device=0, ctime_ns=0, mtime_ns=nearest(origin.identity.mtime_ns))
    return replace(origin, identity=identity)


def _finding(code: Code, path: bytes, text: str, repair: partial[None] | None = None) -> Finding:
    return Finding(code, shown(path), text, repair)
