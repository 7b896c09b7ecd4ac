"""The files of a drop: opened beneath its descriptor, examined, marked. Blocking; run in threads.

The drop is sealed: nobody changes it through the mount. What a descriptor, a mapping or a hard link from outside
still does to the bytes is found out here. Where the bytes are is `bringing`'s to know.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

from repofs.errors import ChangedWhileReading, InvalidValue
from repofs.fault_points import Step, passed
from repofs.importer.bringing import Bringing, require_no_writer
from repofs.lifecycle import State
from repofs.model import Closed, Drop, Identity, Mark, Origin, Original, Refused, Skip
from repofs.quotas import Held, counted
from repofs.repository import openat2
from repofs.repository.marks import ORIGINAL_BIT, Marks
from repofs.repository.outside import Root
from repofs.repository.trees import walk

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Examined:
    """One file of a drop, its bytes hashed."""

    path: bytes  # as dropped, below the user directory
    name: bytes  # below the import directory
    size: int
    mtime_ns: int
    checksum: str
    origin: Origin | None  # of a file from outside
    inode: int
    gid: int  # of the file as it was dropped
    ahead: int = 0  # bytes that were hashed while it was written


def opened(drop: Drop, fd: int) -> Generator[tuple[bytes, int], None, None]:
    """Yield the name below the drop's own directory and a descriptor of each regular file of *drop*, in order of name.

    The descriptor is closed when the next is asked for; that of a file that is the drop is *fd* itself.
    """
    name = os.path.basename(drop.path)
    if drop.is_one_file:
        yield name, fd
    elif drop.is_directory:
        yield from _in_directory(name, fd)
    else:
        yield from _members(drop.members or (), fd)


def _members(names: Sequence[bytes], directory_fd: int) -> Generator[tuple[bytes, int], None, None]:
    for name in names:
        file = openat2.beneath(directory_fd, name, _OPEN)
        try:
            yield name, file
        finally:
            os.close(file)


def _in_directory(name: bytes, fd: int) -> Generator[tuple[bytes, int], None, None]:
    for directory, _, names, directory_fd in walk(fd):
        for entry in names:
            if not stat.S_ISREG(os.stat(entry, dir_fd=directory_fd, follow_symlinks=False).st_mode):
                continue
            file = os.open(entry, _OPEN, dir_fd=directory_fd)
            try:
                yield os.path.join(name, directory, entry), file
            finally:
                os.close(file)


def origin(drop: Drop, fd: int, marks: Marks) -> Origin | None:
    """Return where *drop* comes from, one of many files as its first does; None: it was written into the mount."""
    with closing(opened(drop, fd)) as files:
        first = next(files, None)
        return None if first is None else marks.origin(first[1])


def identity(drop: Drop, fd: int, origin: Origin | None) -> Identity:
    """Return by what *drop* is known if the importer dies with it: the same at each try.

    That of an arrival is its source's: its stand-ins are made anew each time.
    """
    if origin is None or (drop.source is None and drop.is_directory):
        return _own_identity(fd) if drop.is_directory or drop.is_one_file else _identity_of_main(drop, fd)
    return origin.identity


def _identity_of_main(drop: Drop, directory_fd: int) -> Identity:
    main = openat2.beneath(directory_fd, os.path.basename(drop.path), _OPEN)
    try:
        return _own_identity(main)
    finally:
        os.close(main)


def _own_identity(fd: int) -> Identity:
    status = os.fstat(fd)
    return Identity(status.st_dev, status.st_ino, b"", status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def new_ones(drop: Drop, fd: int, marks: Marks) -> Iterator[tuple[bytes, int]]:
    """Yield of the files of *drop* those that are no originals yet: a directory may have been imported before."""
    for name, file in opened(drop, fd):
        if not isinstance(marks.read(file), Original):
            yield name, file


def coming(drop: Drop, fd: int, marks: Marks) -> int:
    """Return how many bytes `examine` will bring into the repository: those of stand-ins that do not stay outside."""
    origins = (marks.origin(file) for _, file in new_ones(drop, fd, marks))
    return sum(counted(origin.identity.size, origin.transfer) for origin in origins if origin is not None)


def changes(drop: Drop, gid: int, examined: Sequence[Examined]) -> list[Held]:
    """Return what changes when the files of *drop* have become originals of the group *gid*."""
    size = sum(counted(one.size, "" if one.origin is None else one.origin.transfer) for one in examined)
    found = [Held(drop.user_directory, gid, originals=size, original_files=len(examined))]
    dropped = [one for one in examined if one.origin is None]
    for before in {one.gid for one in dropped}:
        sizes = [one.size for one in dropped if one.gid == before]
        found.append(Held(drop.user_directory, before, drops=-sum(sizes), drop_files=-len(sizes)))
    return found


def named(drop: Drop, fd: int, names: Container[bytes]) -> Iterator[tuple[bytes, int]]:
    """Yield the files of *drop* that have one of *names*."""
    return ((name, file) for name, file in opened(drop, fd) if name in names)


def examine(
    drop: Drop, fd: int, bringing: Bringing, algorithm: str, groups: Container[int] = (), root: Root | None = None
) -> list[Examined]:
    """Return the new files of *drop*, each brought in and read whole.

    Raises ChangedWhileReading when somebody writes one, InvalidValue when one in a directory was never ended well, has
    two names, or belongs to another of *groups* (gids) than the drop: whoever sees that group would see it; else as
    `bringing` does.
    """
    parent = os.path.dirname(drop.path)
    examined = []
    inodes: dict[int, bytes] = {}
    for name, file in new_ones(drop, fd, bringing.marks):
        if not drop.is_one_file:
            _require_another(name, file, inodes)
            _require_closed(name, file, bringing.marks)
        _require_group(drop, name, file, groups)
        compare, in_order = Skip.CHECKSUM not in drop.policy.skip, os.fstat(file).st_ino in drop.in_order
        brought = bringing.bring(file, algorithm, root, compare=compare, in_order=in_order)
        path = os.path.join(parent, name)
        status = os.fstat(file)
        bytes_in = brought.size, brought.mtime_ns, brought.checksum, brought.origin
        examined.append(Examined(path, name, *bytes_in, status.st_ino, status.st_gid, brought.ahead))
    return examined


def require_unchanged(drop: Drop, before: os.stat_result, examined: Sequence[Examined]) -> None:
    """Raise ChangedWhileReading when the one file of *drop* was another one before it was hashed.

    That of a stand-in is compared with its source when it is brought; many files are sealed by then.
    """
    if not drop.is_one_file or examined[0].origin is not None:
        return
    if (before.st_size, before.st_mtime_ns) != (examined[0].size, examined[0].mtime_ns):
        raise ChangedWhileReading("the file was changed after it was looked at: it is imported when it is quiet")


def _require_closed(name: bytes, fd: int, marks: Marks) -> None:
    mark = marks.read(fd)
    if _incomplete(mark):
        shown = name.decode(errors="backslashreplace")
        reason = mark.error if isinstance(mark, Refused) else "its writer did not end well: write or rename it"
        raise InvalidValue(f"{shown} is incomplete, {reason}, then retry")


def _require_another(name: bytes, fd: int, inodes: dict[int, bytes]) -> None:
    """A file is one original: its mark has place for one."""
    other = inodes.setdefault(os.fstat(fd).st_ino, name)
    if other != name:
        one, two = (each.decode(errors="backslashreplace") for each in (other, name))
        raise InvalidValue(f"{one} and {two} are one file, by a hard link: make a copy of it instead, then retry")


def _require_group(drop: Drop, name: bytes, fd: int, groups: Container[int]) -> None:
    gid = os.fstat(fd).st_gid
    if not drop.is_one_file and gid != drop.gid and gid in groups:
        shown = name.decode(errors="backslashreplace")
        raise InvalidValue(f"{shown} belongs to another group than the rest: chgrp the directory, then retry")


def _incomplete(mark: Mark | None) -> bool:
    return mark is None or (isinstance(mark, Refused) and mark.state is State.INCOMPLETE)


def require_still(fd: int, size: int, mtime_ns: int) -> None:
    """Raise ChangedWhileReading unless the file is as it was when it was hashed, and nobody has it open for writing."""
    require_no_writer(fd)
    status = os.fstat(fd)
    if (status.st_size, status.st_mtime_ns) != (size, mtime_ns):
        raise ChangedWhileReading("the file was changed after it was read: it is imported when it is quiet")


def mark_closed(fd: int, marks: Marks, actor_uid: int | None, size: int | None = None) -> None:
    """Make the file of *fd*, which *actor_uid* had dropped, a drop again, whole as it is; incomplete, when it had
    *size* bytes and has not: the machine went down before they were on the disk."""
    status = os.fstat(fd)
    if size in (None, status.st_size):
        marks.write(fd, Closed(status.st_size, status.st_mtime_ns, actor_uid))
    else:
        marks.clear(fd)
    os.fchmod(fd, stat.S_IMODE(status.st_mode) & ~ORIGINAL_BIT)
    passed(Step.MARK_RESTORED)


def refuse(drop: Drop, fd: int, marks: Marks, state: State, error: str, log: str) -> None:
    """Leave *state* and *error* on each file of the drop; one that is incomplete stays so, an original too."""
    for _, file in new_ones(drop, fd, marks):
        mark = marks.read(file)
        if not drop.is_one_file and _incomplete(mark):
            continue
        status = os.fstat(file)
        marks.write(file, Refused(status.st_size, status.st_mtime_ns, state, error, log))
        passed(Step.REFUSED_MARKED)
