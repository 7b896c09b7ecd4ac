"""The files of deleted filesets: taken out of the tree, put back, removed for good.

    .trash/17/files      the import directory of Fileset:17, renamed
    .trash/17/log        its log
    .trash/17/name       a name on its way out, for a moment

Each of the three may be interrupted anywhere and done again: the catalogue says which of them is under way.
Names in a user directory are anybody's to change meanwhile: each is moved here before it is looked at, so that nobody
else's file is removed in place of ours.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from repofs.disk import Disk
from repofs.errors import NotFound
from repofs.fault_points import Step, passed
from repofs.model import Original
from repofs.repository import openat2, other_names, stand_ins, transfers
from repofs.repository.durable import OPEN_DIRECTORY, rename_no_replace
from repofs.repository.layout import Layout
from repofs.repository.marks import Marks
from repofs.repository.other_names import status_of
from repofs.repository.trees import exists, files_of, lent, opened, remove_all, remove_empty, remove_empty_way, way
from repofs.trash import Name, Place

FILES, LOG, _NAME = b"files", b"log", b"name"
_MOST_BYTES = 255  # of a name
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's are

log = structlog.get_logger(__name__)


class TrashCan:
    """That of one repository. *reserved* matches the names in a user directory that import directories take."""

    def __init__(self, layout: Layout, marks: Marks, reserved: re.Pattern[bytes]) -> None:
        self._layout = layout
        self._marks = marks
        self._reserved = reserved

    # --- looking ---------------------------------------------------------------------------------

    def names_of(self, place: Place, dropped: Sequence[bytes]) -> list[Name]:
        """Return the other names that lead to the files of *place*, be these in the tree or in the trash.

        *dropped* says of each file where it was dropped. Raises NotFound when the user directory has gone.
        """
        with self._user(place) as user, self._files_of(place) as directory:
            statuses = ((number, status_of(directory, name)) for number, name in enumerate(place.files))
            files = {number: status for number, status in statuses if status is not None}
            found = other_names.find(user, files, dropped, place.import_directory, self._reserved)
        return [Name(path, number) for path, number in sorted(found)]

    def frees(self, place: Place) -> int:
        """Return how many bytes are free when the files of *place* are gone: those that nobody else has a name of."""
        with self._files_of(place) as directory:
            total = 0
            for name in place.files:
                with suppress(FileNotFoundError), lent(openat2.beneath(directory, name, os.O_RDONLY)) as fd:
                    total += self._bytes_of(fd)
        return total

    def _bytes_of(self, fd: int) -> int:
        """Return how many bytes only the repository holds of the original *fd*."""
        origin = stand_ins.bytes_elsewhere(fd, self._marks)
        if origin is None:
            return _on_disk(os.fstat(fd))
        if not transfers.named(origin.transfer).linked:
            return 0
        try:
            link = os.stat(self._layout.linked / str(os.fstat(fd).st_ino))
        except FileNotFoundError:
            return 0
        return _on_disk(link) if link.st_nlink == 1 else 0

    # --- out of the tree --------------------------------------------------------------------------

    def take(self, place: Place, names: Sequence[Name]) -> bool:
        """Move the files, the log and the *names* of *place* out of the tree; not durable before `sync`.

        Returns whether no other name is left: somebody may have moved one meanwhile, or it is outside the repository.
        """
        with self._user(place) as user, self._can(place.fileset, make=True) as can:
            self._take_directory(place, user, can)
            passed(Step.TRASHED)
            for name in names:
                self._take_name(place, name, user, can)
        with self._files_of(place) as directory:
            statuses = (status_of(directory, name) for name in place.files)
            return all(status is None or status.st_nlink == 1 for status in statuses)

    def _take_directory(self, place: Place, user: int, can: int) -> None:
        *above, last = place.import_directory.split(b"/")
        with suppress(FileNotFoundError), lent(openat2.beneath(user, _path(above), OPEN_DIRECTORY)) as parent:
            for name, into in ((last, FILES), (last + b".log", LOG)):
                if not exists(into, dir_fd=can):
                    with suppress(FileNotFoundError):  # somebody has removed it behind our back: the rest goes
                        os.rename(name, into, src_dir_fd=parent, dst_dir_fd=can)

    def _take_name(self, place: Place, name: Name, user: int, can: int) -> None:
        """Remove *name* if it leads to its file; of a directory that was dropped also what is empty then."""
        above, last = os.path.split(name.path)
        file = status_of(can, FILES + b"/" + place.files[name.position])
        there = status_of(user, name.path)
        if file is not None and there is not None and os.path.samestat(there, file):
            with suppress(FileNotFoundError), lent(openat2.beneath(user, above or b".", OPEN_DIRECTORY)) as directory:
                os.rename(last, _NAME, src_dir_fd=directory, dst_dir_fd=can)
                if os.path.samestat(os.stat(_NAME, dir_fd=can, follow_symlinks=False), file):
                    os.unlink(_NAME, dir_fd=can)
                    passed(Step.NAME_REMOVED)
                else:  # somebody has put another file there just now
                    rename_no_replace(_NAME, last, old_dir_fd=can, new_dir_fd=directory)
        unit = _unit_of(place, name)
        if unit is not None:
            remove_empty_way(above.split(b"/"), dir_fd=user, keep=unit.count(b"/"))

    def gone(self, place: Place, names: Sequence[Name]) -> list[bytes]:
        """Return what is not there any more, below the mount: the import directory, its log, *names*, and directories
        that had nothing else in them."""
        paths = [place.import_directory, place.import_directory + b".log"]
        with self._user(place) as user:
            for name in names:
                path, unit = name.path, _unit_of(place, name)
                paths.append(path)
                while unit is not None and path != unit and status_of(user, os.path.dirname(path)) is None:
                    path = os.path.dirname(path)
                    paths.append(path)
        return [os.path.join(place.user_directory, path) for path in dict.fromkeys(paths)]

    # --- back into it -----------------------------------------------------------------------------

    def free_places(self, place: Place, names: Sequence[Name]) -> tuple[Place, list[Name], list[str]]:
        """Return where *place* and *names* can be put back, and a sentence for each name that is taken.

        What was dropped as one directory stays one. Raises NotFound when the user directory has gone.
        """
        told: list[str] = []
        roots: dict[bytes, bytes] = {}
        new = []
        with self._user(place) as user:
            directory = _free_beside(user, place.import_directory, log=True)
            for name in names:
                root = _unit_of(place, name) or name.path
                if root not in roots:
                    roots[root] = _free_beside(user, root)
                    if roots[root] != root:
                        told.append(f"{os.fsdecode(root)} is taken: it is {os.fsdecode(roots[root])} now")
                new.append(Name(roots[root] + name.path[len(root) :], name.position))
        if directory != place.import_directory:
            told.append(f"its import directory is {os.fsdecode(directory)} now: the name that it had is taken")
        return replace(place, import_directory=directory), new, told

    def put_back(self, place: Place, names: Sequence[Name], gid: int) -> None:
        """Put files, log and *names* back into the tree; not durable before `sync`. `take` undoes it.

        Directories that are made for names are of the group *gid*. Raises FileExistsError when a name is taken by now,
        other OSErrors.
        """
        with self._user(place) as user, self._can(place.fileset) as can:
            uid = os.fstat(user).st_uid
            for name in names:
                above, last = os.path.split(name.path)
                file = FILES + b"/" + place.files[name.position]
                with way(above, dir_fd=user, uid=uid, gid=gid) as directory:
                    os.link(file, last, src_dir_fd=can, dst_dir_fd=directory, follow_symlinks=False)
                passed(Step.NAME_RESTORED)
            self._mark_anew(place, can)
            above, last = os.path.split(place.import_directory)
            with way(above, dir_fd=user, uid=uid, gid=os.getegid()) as parent:
                with suppress(FileNotFoundError):
                    rename_no_replace(LOG, last + b".log", old_dir_fd=can, new_dir_fd=parent)
                rename_no_replace(FILES, last, old_dir_fd=can, new_dir_fd=parent)
        passed(Step.PUT_BACK)
        self._clear(place.fileset)

    def _mark_anew(self, place: Place, can: int) -> None:
        """Say on each file in which import directory it is now; a restore that failed may have said another."""
        here = os.fsdecode(place.import_directory)
        for fd in files_of(FILES, dir_fd=can):
            mark = self._marks.read(fd)
            if isinstance(mark, Original) and mark.import_directory != here:
                self._marks.write(fd, replace(mark, import_directory=here))

    # --- for good ----------------------------------------------------------------------------------

    def remove(self, fileset: int) -> int:
        """Remove the files of a fileset in the trash for good; return how many bytes are free by that."""
        freed = 0
        with suppress(FileNotFoundError), self._can(fileset) as can:
            if exists(FILES, dir_fd=can):
                with opened(self._layout.linked) as linked:
                    for fd in files_of(FILES, dir_fd=can):
                        freed += self._let_go(fd, linked)
                passed(Step.LET_GO)
                remove_all(FILES, dir_fd=can)
            for name in (LOG, _NAME):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=can)
        self._clear(fileset)
        return freed

    def _let_go(self, fd: int, linked: int) -> int:
        """Let go of what *fd* is a stand-in of; return the bytes that are free when its name has gone, too."""
        freed = self._bytes_of(fd) if os.fstat(fd).st_nlink == 1 else 0
        origin = stand_ins.bytes_elsewhere(fd, self._marks)
        if origin is not None:
            stand_ins.take_back(fd, origin, linked)
        return freed

    def _clear(self, fileset: int) -> None:
        with opened(self._layout.trash) as trash:
            remove_empty(b"%d" % fileset, dir_fd=trash)

    def sync(self) -> None:
        """Make everything durable."""
        with Disk(self._layout.managed) as disk:
            disk.sync()

    # --- ways --------------------------------------------------------------------------------------

    @contextmanager
    def _user(self, place: Place) -> Iterator[int]:
        try:
            fd = os.open(os.path.join(os.fsencode(self._layout.managed), place.user_directory), OPEN_DIRECTORY)
        except FileNotFoundError:
            raise NotFound(f"the directory {os.fsdecode(place.user_directory)} is not there any more") from None
        with lent(fd):
            yield fd

    @contextmanager
    def _can(self, fileset: int, *, make: bool = False) -> Iterator[int]:
        with opened(self._layout.trash) as trash:
            if make:
                with suppress(FileExistsError):
                    os.mkdir(b"%d" % fileset, 0o700, dir_fd=trash)
            with opened(b"%d" % fileset, dir_fd=trash) as can:
                yield can

    @contextmanager
    def _files_of(self, place: Place) -> Iterator[int]:
        """Lend the directory that the files lie in: the trash has it, or the tree. NotFound when neither has."""
        with opened(self._layout.managed) as managed:
            for path in (
                b".trash/%d/%s" % (place.fileset, FILES),
                os.path.join(place.user_directory, place.import_directory),
            ):
                with suppress(FileNotFoundError):
                    fd = openat2.beneath(managed, path, OPEN_DIRECTORY)
                    break
            else:
                raise NotFound(f"the files of Fileset:{place.fileset} are not there: see repofs fsck")
        with lent(fd):
            yield fd


def _path(names: Sequence[bytes]) -> bytes:
    return b"/".join(names) or b"."


def _on_disk(status: os.stat_result) -> int:
    """Return the bytes of a file without its holes."""
    return min(status.st_size, status.st_blocks * _BLOCK_BYTES)


def _unit_of(place: Place, name: Name) -> bytes | None:
    """Return the directory that was dropped and that *name* is a part of; None: it is a name by itself."""
    within = place.files[name.position]
    if not place.is_directory or not (b"/" + name.path).endswith(b"/" + within):
        return None
    return name.path[: len(name.path) - len(within)] + within.split(b"/", 1)[0]


def _free_beside(user: int, path: bytes, *, log: bool = False) -> bytes:
    """Return *path*, or a free name beside it, ``scan.restored.tif``; with *log* that of its log is free, too.

    Where a directory above it was, there may be a file or a link by now: then that is what has another name.
    """
    above, last = os.path.split(path)
    above = _way_beside(user, above)
    number, free = 0, os.path.join(above, last)
    while _is_taken(user, free) or (log and _is_taken(user, free + b".log")):
        number += 1
        free = os.path.join(above, _restored(last, number, whole=log))
    return free


def _way_beside(user: int, above: bytes) -> bytes:
    way = b""
    for name in filter(None, above.split(b"/")):
        way = os.path.join(way, name)
        status = status_of(user, way)
        if _is_taken(user, way) and (status is None or not stat.S_ISDIR(status.st_mode)):
            way = _free_beside(user, way)
    return way


def _restored(name: bytes, number: int, *, whole: bool) -> bytes:
    """Return what *name* is called when it is taken; *whole*: it has no suffix, and its log one beside it."""
    stem, dot, suffix = name.partition(b".") if not whole else (name, b"", b"")
    addition = b".restored" + (b"-%d" % number if number > 1 else b"")
    room = _MOST_BYTES - len(addition)
    if len(name) > room:
        if len(suffix) > room // 2:
            stem, dot, suffix = name, b"", b""
        cut = stem[: room - len(dot + suffix)]
        stem = cut.decode(errors="ignore").encode()  # no half of a character
    return stem + addition + dot + suffix


def _is_taken(user: int, path: bytes) -> bool:
    """Whether anything, also a symbolic link, is at *path*."""
    above, last = os.path.split(path)
    try:
        with lent(openat2.beneath(user, above or b".", OPEN_DIRECTORY)) as directory:
            return exists(last, dir_fd=directory)
    except OSError as error:
        if error.errno in openat2.NO_WAY:
            return False
        raise
