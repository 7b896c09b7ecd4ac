"""Entries of files of which the directory that they lie in and their status say all: no node is made for them."""

from __future__ import annotations

import os
import stat

import pyfuse3

from repofs.fuse.entry import fill
from repofs.namespace.backing import Backing
from repofs.namespace.nodes import Area, Node
from repofs.namespace.rights import Rights

_AREAS = (Area.USER, Area.DROPS, Area.IMPORTS)


class PlainFiles:
    """Files in one directory, as long as nothing but them is asked about: it keeps what is the same for all of them.

    There is one entry, filled anew for each file.
    """

    def __init__(self, directory: Node, fd: int, backing: Backing, rights: Rights, cache_seconds: float) -> None:
        self._directory = directory
        self._fd = fd
        self._refer = backing.table.refer_to
        self._device = backing.table.device
        self._shown = rights.shown_in(directory) if directory.area in _AREAS else None
        self._entry = pyfuse3.EntryAttributes()
        self._entry.entry_timeout = self._entry.attr_timeout = cache_seconds

    def entry(self, name: bytes, status: os.stat_result) -> pyfuse3.EntryAttributes | None:
        """Return the entry of *name*, to which the kernel refers once more from now on; None when it needs a node."""
        if self._shown is None or not stat.S_ISREG(status.st_mode) or status.st_dev != self._device:
            return None
        ownership = self._shown(status)
        if ownership is None:
            return None
        entry = self._entry
        entry.st_ino = status.st_ino
        entry.generation = self._refer(status, self._directory, name)
        entry.st_mode = stat.S_IFREG | ownership.mode
        entry.st_uid = ownership.uid
        entry.st_gid = ownership.gid
        fill(entry, status)
        return entry

    def ownership(self, name: bytes) -> tuple[int, int, int] | None:
        """Return uid, gid and permission bits of the regular file *name*, and of all that bear the same and have one
        name, or several, like it; None when they need a node. For `native.list`."""
        try:
            ownership = self._shown(os.stat(name, dir_fd=self._fd, follow_symlinks=False)) if self._shown else None
        except FileNotFoundError:
            return None
        return None if ownership is None else (ownership.uid, ownership.gid, ownership.mode)
