"""What fsync of a file makes durable besides its bytes: its names, and the directories above it.

A file system with a journal may do that by itself; none promises it. So the mount remembers which directories have
changed since they were last on the disk, and fsync waits for those above the file, which are few and mostly none.
"""

from __future__ import annotations

import itertools
import math
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import trio

from repofs.disk import Disk
from repofs.namespace.inode_table import InodeTable
from repofs.namespace.nodes import Node
from repofs.threads import in_thread

_MOST = 4096  # directories that are remembered; when more have changed the whole file system is synced once
_AT_A_TIME = 16  # calls that wait for the disk: reads that do have threads of their own


class Unsynced:
    """The directories of one mount whose names or attributes have changed since they were last made durable."""

    def __init__(self, table: InodeTable, root_fd: int, open: Callable[[Node, int], int]) -> None:
        self._table = table
        self._open = open
        self._clock = itertools.count(1)
        self._changed: dict[Node, int] = {}  # when last, by the clock
        self._everything: int | None = 0  # when more had changed than is remembered: before the start, all of it
        self._disk = Disk(".", root_fd)
        self._waiting = trio.CapacityLimiter(_AT_A_TIME)

    def close(self) -> None:
        self._disk.close()

    def add(self, *directories: Node) -> None:
        """Remember that names in *directories*, or their attributes, were changed just now."""
        for node in directories:
            if node not in self._changed:
                node.users += 1
            self._changed[node] = next(self._clock)
        if len(self._changed) > _MOST:
            self._everything = next(self._clock)
            self.synced(self._everything)

    async def sync(self, node: Node, fd: int, *, data_only: bool = False) -> None:
        """Return when the file or directory *node*, open as *fd*, is on the disk with all its names and the
        directories above them; *data_only*: of itself no more than the bytes.

        Raises OSError as fsync(2) does. A caller that is cancelled goes on at once.
        """
        now = next(self._clock)
        whole = self._everything is not None or self._has_unknown_names(node, fd)
        directories = [] if whole else [one for one in self._above(node) if one is not node]
        work = _Work(data_only, self._disk, whole)
        try:
            work.take(os.dup(fd))  # that may be closed while the disk is waited for
            for directory in directories:
                work.take(self._open(directory, os.O_RDONLY | os.O_DIRECTORY))
            await in_thread(work.do, limiter=self._waiting, abandon_on_cancel=True)
        finally:
            work.give_up()
        if whole:
            self.synced(now)
        for directory in (node, *directories):
            self._forget(directory, now)

    def _above(self, node: Node) -> Iterator[Node]:
        """Yield *node* and the directories above each of its names, as far as they have changed, each once."""
        seen: set[Node] = set()
        pending = [node]
        while pending:
            one = pending.pop()
            if one in seen:
                continue
            seen.add(one)
            if one in self._changed:
                yield one
            pending += [parent for parent, _ in one.names]

    def _has_unknown_names(self, node: Node, fd: int) -> bool:
        """Whether a file has names that nobody has looked up, in directories that may have changed."""
        return bool(self._changed) and node.is_file and os.fstat(fd).st_nlink > len(node.names)

    def synced(self, time: float) -> None:
        """All that changed before *time* is on the disk, or counts as part of everything."""
        for node in list(self._changed):
            self._forget(node, time)
        if self._everything is not None and self._everything < time:
            self._everything = None

    def gone(self, directory: Node) -> None:
        """Forget a directory that has been removed."""
        self._forget(directory, math.inf)

    def _forget(self, node: Node, time: float) -> None:
        if self._changed.get(node, time) < time:
            del self._changed[node]
            node.users -= 1
            self._table.release(node)


class _Work:
    """Descriptors to be synced in a thread, the file's own first. They are closed once: by the thread, or, if it has
    not begun, by who has given up waiting for it."""

    def __init__(self, data_only: bool, disk: Disk, whole: bool) -> None:
        self._data_only = data_only
        self._disk = disk
        self._whole = whole  # sync all of it
        self._descriptors: list[int] = []
        self._closing = ExitStack()
        self._begun = threading.Lock()

    def take(self, fd: int) -> None:
        self._descriptors.append(fd)
        self._closing.callback(os.close, fd)

    def do(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        with self._closing:
            file, *directories = self._descriptors
            (os.fdatasync if self._data_only else os.fsync)(file)
            for fd in directories:
                os.fsync(fd)
            self._disk.sync() if self._whole else self._disk.require()

    def give_up(self) -> None:
        if self._begun.acquire(blocking=False):
            self._closing.close()
