"""The bytes of one file on their way in: brought from where they are, hashed where they will be. Blocking; in threads.

a file of its own bytes      hashed
a stand-in, copied           copied from the source, hashed, and the source hashed too: both must agree
a stand-in, in place         the source is hashed, where it stays
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from repofs.errors import Busy, ChangedWhileReading, InvalidValue, NotFound, RepofsError, on_the_store
from repofs.importer.ahead import Ahead
from repofs.lifecycle import State
from repofs.model import Closed, Identity, Origin
from repofs.repository import as_user, stand_ins, transfers
from repofs.repository.checksum import Checksum, checksum
from repofs.repository.durable import begin_to_write
from repofs.repository.marks import Marks
from repofs.repository.outside import Opened, Root, identity_of, is_same, open_beneath
from repofs.repository.room import Room
from repofs.repository.sources import OriginLost, Sources
from repofs.repository.trees import opened

SMALL_BYTES = 1 << 20  # larger files are synced alone, so that the sync that many share does not wait for them
_NO_LEASES = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOLCK)


@dataclass(frozen=True, slots=True)
class Brought:
    """A file whose bytes are where they will be."""

    size: int
    mtime_ns: int
    checksum: str
    origin: Origin | None  # of a stand-in, its identity as it is now
    ahead: int = 0  # bytes that were hashed while it was written


class Bringing:
    """For the imports of one repository. A *root* is that of origins without a source: a directory handed over.
    Copies leave the reserve of *room* free; some files are hashed *ahead* of it."""

    def __init__(
        self, marks: Marks, sources: Sources, linked: str, room: Room | None = None, ahead: Ahead | None = None
    ) -> None:
        self.marks = marks
        self._ahead = ahead
        self._sources = sources
        self._linked = linked
        self._room = room

    def bring(
        self, fd: int, algorithm: str, root: Root | None = None, *, compare: bool = True, in_order: bool = False
    ) -> Brought:
        """Bring in and hash the file of *fd*; *compare* a copy with its source. May be done again. *in_order*: it was
        written from its beginning to its end, nothing twice, so that what was hashed ahead counts.

        Raises ChangedWhileReading when somebody writes it (a stand-in then stands for what it has become), OriginLost,
        CannotTransfer, OSError.
        """
        origin = self.marks.origin(fd)
        if origin is None:
            begun = None if self._ahead is None else self._ahead.take(fd, algorithm)
            running = begun if begun is not None and in_order else Checksum(algorithm)
            ahead = running.offset
            status = _read_whole(fd, running)
            return Brought(status.st_size, status.st_mtime_ns, str(running), None, ahead)
        mtime_ns = stand_ins.mtime_ns(fd, origin, self.marks)
        with self._source(fd, origin, root) as source, opened(self._linked) as linked:
            identity, digest = self._transfer(fd, origin, source, linked, algorithm, compare)
            stand_ins.resemble(fd, identity.size, mtime_ns)
        if identity != origin.identity:  # a hard link has changed its ctime
            origin = replace(origin, identity=identity)
            self.marks.write_origin(fd, origin)
        return Brought(identity.size, mtime_ns, digest, origin)

    def _transfer(
        self, fd: int, origin: Origin, source: Opened, linked: int, algorithm: str, compare: bool
    ) -> tuple[Identity, str]:
        transfer = transfers.named(origin.transfer)
        transfer.check(source.fd, linked)
        require_no_writer(source.fd)
        if self._room is not None and not transfer.in_place:
            self._room.take(os.fstat(source.fd).st_size)
        transfer.bring(source.fd, fd, linked)
        digest = checksum(source.fd if transfer.in_place else fd, algorithm)
        if compare and not transfer.in_place and checksum(source.fd, algorithm) != digest:
            raise RepofsError("the copy is not the same as its source (checksum mismatch): have the disk looked at")
        require_no_writer(source.fd)
        identity = identity_of(source.fd)
        if not is_same(identity, source.identity):
            raise ChangedWhileReading("its source was changed while it was read: it is imported when it is quiet")
        if not transfer.in_place and os.fstat(fd).st_size != identity.size:
            raise InvalidValue("it has not as many bytes as it says: what the kernel makes up cannot be imported")
        return identity, digest

    def take_back(self, fd: int) -> None:
        """Undo `bring` of a file that is no original: nothing of a stand-in's bytes stays in the repository."""
        origin = self.marks.origin(fd)
        if origin is not None:
            with opened(self._linked) as linked:
                stand_ins.take_back(fd, origin, linked)
            stand_ins.resemble(fd, origin.identity.size, stand_ins.mtime_ns(fd, origin, self.marks))

    @contextmanager
    def bytes_of(self, fd: int, root: Root | None = None) -> Iterator[int]:
        """Lend a descriptor of the bytes of *fd*, which may be *fd* itself. Raises OriginLost."""
        origin = stand_ins.bytes_elsewhere(fd, self.marks)
        if origin is None:
            yield fd
            return
        link = self._link(fd, origin)
        if link is None:
            with self._open(origin, root) as source:
                yield source.fd
            return
        try:
            yield link
        finally:
            os.close(link)

    def _link(self, fd: int, origin: Origin) -> int | None:
        """Return a descriptor of the hard link that keeps the bytes of the stand-in *fd*; None: the source has them."""
        if not transfers.named(origin.transfer).linked:
            return None
        try:
            return transfers.open_link(os.fsencode(self._linked), os.fstat(fd).st_ino)
        except FileNotFoundError:
            return None  # not imported yet

    @contextmanager
    def _source(self, fd: int, origin: Origin, root: Root | None) -> Iterator[Opened]:
        """Lend the source of the stand-in *fd*, as it was when that was made or last renewed.

        Raises ChangedWhileReading when it has been written since; OriginLost when it is another file by now: nobody
        has looked whether who asked for it may read that.
        """
        try:
            source = self._open(origin, root, altered_too=True)
        except Busy as error:
            raise ChangedWhileReading(f"{error}: it is imported when it is quiet") from None
        with source:
            if not is_same(source.identity, origin.identity):
                if (source.identity.inode, source.identity.handle) != (origin.identity.inode, origin.identity.handle):
                    raise OriginLost(State.MISSING, f"{origin.path!r} is another file by now: link or import it again")
                self._require_readable(fd, origin, root)
                stand_ins.renew(fd, origin, source.identity, self.marks)
                raise ChangedWhileReading("its source was changed: it is imported when it is quiet")
            yield source

    def _require_readable(self, fd: int, origin: Origin, root: Root | None) -> None:
        """Refuse (AccessDenied) bytes written since who asked for the stand-in *fd* could read the file no more."""
        mark = self.marks.read(fd)
        if not isinstance(mark, Closed) or mark.actor_uid is None:
            return
        who = as_user.by_account(mark.actor_uid)
        if root is not None and not origin.source:
            open_beneath(root, _below(root, origin), who).close()
            return
        with self._sources.root(origin.source) as source:
            open_beneath(source, os.fsencode(origin.path), who).close()

    def _open(self, origin: Origin, root: Root | None, *, altered_too: bool = False) -> Opened:
        if origin.source:
            return self._sources.open(origin, altered_too=altered_too)
        if root is None:
            raise OriginLost(
                State.MISSING, "who imported it has gone, and it lies in no declared source: import it again"
            )
        try:
            return open_beneath(root, _below(root, origin), None)
        except NotFound as error:
            raise OriginLost(State.MISSING, str(error)) from error


def _below(given: Root, origin: Origin) -> bytes:
    """Return the path below a directory that was handed over of what is known by its absolute path."""
    return os.path.relpath(os.fsencode(origin.path), os.fsencode(given.path))


def require_no_writer(fd: int) -> None:
    """Ask the kernel for a read lease, which it grants only if nobody has the file open (or mapped) for writing."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise ChangedWhileReading("it is open for writing: it is imported when it is closed") from None
        if error.errno not in _NO_LEASES:  # a file system that knows none: size and times must do
            raise
    else:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def _read_whole(fd: int, running: Checksum) -> os.stat_result:
    """Take what *running* lacks of the file of *fd* into it; return the status of the file, which is durable then."""
    before = os.fstat(fd)
    if before.st_size > SMALL_BYTES:
        begin_to_write(fd)  # while it is hashed
    running.read_on(fd)
    if before.st_size > SMALL_BYTES:
        with on_the_store("fsync"):
            os.fsync(fd)
    require_no_writer(fd)
    after = os.fstat(fd)
    if _version(before) != _version(after):
        raise ChangedWhileReading("the file was changed while it was read: it is imported when it is quiet")
    return after


def _version(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns
