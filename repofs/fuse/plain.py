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

    def __init__(self, directory: Node, backing: Backing, rights: Rights, cache_seconds: float) -> None:
        self._directory = directory
        self._rights = rights
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

    def ownership(self, mode: int, uid: int, gid: int, links: int) -> tuple[int, int, int] | None:
        """Return as whose a regular file is shown whose status says so, and with what permission bits: uid, gid, bits.
        None when it needs a node. For `native.list` and `native.know`."""
        shown = self._shown(_status(mode, uid, gid, links)) if self._shown else None
        return None if shown is None else (shown.uid, shown.gid, shown.mode)

    def own(self, mode: int, uid: int, gid: int, links: int) -> tuple[int, int, int]:
        """Return the same of the directory, which has a name. For `native.know`."""
        shown = self._rights.shown(self._directory, _status(mode, uid, gid, links))
        return shown.uid, shown.gid, shown.mode


def _status(mode: int, uid: int, gid: int, links: int) -> os.stat_result:
    return os.stat_result((mode, 0, 0, links, uid, gid, 0, 0, 0, 0))
