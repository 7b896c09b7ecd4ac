"""Stand-ins: what lies in the backing tree for a file from outside (`docs/decisions/0010`).

A sparse file of the origin's size and times. It bears name, owner, mark and attributes as any drop does, and the
attribute that says where the bytes are. Until it has that attribute it has no name that anybody sees.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace

from repofs.errors import InvalidValue
from repofs.model import Closed, Identity, Mark, Origin, Original, Refused
from repofs.repository import transfers
from repofs.repository.marks import Marks, Target
from repofs.repository.outside import identity_of, is_same_inode

_MODE = 0o600
_LONG_BYTES = 1024  # a path that may be more than the attributes of an inode have room for, 4 KiB on ext4


def make(directory: int, name: bytes, origin: Origin, *, uid: int, gid: int, actor_uid: int, marks: Marks) -> None:
    """Make a stand-in for *origin* as *name* in the directory of descriptor *directory*: a drop of *actor_uid* that is
    closed. It belongs to *uid* and *gid* where the daemon can give it away.

    Raises FileExistsError; OSError, ENOSPC also when path and identity are longer than the inode has room for.
    """
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE, dir_fd=directory)
    try:
        _keep_origin(fd, origin, marks)
        if os.geteuid() == 0:
            os.fchown(fd, uid, gid)
        resemble(fd, origin.identity.size, origin.identity.mtime_ns)
        marks.write(fd, Closed(origin.identity.size, origin.identity.mtime_ns, actor_uid))
    except BaseException:
        os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(fd)


def _keep_origin(fd: int, origin: Origin, marks: Marks) -> None:
    try:
        marks.write_origin(fd, origin)
    except OSError as error:
        if error.errno != errno.ENOSPC or len(os.fsencode(origin.path)) < _LONG_BYTES:
            raise
        raise InvalidValue(
            "its path is too long to be kept with the file: move it, or declare a source nearer to it"
        ) from error


def renew(fd: int, origin: Origin, identity: Identity, marks: Marks) -> None:
    """Let the stand-in *fd* stand for what its origin has become; it is a drop that is closed as before."""
    mark = marks.read(fd)
    marks.write_origin(fd, replace(origin, identity=identity))
    resemble(fd, identity.size, identity.mtime_ns)
    marks.write(fd, Closed(identity.size, identity.mtime_ns, mark.actor_uid if isinstance(mark, Closed) else None))


def bytes_elsewhere(fd: Target, marks: Marks) -> Origin | None:
    """Return the origin of *fd* when that is where its bytes are; None for a file that has its own."""
    origin = marks.origin(fd)
    return origin if origin is not None and is_elsewhere(origin, marks.read(fd)) else None


def is_elsewhere(origin: Origin, mark: Mark | None) -> bool:
    """Whether the bytes of a file with this *origin* and *mark* are there: of all but an original that was copied."""
    return not isinstance(mark, Original) or transfers.named(origin.transfer).in_place


def take_back(fd: int, origin: Origin, linked: int) -> None:
    """Undo `transfers.Transfer.bring` for the stand-in *fd*.

    In a repository that was copied inodes have other numbers, and the hard link of that name may be another file's last
    one: it stays.
    """
    transfer = transfers.named(origin.transfer)
    if transfer.linked:
        try:
            link = os.open(transfers.link_name(fd), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=linked)
        except FileNotFoundError:
            return
        try:
            if not is_same_inode(identity_of(link), origin.identity):
                return
        finally:
            os.close(link)
    transfer.take_back(fd, linked)


def mtime_ns(fd: int, origin: Origin, marks: Marks) -> int:
    """Return the mtime of the stand-in *fd*: its origin's, or what its owner has set; copying touches the inode's."""
    mark = marks.read(fd)
    return mark.mtime_ns if isinstance(mark, (Closed, Refused)) else origin.identity.mtime_ns


def resemble(fd: int, size: int, mtime_ns: int) -> None:
    """Give the stand-in *fd* this size and these times."""
    target = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(target, size)
        os.utime(target, ns=(mtime_ns, mtime_ns))
    finally:
        os.close(target)
