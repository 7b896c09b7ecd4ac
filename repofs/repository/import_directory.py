"""Making an import directory so that at any moment it is either whole and in its place, or not there.

    .staging/N/dir/      the files of import N, as hard links, under their names
    .staging/N/log       its log
    .staging/N/to        symlink: where it is being published, "alice_2/2026-11/22/21-15-03.123"

`stage` and `write_log` fill it, `publish` links the log to its place and renames `dir` beside it. Until `finish`
the staging directory keeps the log and `to`: they are how `undo`, be it after a crash, tells what this import has
put there (a published log that is the same inode) from what another did, and so never touches another's.
After a crash: `finish` each of `staged` that the catalogue calls imported, `undo` all others.
"""

from __future__ import annotations

import itertools
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from repofs.errors import AlreadyExists, InvalidName
from repofs.model import ImportId
from repofs.repository.durable import own, rename_no_replace, sync_filesystem
from repofs.repository.layout import Layout
from repofs.repository.trees import Cursor, bottom_up, exists, opened, remove_empty, remove_links

_DIR, _LOG, _TO, _PARENT = b"dir", b"log", b"to", b"parent"


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file to be linked: a descriptor of it, and its name below the import directory, ``a.zarr/0/0.0``."""

    fd: int
    name: bytes


def stage(layout: Layout, import_id: ImportId, files: Iterable[StagedFile]) -> None:
    """Link *files* into a new staging directory; each descriptor may be closed when the next is asked for.

    Raises InvalidName for a name that leads elsewhere, OSError (FileNotFoundError when a file has no name left).
    """
    directory = layout.staging / str(import_id)
    directory.mkdir(mode=0o700)
    with opened(directory) as staging:
        os.mkdir(_DIR, 0o700, dir_fd=staging)
        with Cursor(_DIR, dir_fd=staging) as cursor:
            for file in files:
                *way, name = _components(file.name)
                cursor.make_way(way)
                os.link(f"/proc/self/fd/{file.fd}", name, dst_dir_fd=cursor.fd, follow_symlinks=True)


def write_log(layout: Layout, import_id: ImportId, text: str) -> None:
    """Write the log of a staged import; `publish` makes it durable. FileExistsError when it has one."""
    path = layout.staging / str(import_id) / os.fsdecode(_LOG)
    with path.open("xb") as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def publish(
    layout: Layout,
    import_id: ImportId,
    user_directory: bytes,
    name_for: Callable[[int], bytes],
    *,
    durable: bool = True,
) -> bytes:
    """Move the staged directory to ``name_for(0)`` below the user directory, or ``name_for(1)``… until one is free.

    A name is free when neither it nor its log is there. Missing parents are made. What is made belongs to the user
    directory's owner and group. Returns the name; all is durable then, or, with *durable* off, after `sync`.
    Raises AlreadyExists when *name_for* has no other name to offer, InvalidName for one that leads elsewhere, OSError.
    """
    flush = os.fsync if durable else _leave
    with opened(layout.staging / str(import_id)) as staging, opened(_user(layout, user_directory)) as user:
        owner = os.fstat(user)
        _own_all(staging, owner, flush)
        taken = None
        for attempt in itertools.count():
            name = name_for(attempt)
            if name == taken:
                raise AlreadyExists(f"{os.fsdecode(name)} is taken: the template needs %time% or %increment%")
            _point(staging, user_directory + b"/" + name)
            if _take(staging, user, _components(name), flush):
                break
            taken = name
    return name


def finish(layout: Layout, import_id: ImportId) -> None:
    """Forget how to undo a published import: its row is committed. May run again at any time."""
    directory = layout.staging / str(import_id)
    if directory.exists():
        with opened(directory) as staging:
            _clear(staging)
        directory.rmdir()


def undo(layout: Layout, import_id: ImportId) -> None:
    """Remove whatever `stage`, `write_log` and `publish` have made for this import, however far they got.

    The last name of an inode is never removed: it stays where it is, with a warning. May run again at any time.
    """
    directory = layout.staging / str(import_id)
    if not directory.exists():
        return
    with opened(directory) as staging:
        if exists(_TO, dir_fd=staging):
            user_directory, *path = os.readlink(_TO, dir_fd=staging).split(b"/")
            with suppress(FileNotFoundError), opened(_user(layout, user_directory)) as user:
                _withdraw(staging, user, path)
        remove_links(_DIR, dir_fd=staging)
        if exists(_DIR, dir_fd=staging):
            return  # it holds a last name
        _clear(staging)
    directory.rmdir()


def staged(layout: Layout) -> list[ImportId]:
    """Return the imports that have a staging directory: between `stage` and `finish` or `undo`."""
    return [ImportId(int(entry.name)) for entry in os.scandir(layout.staging)]


def sync(layout: Layout) -> None:
    """Make everything in the repository durable with one call, for all imports published with *durable* off."""
    with opened(layout.managed) as fd:
        sync_filesystem(fd)


def _leave(_: int) -> None:
    """Stand in for os.fsync."""


def _user(layout: Layout, user_directory: bytes) -> bytes:
    return os.path.join(os.fsencode(layout.managed), user_directory)


def _components(name: bytes) -> list[bytes]:
    components = name.split(b"/")
    if any(component in (b"", b".", b"..") for component in components):
        raise InvalidName(f"{os.fsdecode(name)!r} is no path below a directory")
    return components


def _own_all(staging: int, owner: os.stat_result, flush: Callable[[int], None]) -> None:
    for fd in bottom_up(_DIR, dir_fd=staging):
        own(fd, owner.st_uid, owner.st_gid, 0o755 & owner.st_mode)
        flush(fd)
    log = os.open(_LOG, os.O_RDONLY | os.O_CLOEXEC, dir_fd=staging)
    try:
        own(log, owner.st_uid, owner.st_gid, 0o444 & owner.st_mode)
        flush(log)
    finally:
        os.close(log)


def _point(staging: int, place: bytes) -> None:
    """Note that *place* is about to be made: parents, log and directory. Whatever was noted before came to nothing."""
    with suppress(FileNotFoundError):
        os.unlink(_TO, dir_fd=staging)
    os.symlink(place, _TO, dir_fd=staging)


def _take(staging: int, user: int, path: list[bytes], flush: Callable[[int], None]) -> bool:
    """Publish as *path* below the directory *user* and return True, or return False when that is not free."""
    flush(staging)
    while True:
        try:
            with Cursor(b".", dir_fd=user) as parent:
                for name in path[:-1]:
                    if not exists(name, dir_fd=parent.fd):
                        _make_parent(staging, parent.fd, name, os.fstat(user), flush)
                    parent.down(name)
                return _put(staging, parent.fd, path[-1], flush)
        except FileNotFoundError:
            # An undo found the parent empty and took it away just now. Anything else that is missing is an error.
            if not (exists(_DIR, dir_fd=staging) and exists(_LOG, dir_fd=staging) and os.fstat(user).st_nlink):
                raise


def _make_parent(staging: int, parent: int, name: bytes, owner: os.stat_result, flush: Callable[[int], None]) -> None:
    """Make the directory *name* in *parent*, seen by nobody before it has its owner."""
    os.mkdir(_PARENT, 0o700, dir_fd=staging)
    try:
        with opened(_PARENT, dir_fd=staging) as fd:
            own(fd, owner.st_uid, owner.st_gid, stat.S_IMODE(owner.st_mode))
        rename_no_replace(_PARENT, name, old_dir_fd=staging, new_dir_fd=parent)
    except FileExistsError:
        os.rmdir(_PARENT, dir_fd=staging)  # another import was first
    except OSError:
        os.rmdir(_PARENT, dir_fd=staging)
        raise
    flush(parent)


def _put(staging: int, parent: int, name: bytes, flush: Callable[[int], None]) -> bool:
    log = name + b".log"
    if exists(name, dir_fd=parent):
        return False
    try:
        os.link(_LOG, log, src_dir_fd=staging, dst_dir_fd=parent, follow_symlinks=False)
    except FileExistsError:
        return False
    try:
        rename_no_replace(_DIR, name, old_dir_fd=staging, new_dir_fd=parent)
    except FileExistsError:
        os.unlink(log, dir_fd=parent)
        return False
    flush(parent)
    return True


def _withdraw(staging: int, top: int, path: list[bytes]) -> None:
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
        published = os.stat(name + b".log", dir_fd=top, follow_symlinks=False)
        if os.path.samestat(published, os.stat(_LOG, dir_fd=staging)):
            if not exists(_DIR, dir_fd=staging):
                remove_links(name, dir_fd=top)
            os.unlink(name + b".log", dir_fd=top)


def _clear(staging: int) -> None:
    for name in (_TO, _LOG):
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=staging)
    remove_empty(_PARENT, dir_fd=staging)
