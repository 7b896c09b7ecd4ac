"""Making an import directory so that at any moment it is either whole and in its place, or not there.

    .staging/7/          the files of import 7, as hard links, under their names
    .staging/7.log       its log; an attribute on it says where it is being published, "alice_2/2026-11/22/21-15-03.123"

`stage` and `write_log` make these, `publish` links the log to its place and renames the directory beside it. The
staged name of the log stays until `finish`: a published log that is the same inode is how `undo`, be it after a
crash, tells what this import has put there from what another did. After a crash: `finish` each of `staged` that the
catalogue calls imported, `undo` all others.

Making inodes is what costs (ext4: 50 to 100 µs each), so there are no more than what stays.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from repofs.errors import AlreadyExists, InvalidName
from repofs.fault_points import Step, passed
from repofs.model import ImportId
from repofs.repository.durable import own, rename_no_replace, write_new
from repofs.repository.layout import Layout
from repofs.repository.marks import Target, despite_mode
from repofs.repository.trees import Cursor, bottom_up, exists, files_of, opened, remove_empty, remove_links
from repofs.xattrs import PREFIX

_PLACE = PREFIX + b"place"

Flush = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file to be linked: a descriptor of it, and its name below the import directory, ``a.zarr/0/0.0``."""

    fd: int
    name: bytes


@dataclass(frozen=True, slots=True)
class _Staging:
    """The names of one import in the directory of descriptor *fd*."""

    fd: int
    directory: bytes
    log: bytes
    parent: bytes  # a directory above the import directory, being made


@contextmanager
def _staging(layout: Layout, import_id: ImportId) -> Iterator[_Staging]:
    with opened(layout.staging) as fd:
        yield _Staging(fd, b"%d" % import_id, b"%d.log" % import_id, b"%d.parent" % import_id)


def stage(layout: Layout, import_id: ImportId, files: Iterable[StagedFile]) -> None:
    """Link *files* into a new staging directory; each descriptor may be closed when the next is asked for.

    Raises InvalidName for a name that leads elsewhere, OSError (FileNotFoundError when a file has no name left).
    """
    with _staging(layout, import_id) as staging:
        os.mkdir(staging.directory, 0o700, dir_fd=staging.fd)
        with Cursor(staging.directory, dir_fd=staging.fd) as cursor:
            for file in files:
                *way, name = _components(file.name)
                cursor.make_way(way)
                os.link(f"/proc/self/fd/{file.fd}", name, dst_dir_fd=cursor.fd, follow_symlinks=True)
                passed(Step.FILE_STAGED)


def write_log(layout: Layout, import_id: ImportId, text: bytes) -> None:
    """Write the log of a staged import; `publish` makes it durable. FileExistsError when it has one."""
    with (layout.staging / f"{import_id}.log").open("xb") as file:
        file.write(text)


def publish(
    layout: Layout,
    import_id: ImportId,
    user_directory: bytes,
    gid: int,
    name_for: Callable[[int], bytes],
    *,
    durable: bool = True,
) -> bytes:
    """Move the staged directory to ``name_for(0)`` below the user directory, or ``name_for(1)``… until one is free.

    A name is free when neither it nor its log is there. What is made belongs to the user directory's owner and to the
    group *gid*; but missing directories above it are of no group, because those below them may be of several.
    Returns the name; all is durable then, or, with *durable* off, after `Disk.sync`.
    Raises AlreadyExists when *name_for* has no other name to offer, InvalidName for one that leads elsewhere, OSError.
    """
    flush = os.fsync if durable else _leave
    with _staging(layout, import_id) as staging, opened(_user(layout, user_directory)) as user:
        uid = os.fstat(user).st_uid
        for fd in bottom_up(staging.directory, dir_fd=staging.fd):
            own(fd, uid, gid, 0o700)
            flush(fd)
        taken = None
        for attempt in itertools.count():
            name = name_for(attempt)
            if name == taken:
                raise AlreadyExists(f"{os.fsdecode(name)} is taken: the template needs %time% or %increment%")
            path = _components(name)
            _note(staging, user_directory + b"/" + name, uid, gid, flush)
            if _take(staging, user, path, flush):
                break
            taken = name
    return name


def finish(layout: Layout, import_id: ImportId) -> None:
    """Forget how to undo a published import: its row is committed. May run again at any time."""
    with _staging(layout, import_id) as staging:
        _clear(staging)


def undo(layout: Layout, import_id: ImportId) -> None:
    """Remove whatever `stage`, `write_log` and `publish` have made for this import, however far they got.

    The last name of an inode is never removed: it stays where it is, with a warning. May run again at any time.
    """
    with _staging(layout, import_id) as staging:
        if place := _noted(layout, staging):
            user_directory, *path = place.split(b"/")
            with suppress(FileNotFoundError), opened(_user(layout, user_directory)) as user:
                _withdraw(staging, user, path)
        passed(Step.WITHDRAWN)
        remove_links(staging.directory, dir_fd=staging.fd)
        passed(Step.UNLINKED)
        _clear(staging)
        passed(Step.UNDONE)


def linked(layout: Layout, import_id: ImportId) -> Iterator[int]:
    """Yield a descriptor of each file of a staged or published import, lent until the next; for use before `undo`."""
    with _staging(layout, import_id) as staging:
        if exists(staging.directory, dir_fd=staging.fd):
            yield from files_of(staging.directory, dir_fd=staging.fd)
        elif place := _noted(layout, staging):
            *way, name = place.split(b"/")
            with suppress(FileNotFoundError, NotADirectoryError), Cursor(layout.managed, dir_fd=staging.fd) as parent:
                for component in way:
                    parent.down(component)
                if _is_ours(staging, parent.fd, name):
                    yield from files_of(name, dir_fd=parent.fd)


def staged(layout: Layout) -> set[ImportId]:
    """Return the imports between `stage` and `finish` or `undo`, and those of which a last name is kept."""
    with os.scandir(layout.staging) as entries:
        names = (entry.name.partition(".")[0] for entry in entries)
        return {ImportId(int(name)) for name in names if name.isdecimal()}  # the mount makes its links here, too


def write_lost_log(layout: Layout, user_directory: bytes, name: bytes, gid: int, text: bytes) -> None:
    """Write a log for the published import directory *name*, in place of one that was lost. FileExistsError."""
    *way, last = _components(name)
    with opened(_user(layout, user_directory)) as user, Cursor(b".", dir_fd=user) as parent:
        for component in way:
            parent.down(component)
        write_new(last + b".log", text, 0o600, dir_fd=parent.fd)
        log = os.open(last + b".log", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent.fd)
        try:
            os.setxattr(log, _PLACE, user_directory + b"/" + name)
            own(log, os.fstat(user).st_uid, gid, 0o400)
        finally:
            os.close(log)
        os.fsync(parent.fd)


def place_of(log: Target) -> bytes | None:
    """Return which import directory, below its user directory, the file *log* is the log of; None: of none."""
    try:
        place = os.getxattr(log, _PLACE, follow_symlinks=isinstance(log, int))
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EPERM, errno.ENOENT):  # EPERM, ENOENT: a symlink; it has gone
            raise
        return None
    return place.partition(b"/")[2]


def _leave(_: int) -> None:
    """Stand in for os.fsync."""


def _user(layout: Layout, user_directory: bytes) -> bytes:
    return os.path.join(os.fsencode(layout.managed), user_directory)


def _components(name: bytes) -> list[bytes]:
    components = name.split(b"/")
    if any(component in (b"", b".", b"..") for component in components):
        raise InvalidName(f"{os.fsdecode(name)!r} is no path below a directory")
    return components


def _note(staging: _Staging, place: bytes, uid: int, gid: int, flush: Flush) -> None:
    """Note on the log that *place* is about to be made: parents, log and directory.

    Whatever was noted before came to nothing. The log's first fsync makes its name durable too.
    """
    log = os.open(staging.log, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=staging.fd)
    try:
        os.fchmod(log, 0o600)  # an ordinary user sets attributes only where he may write
        os.setxattr(log, _PLACE, place)
        own(log, uid, gid, 0o400)
        flush(log)
    finally:
        os.close(log)


def _noted(layout: Layout, staging: _Staging) -> bytes | None:
    """Return what `_note` noted last; None before its first time, or when the log is gone."""
    try:
        return os.getxattr(os.path.join(os.fsencode(layout.staging), staging.log), _PLACE)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODATA):
            raise
        return None


def _take(staging: _Staging, user: int, path: list[bytes], flush: Flush) -> bool:
    """Publish as *path* below the directory *user* and return True, or return False when that is not free."""
    while True:
        try:
            with Cursor(b".", dir_fd=user) as parent:
                for name in path[:-1]:
                    if not exists(name, dir_fd=parent.fd):
                        _make_parent(staging, parent.fd, name, os.fstat(user).st_uid, flush)
                    parent.down(name)
                return _put(staging, parent.fd, path[-1], flush)
        except FileNotFoundError:
            # An undo found the parent empty and took it away just now. Anything else that is missing is an error.
            staged = exists(staging.directory, dir_fd=staging.fd) and exists(staging.log, dir_fd=staging.fd)
            if not staged or os.fstat(user).st_nlink == 0:
                raise


def _make_parent(staging: _Staging, parent: int, name: bytes, uid: int, flush: Flush) -> None:
    """Make the directory *name* in *parent*, seen by nobody before it has its owner."""
    os.mkdir(staging.parent, 0o700, dir_fd=staging.fd)
    try:
        with opened(staging.parent, dir_fd=staging.fd) as fd:
            own(fd, uid, os.getegid(), 0o700)
        rename_no_replace(staging.parent, name, old_dir_fd=staging.fd, new_dir_fd=parent)
    except FileExistsError:
        os.rmdir(staging.parent, dir_fd=staging.fd)  # another import was first
    except OSError:
        os.rmdir(staging.parent, dir_fd=staging.fd)
        raise
    flush(parent)


def _put(staging: _Staging, parent: int, name: bytes, flush: Flush) -> bool:
    log = name + b".log"
    if exists(name, dir_fd=parent):
        return False
    try:
        os.link(staging.log, log, src_dir_fd=staging.fd, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        return False
    passed(Step.LOG_LINKED)
    try:
        rename_no_replace(staging.directory, name, old_dir_fd=staging.fd, new_dir_fd=parent)
    except FileExistsError:
        os.unlink(log, dir_fd=parent)
        return False
    passed(Step.PUBLISHED)
    flush(parent)
    return True


def _withdraw(staging: _Staging, top: int, path: list[bytes]) -> None:
    """Remove what this import has put at *path* below the directory *top*, and the parents that are empty then.

    What is missing was never made or is removed already; where something else is in the way there is nothing of ours.
    """
    name, *rest = path
    with suppress(FileNotFoundError, NotADirectoryError):
        if rest:
            with opened(name, dir_fd=top) as fd:
                _withdraw(staging, fd, rest)
            remove_empty(name, dir_fd=top)
            return
        if _is_ours(staging, top, name):
            if not exists(staging.directory, dir_fd=staging.fd):
                remove_links(name, dir_fd=top)
            os.unlink(name + b".log", dir_fd=top)


def _is_ours(staging: _Staging, parent: int, name: bytes) -> bool:
    """Return whether the log of *name* is this import's; FileNotFoundError when it has none."""
    published = os.stat(name + b".log", dir_fd=parent, follow_symlinks=False)
    return os.path.samestat(published, os.stat(staging.log, dir_fd=staging.fd, follow_symlinks=False))


def _clear(staging: _Staging) -> None:
    with suppress(FileNotFoundError):
        os.unlink(staging.log, dir_fd=staging.fd)
    remove_empty(staging.parent, dir_fd=staging.fd)


def give(layout: Layout, user_directory: bytes, name: bytes, gid: int, record: bytes) -> None:
    """Give the published import directory *name*, all that is in it and its log to the group *gid*.

    *record* is added to the log. May run again. It is durable after `sync`.
    """
    way = _components(name)
    with opened(_user(layout, user_directory)) as user, Cursor(b".", dir_fd=user) as parent:
        for component in way[:-1]:
            parent.down(component)
        for directory in bottom_up(way[-1], dir_fd=parent.fd):
            os.fchown(directory, -1, gid)
        for file in files_of(way[-1], dir_fd=parent.fd):
            os.fchown(file, -1, gid)
        log = b"/proc/self/fd/%d/%s.log" % (parent.fd, way[-1])
        os.chown(log, -1, gid, follow_symlinks=False)
        append(log, record)


def append(log: bytes, lines: bytes) -> None:
    """Add whole *lines* to a log that may have been cut off in the middle of one; not durable."""

    def write(log: Target) -> None:
        with open(log, "ab+", buffering=0) as file:
            end = file.tell()
            cut = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
            file.write(b"\n" * cut + lines)

    try:
        write(log)
    except PermissionError as error:
        despite_mode(log, write, error)
