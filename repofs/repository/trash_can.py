"""The files of deleted filesets: taken out of the tree, put back, removed for good.

    .trash/17/files      the import directory of Fileset:17, renamed
    .trash/17/log        its log
    .trash/17/name       a name on its way out, for a moment

Each of the three may be interrupted anywhere and done again: the catalogue says which of them is under way.
Names in a user directory are anybody's to change meanwhile: each is moved here before it is looked at, so that nobody
else's file is removed in place of ours.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import structlog

from repofs.errors import NotFound
from repofs.model import Original
from repofs.repository import openat2, stand_ins, transfers
from repofs.repository.durable import OPEN_DIRECTORY, own, rename_no_replace, sync_filesystem
from repofs.repository.layout import Layout
from repofs.repository.marks import Marks
from repofs.repository.trees import bottom_up, exists, files_of, opened, remove_empty

FILES, LOG, _NAME = b"files", b"log", b"name"
_BLOCK_BYTES = 512  # of st_blocks, whatever the file system's are
_NONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Place:
    """A fileset in the tree."""

    fileset: int
    user_directory: bytes
    import_directory: bytes  # below the user directory
    files: tuple[bytes, ...]  # below the import directory
    is_directory: bool  # whether it was dropped as one directory


@dataclass(frozen=True, slots=True)
class Name:
    """A name below the user directory that leads to a file of a fileset, besides the one in the import directory."""

    path: bytes
    position: int  # of the file in the fileset


class TrashCan:
    """That of one repository. *reserved* matches the names in a user directory that import directories take."""

    def __init__(self, layout: Layout, marks: Marks, reserved: re.Pattern[bytes]) -> None:
        self._layout = layout
        self._marks = marks
        self._reserved = reserved

    # --- looking ---------------------------------------------------------------------------------

    def names_of(self, place: Place, dropped: Sequence[bytes]) -> list[Name]:
        """Return the names that lead to the files of *place*, which lies in the tree or in the trash.

        They are sought where they were *dropped*; when a file has more names than were found there, everywhere in the
        user directory.
        """
        with self._user(place) as user, self._files_of(place) as directory:
            statuses = {n: status for n, name in enumerate(place.files) if (status := _status(directory, name))}
            found = [
                Name(dropped[n], n)
                for n, status in statuses.items()
                if (there := _status(user, dropped[n])) and os.path.samestat(there, status)
            ]
            at = {name.position for name in found}
            more = {status.st_ino: n for n, status in statuses.items() if status.st_nlink > 1 + (n in at)}
            return found if not more else sorted(
                {*found, *self._everywhere(user, more)}, key=lambda name: (name.position, name.path)
            )  # fmt: skip

    def _everywhere(self, user: int, wanted: Mapping[int, int]) -> Iterator[Name]:
        """Yield each name of the *wanted* inodes (number, position) below *user*, but for import directories."""
        pending = [b""]
        device = os.fstat(user).st_dev
        while pending:
            way = pending.pop()
            try:
                directory = openat2.beneath(user, way or b".", os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                if error.errno not in _NONE:
                    raise
                continue  # it was moved while we looked
            with open_directory(directory), os.scandir(directory) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    path = os.path.join(way, name)
                    if entry.is_dir(follow_symlinks=False):
                        if way or not self._reserved.fullmatch(name):
                            pending.append(path)
                    elif entry.inode() in wanted and entry.stat(follow_symlinks=False).st_dev == device:
                        yield Name(path, wanted[entry.inode()])

    def frees(self, place: Place) -> int:
        """Return how many bytes are free when the files of *place* are gone and nobody else has a name of them."""
        with self._files_of(place) as directory:
            total = 0
            for name in place.files:
                with suppress(FileNotFoundError):
                    fd = openat2.beneath(directory, name, os.O_RDONLY)
                    with open_directory(fd):
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

        Returns whether it is sure that no name is left: somebody may have made or moved one meanwhile.
        """
        with self._user(place) as user, self._can(place.fileset, make=True) as can:
            self._take_directory(place, user, can)
            for name in names:
                self._take_name(place, name, user, can)
        with self._files_of(place) as directory:
            statuses = (_status(directory, name) for name in place.files)
            return all(status is None or status.st_nlink == 1 for status in statuses)

    def _take_directory(self, place: Place, user: int, can: int) -> None:
        *way, last = place.import_directory.split(b"/")
        try:
            parent = openat2.beneath(user, b"/".join(way) or b".", OPEN_DIRECTORY)
        except FileNotFoundError:
            return  # it was taken before, and the directory above was empty then
        with open_directory(parent):
            for name, into in ((last, FILES), (last + b".log", LOG)):
                if not exists(into, dir_fd=can):
                    try:
                        os.rename(name, into, src_dir_fd=parent, dst_dir_fd=can)
                    except FileNotFoundError:
                        log.warning("missing in an import directory that was deleted", fileset=place.fileset, name=name)
        _remove_empty_way(user, way)

    def _take_name(self, place: Place, name: Name, user: int, can: int) -> None:
        """Remove *name* if it leads to its file; of a directory that was dropped also what is empty then."""
        way, last = os.path.split(name.path)
        file = _status(can, FILES + b"/" + place.files[name.position])
        try:
            directory = openat2.beneath(user, way or b".", OPEN_DIRECTORY)
        except OSError as error:
            if error.errno not in _NONE:
                raise
            return
        with open_directory(directory):
            there = _status(directory, last)
            if file is None or there is None or not os.path.samestat(there, file):
                return
            with suppress(FileNotFoundError):
                os.rename(last, _NAME, src_dir_fd=directory, dst_dir_fd=can)
                moved = os.stat(_NAME, dir_fd=can, follow_symlinks=False)
                if os.path.samestat(moved, file):
                    os.unlink(_NAME, dir_fd=can)
                else:  # somebody has put another file there just now
                    rename_no_replace(_NAME, last, old_dir_fd=can, new_dir_fd=directory)
        unit = _unit_of(place, name)
        if unit is not None:
            _remove_empty_way(user, way.split(b"/"), keep=unit.count(b"/"))

    # --- back into it -----------------------------------------------------------------------------

    def put_back(self, place: Place, names: Sequence[Name], gid: int) -> tuple[bytes, list[str]]:
        """Put files, log and *names* back into the tree; not durable before `sync`.

        Returns the import directory, and a sentence for each name that is another one now because its own is taken.
        Raises NotFound when the user directory has gone, OSError; `take` undoes it then.
        """
        told: list[str] = []
        with self._user(place) as user, self._can(place.fileset) as can:
            roots: dict[bytes, bytes] = {}
            for name in names:
                path, root = self._free(place, name, user, roots, told)
                self._link(can, FILES + b"/" + place.files[name.position], user, path, root, gid)
            directory = self._put_directory(place, user, can)
        if directory != place.import_directory:
            told.append(f"its import directory is {os.fsdecode(directory)} now: its own name is taken")
            self._mark_anew(replace(place, import_directory=directory))
        return directory, told

    def _free(
        self, place: Place, name: Name, user: int, roots: dict[bytes, bytes], told: list[str]
    ) -> tuple[bytes, bytes | None]:
        """Return the path by which *name* comes back, and the directory that it is a part of, if it was one drop."""
        unit = _unit_of(place, name)
        root = name.path if unit is None else unit
        if root not in roots:
            roots[root] = _free_beside(user, root)
            if roots[root] != root:
                told.append(f"{os.fsdecode(root)} is taken: it is {os.fsdecode(roots[root])} now")
        return roots[root] + name.path[len(root) :], None if unit is None else roots[root]

    def _link(self, can: int, file: bytes, user: int, path: bytes, root: bytes | None, gid: int) -> None:
        way, last = os.path.split(path)
        with _way(user, way, os.fstat(user).st_uid, gid) as directory:
            os.link(file, last, src_dir_fd=can, dst_dir_fd=directory, follow_symlinks=False)

    def _put_directory(self, place: Place, user: int, can: int) -> bytes:
        path = _free_beside(user, place.import_directory, b"", b".log")
        way, last = os.path.split(path)
        with _way(user, way, os.fstat(user).st_uid, os.getegid()) as parent:
            with suppress(FileNotFoundError):
                rename_no_replace(LOG, last + b".log", old_dir_fd=can, new_dir_fd=parent)
            rename_no_replace(FILES, last, old_dir_fd=can, new_dir_fd=parent)
        return path

    def _mark_anew(self, place: Place) -> None:
        """Say on each file of *place* in which import directory it is now."""
        with self._user(place) as user:
            for fd in files_of(place.import_directory, dir_fd=user):
                mark = self._marks.read(fd)
                if isinstance(mark, Original):
                    self._marks.write(fd, replace(mark, import_directory=os.fsdecode(place.import_directory)))

    def clear(self, fileset: int) -> None:
        """Remove what is left in the trash of a fileset that was put back."""
        with opened(self._layout.trash) as trash:
            remove_empty(b"%d" % fileset, dir_fd=trash)

    # --- for good ----------------------------------------------------------------------------------

    def remove(self, fileset: int) -> int:
        """Remove the files of a fileset in the trash for good; return how many bytes are free by that."""
        freed = 0
        with suppress(FileNotFoundError), self._can(fileset) as can, opened(self._layout.linked) as linked:
            if exists(FILES, dir_fd=can):
                for fd in files_of(FILES, dir_fd=can):
                    freed += self._bytes_of(fd) if os.fstat(fd).st_nlink == 1 else 0
                    origin = stand_ins.bytes_elsewhere(fd, self._marks)
                    if origin is not None:
                        transfers.named(origin.transfer).take_back(fd, linked)
                _remove_tree(FILES, can)
            for name in (LOG, _NAME):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=can)
        self.clear(fileset)
        return freed

    def sync(self) -> None:
        """Make everything durable."""
        with opened(self._layout.managed) as fd:
            sync_filesystem(fd)

    # --- ways --------------------------------------------------------------------------------------

    @contextmanager
    def _user(self, place: Place) -> Iterator[int]:
        try:
            with opened(os.path.join(os.fsencode(self._layout.managed), place.user_directory)) as user:
                yield user
        except NotADirectoryError:
            raise NotFound(f"the directory {os.fsdecode(place.user_directory)} is not there any more") from None

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
        """Lend the directory of the files, be it in the trash or in the tree; an empty one when it is in neither."""
        way = b"%d/%s" % (place.fileset, FILES)
        with opened(self._layout.trash) as trash, self._user(place) as user:
            for top, path in ((trash, way), (user, place.import_directory)):
                with suppress(FileNotFoundError):
                    fd = openat2.beneath(top, path, OPEN_DIRECTORY)
                    break
            else:
                log.warning("a deleted fileset has no files", fileset=place.fileset)
                fd = os.open("/var/empty", OPEN_DIRECTORY)
        with open_directory(fd):
            yield fd
