"""Repairs of originals, each on proof and each to be done again at any time. No bytes are written, and none removed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from repofs.catalog import verification
from repofs.catalog.consistency import Kept, KeptFile
from repofs.catalog.forms import nearest
from repofs.catalog.verification import Found
from repofs.errors import RepofsError
from repofs.inspection.fsck.findings import Irreparable
from repofs.inspection.fsck.subject import Subject, reached
from repofs.model import Identity, Original
from repofs.repository import stand_ins, transfers
from repofs.repository.checksum import checksum
from repofs.repository.marks import ORIGINAL_BIT, Target, despite_mode
from repofs.repository.trees import Cursor, exists, opened

_BACKUP = "restore it from a backup to this place, and it gets its mark by fsck"


class Mending:
    """For one repository, of which no daemon runs."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._marks = subject.marks

    def mark(self, file: KeptFile) -> None:
        """Write the mark of an original whose bytes are those that were imported."""
        with reached(self._subject, file) as path:
            if _in_place(file):
                _require_no_bytes(path)
            else:
                _require_bytes(path, file)
            self._marks.write(path, file.mark())
            os.chmod(path, stat.S_IMODE(os.stat(path).st_mode) | ORIGINAL_BIT)
            _sync(path)

    def origin(self, file: KeptFile) -> None:
        """Write on a stand-in where its bytes are."""
        assert file.held.origin is not None
        with reached(self._subject, file) as path:
            _require_no_bytes(path)
            self._marks.write_origin(path, file.held.origin)
            _sync(path)

    def follow(self, file: KeptFile) -> None:
        """Have the row say what the mark says of how the original was found: that is written first."""
        with reached(self._subject, file) as path:
            mark = self._marks.read(path)
        if isinstance(mark, Original):
            self._subject.write(verification.record, [Found(file.held.original_id, mark.stands)])

    def give(self, fileset: Kept, path: bytes) -> None:
        """Give what lies at *path*, below the mount, to the owner and the group of *fileset*."""
        os.chown(self._subject.path(path), self._owner(fileset), fileset.gid, follow_symlinks=False)

    # --- what is not there -----------------------------------------------------------------------

    def bring_back(self, file: KeptFile, other_name: bytes | None = None) -> None:
        """Link an original back from where it was dropped, or make the stand-in of one in place anew.

        *other_name*: an absolute path where a file was found that bears its mark.
        """
        dropped = other_name or self._subject.path(file.held.dropped)
        if self._is_it(dropped, file):
            with self._place(file) as directory:
                os.link(dropped, os.path.basename(file.name), dst_dir_fd=directory, follow_symlinks=False)
                os.fsync(directory)
            self.follow(file)
        elif _in_place(file):
            self._stand_in(file)
        else:
            raise Irreparable(f"no other name of it is left where it was dropped: {_BACKUP}")

    def _is_it(self, path: bytes, file: KeptFile) -> bool:
        """Whether the file at *path* is the original *file*, by its mark and its bytes."""
        try:
            if not stat.S_ISREG(os.stat(path, follow_symlinks=False).st_mode):
                return False
            mark = self._marks.read(path)
            if not isinstance(mark, Original) or mark.original != file.held.original_id:
                return False
            if not _in_place(file):
                _require_bytes(path, file)
        except (FileNotFoundError, NotADirectoryError, Irreparable):
            return False
        return True

    def _stand_in(self, file: KeptFile) -> None:
        origin, name = file.held.origin, os.path.basename(file.name)
        assert origin is not None
        gid, actor = file.fileset.gid, file.fileset.actor_uid
        with self._place(file) as directory:
            uid = self._owner(file.fileset)
            try:
                stand_ins.make(directory, name, origin, uid=uid, gid=gid, actor_uid=actor, marks=self._marks)
            except FileExistsError as error:
                raise Irreparable("something else is in its place: move that away") from error
            os.fsync(directory)
        self.mark(file)
        if transfers.named(origin.transfer).linked:
            self.link_behind(file)

    @contextmanager
    def _place(self, file: KeptFile) -> Iterator[int]:
        """Lend a descriptor of the directory that *file* belongs in; what is missing of it is made."""
        above = file.fileset.import_directory.split(b"/")
        way = [*above, *file.name.split(b"/")[:-1]]
        try:
            uid = self._owner(file.fileset)
        except FileNotFoundError as error:
            raise Irreparable("its user directory is not there: make it by repofs user add") from error
        user = self._subject.path(file.fileset.user_directory)
        with opened(user) as fd, Cursor(b".", dir_fd=fd) as cursor:
            for name in way:
                missing = not exists(name, dir_fd=cursor.fd)
                if missing:
                    os.mkdir(name, 0o700, dir_fd=cursor.fd)
                cursor.down(name)
                if missing and os.geteuid() == 0:
                    os.fchown(cursor.fd, uid, file.fileset.gid if len(cursor.names) >= len(above) else -1)
            yield cursor.fd

    # --- the bytes behind a stand-in -------------------------------------------------------------

    def link_behind(self, file: KeptFile) -> None:
        """Make the hard link behind a stand-in again, from whatever name its file has."""
        assert file.held.origin is not None
        linked = os.fsencode(self._subject.layout.linked)
        with reached(self._subject, file) as path, _reading(path) as stand_in, self._bytes(file) as source:
            if checksum(source, file.held.algorithm) != file.held.checksum:
                raise Irreparable("its source has other bytes than were imported")
            self._subject.stand_ins.append(os.fstat(stand_in).st_ino)  # it may be new
            with opened(linked) as directory:
                transfers.named(file.held.origin.transfer).bring(source, stand_in, directory)
                os.fsync(directory)

    @contextmanager
    def _bytes(self, file: KeptFile) -> Iterator[int]:
        """Lend a descriptor of what the stand-in stands for: another link of the repository's, or its source."""
        origin = file.held.origin
        assert origin is not None
        wanted = origin.identity
        link = self._link_of(file, wanted)
        if link is not None:
            with _reading(link) as fd:
                yield fd
            return
        try:
            found = self._subject.sources.open(origin, altered_too=True)
        except RepofsError as error:
            raise Irreparable(f"its bytes cannot be found: {error}") from error
        with found:
            yield found.fd

    def _link_of(self, file: KeptFile, wanted: Identity) -> bytes | None:
        """Return the hard link with the bytes of *file*: by its inode, or in a repository that was copied, where each
        has another, by size, time and checksum."""
        with os.scandir(os.fsencode(self._subject.layout.linked)) as links:
            all_of_size = [
                (link.path, status)
                for link in links
                if (status := link.stat(follow_symlinks=False)).st_size == wanted.size
            ]
        for path, status in sorted(all_of_size, key=lambda one: one[1].st_ino != wanted.inode):
            same = status.st_ino == wanted.inode or nearest(status.st_mtime_ns) == nearest(wanted.mtime_ns)
            if same and _has_bytes(path, file):
                return path
        return None

    def _owner(self, fileset: Kept) -> int:
        return self._subject.owner(fileset.user_directory)


def _in_place(file: KeptFile) -> bool:
    return file.held.origin is not None and transfers.named(file.held.origin.transfer).in_place


@contextmanager
def _reading(path: bytes) -> Iterator[int]:
    def opening(_: Target) -> int:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    try:
        fd = opening(path)
    except PermissionError as error:
        fd = despite_mode(path, opening, error)
    try:
        yield fd
    finally:
        os.close(fd)


def _has_bytes(path: bytes, file: KeptFile) -> bool:
    with _reading(path) as fd:
        return os.fstat(fd).st_size == file.held.size and checksum(fd, file.held.algorithm) == file.held.checksum


def _require_bytes(path: bytes, file: KeptFile) -> None:
    """Raise Irreparable when the file at *path* has not the bytes that were imported."""
    if not _has_bytes(path, file):
        raise Irreparable("its bytes are not those that were imported: restore it from a backup")


def _require_no_bytes(path: bytes) -> None:
    """Raise Irreparable when what should be a stand-in has bytes of its own."""
    with _reading(path) as fd:
        try:
            os.lseek(fd, 0, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            return
    raise Irreparable("it has bytes of its own, and should be a stand-in: move it away, and it is made anew")


def _sync(path: bytes) -> None:
    with _reading(path) as fd:
        os.fsync(fd)
