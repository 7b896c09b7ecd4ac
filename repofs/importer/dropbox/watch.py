"""Where in a watched folder something happens, by inotify(7). An event is a hint to look there, and nothing else."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping

from inotify_simple import INotify, flags

_MASK = (
    flags.CREATE | flags.CLOSE_WRITE | flags.ATTRIB | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO | flags.ONLYDIR
)


class Watch:
    """Watches directories one by one. To be closed.

    `add` may be called in a thread while events are read: who calls it lists the directory afterwards, so that an event
    of which nobody knows yet where it belongs tells nothing new.
    """

    def __init__(self) -> None:
        """Raises OSError, EMFILE when this user has as many as fs.inotify.max_user_instances allows."""
        self._inotify = INotify(nonblocking=True)
        self._directories: dict[int, bytes] = {}  # by watch descriptor
        self._numbers: dict[bytes, int] = {}  # the other way round
        self.exhausted = False  # a directory could not be watched: fs.inotify.max_user_watches allows no more

    def close(self) -> None:
        self._inotify.close()

    def fileno(self) -> int:
        """Readable when something has happened."""
        return int(self._inotify.fileno())

    def add(self, fd: int, directory: bytes) -> None:
        """Watch the directory of *fd*, which is called *directory* from now on."""
        try:
            number = self._inotify.add_watch(f"/proc/self/fd/{fd}", _MASK)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.exhausted = True
            return
        self._directories[number] = directory
        self._numbers[directory] = number

    def forget(self, directory: bytes) -> bool:
        """Watch *directory* and what was below it no more; return whether it was watched."""
        if directory not in self._numbers:
            return False
        below = directory + b"/"
        for watched in [one for one in self._numbers if one == directory or one.startswith(below)]:
            number = self._numbers.pop(watched)
            if self._directories.get(number) == watched:  # else it has been found under another name
                del self._directories[number]
                self._remove(number)
        return True

    def _remove(self, number: int) -> None:
        try:
            self._inotify.rm_watch(number)
        except OSError as error:
            if error.errno != errno.EINVAL:  # it has gone with its directory
                raise

    def read(self) -> tuple[Mapping[bytes, set[bytes]], bool]:
        """Return the names that something happened to, by directory, and whether events were lost."""
        changes: dict[bytes, set[bytes]] = {}
        lost = False
        for event in self._inotify.read(timeout=0):
            lost = lost or bool(event.mask & (flags.Q_OVERFLOW | flags.UNMOUNT))
            if event.mask & flags.IGNORED:
                self._directories.pop(event.wd, None)
            elif event.wd in self._directories and event.name:
                changes.setdefault(self._directories[event.wd], set()).add(os.fsencode(event.name))
        return changes, lost
