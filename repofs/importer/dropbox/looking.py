"""Looks into a watched folder, with the rights of the user in whose directory they are. Blocking; run in threads."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from repofs.catalog.dropbox import Version
from repofs.catalog.forms import nearest
from repofs.errors import InvalidValue, NotFound
from repofs.importer.bringing import require_no_writer
from repofs.importer.dropbox.rules import Meaning, Rules
from repofs.importer.dropbox.watch import Watch
from repofs.repository.as_user import Caller, acting_as
from repofs.repository.outside import Root, open_beneath


@dataclass(frozen=True, slots=True)
class Found:
    """A file, a directory that is one drop, or what cannot be imported."""

    name: bytes
    is_directory: bool
    version: Version
    error: str | None = None  # why it cannot be imported: one sentence


@dataclass(frozen=True, slots=True)
class Look:
    """What one directory holds."""

    found: tuple[Found, ...] = ()
    inside: tuple[bytes, ...] = ()  # names of the directories to look into
    marked: bool = True  # False: what was found waits for the marker


class Looker:
    """Looks below the *root* of one watched folder as *caller*. Directories and paths are those below the root."""

    def __init__(
        self, root: Root, caller: Caller, rules: Rules, *, inodes_stay: bool, depth: int, watch: Watch | None
    ) -> None:
        self._root = root
        self._caller = caller
        self._rules = rules
        self._inodes_stay = inodes_stay
        self._depth = depth
        self._watch = watch

    def look(self, directory: bytes, names: Collection[bytes] | None = None) -> Look:
        """Return what *directory* holds of *names*, or all that it holds; it is watched then.

        Raises NotFound, AccessDenied, InvalidValue, OSError, as `open_beneath`; OSError when it cannot be watched.
        """
        found: list[Found] = []
        inside: list[bytes] = []
        with open_beneath(self._root, directory, self._caller, directory=True) as opened:
            if self._watch is not None:
                self._watch.add(opened.fd, directory)
            with acting_as(self._caller):
                statuses = _statuses(opened.fd, names)
        for name, status in sorted(statuses.items()):
            meaning = self._rules.meaning(name, status.st_mode)
            if meaning is Meaning.NOTHING:
                continue
            one = self._found(directory + b"/" + name, status, meaning)
            if one is None:
                inside.append(name)
            else:
                found.append(one)
        return Look(tuple(found), tuple(inside), self._is_marked(directory))

    def _found(self, path: bytes, status: os.stat_result, meaning: Meaning) -> Found | None:
        """Return what is at *path*; None for a directory to look into."""
        is_directory = stat.S_ISDIR(status.st_mode)
        version = self._version(status)
        error = _no_file(status.st_mode)
        try:
            if meaning is Meaning.INSIDE:
                self._require_enterable(path)
                return None
            if is_directory:
                version = self.measured(path)
        except OSError as refused:
            error = str(refused)
        return Found(os.path.basename(path), is_directory, version, error)

    def _require_enterable(self, path: bytes) -> None:
        if path.count(b"/") > self._depth:
            raise InvalidValue(f"it is deeper than depth = {self._depth}: move it up, or set a larger depth")
        open_beneath(self._root, path, self._caller, directory=True).close()

    def _is_marked(self, directory: bytes) -> bool:
        """Whether the marker lies in *directory*, or in one above it up to the user's own."""
        if self._rules.marker is None:
            return True
        while directory:
            try:
                open_beneath(self._root, directory + b"/" + self._rules.marker, self._caller, directory=None).close()
            except NotFound:
                directory = directory.rpartition(b"/")[0]
            else:
                return True
        return False

    def confirm(self, path: bytes, *, is_directory: bool) -> tuple[Version, bytes]:
        """Return version and handle of the file or directory of files at *path*, which nobody writes at this moment.

        Raises ChangedWhileReading when somebody does; NotFound, AccessDenied, InvalidValue, OSError.
        """
        if is_directory:
            return self.measured(path), b""
        with open_beneath(self._root, path, self._caller) as opened:
            require_no_writer(opened.fd)
            return self._version(os.fstat(opened.fd)), opened.identity.handle

    def measured(self, path: bytes) -> Version:
        """Return the version of the directory at *path* with all that is in it. Raises OSError, as `open_beneath`."""
        with open_beneath(self._root, path, self._caller, directory=True) as opened, acting_as(self._caller):
            own = os.fstat(opened.fd)
            size, mtime_ns, ctime_ns = 0, 0, own.st_ctime_ns
            try:
                for _, directories, files, fd in os.fwalk(b".", dir_fd=opened.fd, onerror=_raise):
                    for name in (*directories, *files):
                        status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                        ctime_ns = max(ctime_ns, status.st_ctime_ns)
                        if stat.S_ISREG(status.st_mode):
                            size, mtime_ns = size + status.st_size, max(mtime_ns, status.st_mtime_ns)
            except RecursionError:
                raise InvalidValue(f"{os.fsdecode(path)!r} has directories that lie too deep in it") from None
        return self._of(own.st_ino, size, mtime_ns, ctime_ns)

    def _version(self, status: os.stat_result) -> Version:
        return self._of(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def _of(self, inode: int, size: int, mtime_ns: int, ctime_ns: int) -> Version:
        return Version(inode if self._inodes_stay else 0, size, nearest(mtime_ns), nearest(ctime_ns))


def _statuses(directory: int, names: Collection[bytes] | None) -> Mapping[bytes, os.stat_result]:
    """Return the status of each of *names*, or of all there are, without those that have gone meanwhile."""
    found = {}
    for name in map(os.fsencode, os.listdir(directory)) if names is None else names:
        try:
            found[name] = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENAMETOOLONG):
                raise
    return found


def _no_file(mode: int) -> str | None:
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        return None
    if stat.S_ISLNK(mode):
        return "it is a symbolic link: put the file itself here"
    return "it is a FIFO, a socket or a device: only files have bytes to import"


def _raise(error: OSError) -> None:
    raise error
