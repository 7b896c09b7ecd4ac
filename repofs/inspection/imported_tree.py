"""The import directories in the tree, one after another, as they are found there: no catalogue is asked.

A directory is an import directory when the log beside it says so (`import_directory.place_of`), or, where the log has
gone, when a file in it bears the mark of an original that is of there. The template is not asked: it may have been
another one before. The whole tree is walked, users' own directories too; memory holds the directories that are still to
be walked, whatever the number of originals.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from repofs.model import Mark, Origin, Original
from repofs.repository.import_directory import place_of
from repofs.repository.layout import Layout, load_key
from repofs.repository.marks import Marks
from repofs.repository.openat2 import NO_WAY
from repofs.repository.trees import is_within, opened, walk

_LOG = b".log"


@dataclass(frozen=True, slots=True)
class ImportedFile:
    """One regular file in an import directory, lent until the next is asked for."""

    name: bytes  # below the import directory
    path: bytes  # by which to reach it now, through a descriptor of the directory that it lies in
    status: os.stat_result
    mark: Mark | None  # None: it has none, or a damaged one

    def origin(self, marks: Marks) -> Origin | None:
        """Return where its bytes came from. Raises OSError (EIO) as `Marks.origin` does."""
        return marks.origin(self.path)


@dataclass(frozen=True, slots=True)
class Imported:
    """One import directory and its log; either may be missing."""

    user_directory: bytes
    name: bytes  # below the user directory; the log is this plus ".log"
    has_directory: bool
    has_log: bool


class ImportedTree:
    """What was imported into one repository, by its tree. Blocking; needs the rights of the daemon.

    What is imported or moved meanwhile may be found or not.
    """

    def __init__(self, layout: Layout) -> None:
        self._managed = os.fsencode(layout.managed)
        self.marks = Marks(load_key(layout))

    def __iter__(self) -> Iterator[Imported]:
        """Yield each import directory, by user directory, and in each directory by name."""
        for user_directory in self.user_directories():
            last = None
            for found in self._below(user_directory):
                if last is None or found.name != last.name:
                    yield found
                last = found

    def user_directories(self) -> list[bytes]:
        """Return the user directories by name."""
        with os.scandir(self._managed) as entries:
            names = (entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
            return sorted(name for name in names if not name.startswith(b"."))

    def log_path(self, found: Imported) -> bytes:
        """Return where the log of *found* is, or would be."""
        return self._path(found) + _LOG

    def files(self, found: Imported) -> Iterator[ImportedFile]:
        """Yield the regular files of *found*, in the order of their names."""
        if not found.has_directory:
            return
        with opened(self._path(found)) as top:
            for path, _, names, fd in walk(top, passing=NO_WAY):
                for name in names:
                    if file := self._file(path, fd, name):
                        yield file

    def _path(self, found: Imported) -> bytes:
        return os.path.join(self._managed, found.user_directory, found.name)

    def _file(self, directory: bytes, fd: int, name: bytes) -> ImportedFile | None:
        """Return one file, None when it is no regular one or has gone."""
        path = b"/proc/self/fd/%d/%s" % (fd, name)
        try:
            status = os.stat(path, follow_symlinks=False)
            if not stat.S_ISREG(status.st_mode):
                return None
            return ImportedFile(os.path.join(directory, name), path, status, self.marks.read(path))
        except FileNotFoundError:
            return None

    def _below(self, user_directory: bytes) -> Iterator[Imported]:
        """Yield the import directories of one user, one that has no log once for each directory in it with files."""
        with opened(os.path.join(self._managed, user_directory)) as top:
            for path, directories, names, fd in walk(top, passing=NO_WAY):
                if home := self._without_log(user_directory, path, fd, names):
                    directories.clear()
                    yield home
                    continue
                yield from self._logged(user_directory, path, directories, names, fd)

    def _logged(
        self, user_directory: bytes, here: bytes, directories: list[bytes], names: list[bytes], fd: int
    ) -> Iterator[Imported]:
        """Yield what has its log in the directory *here*, and take it out of *directories*: it is not walked."""
        logged = set()
        there = set(directories)
        for log in names:
            last = log.removesuffix(_LOG)
            name = os.path.join(here, last)
            if log.endswith(_LOG) and place_of(b"/proc/self/fd/%d/%s" % (fd, log)) == name:
                logged.add(last)
                yield Imported(user_directory, name, has_directory=last in there, has_log=True)
        directories[:] = [name for name in directories if name not in logged]

    def _without_log(self, user_directory: bytes, here: bytes, fd: int, names: list[bytes]) -> Imported | None:
        """Return the import directory, at or above *here*, which the first file here says that it is of."""
        for name in names[:1]:
            file = self._file(here, fd, name)
            if file is None or not isinstance(file.mark, Original):
                return None
            home = os.fsencode(file.mark.import_directory)
            if is_within(here, home):
                return Imported(user_directory, home, has_directory=True, has_log=False)
        return None
