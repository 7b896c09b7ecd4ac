"""Open directories: each listing is of one moment, so that no name comes twice or is skipped."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from repofs.namespace.backing import names_in
from repofs.namespace.drops import Drops
from repofs.namespace.names import Names
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing

_TICK_NS = 100_000_000  # times on inodes are of the kernel's last tick: the coarsest are of 1/100 s


@dataclass(slots=True)
class _Listing:
    node: Node
    sees_all: bool  # whether all names are for who lists, whoever that is
    uid: int  # who lists
    names: list[bytes] | None = None


class Directories:
    """All open directories of one mount."""

    def __init__(self, standing: Standing, rights: Rights, drops: Drops) -> None:
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._names: Names = standing.names
        self._open: dict[int, _Listing] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, node: Node, caller: Caller) -> int:
        """Return a handle to list directory *node*: a backing descriptor, good also when it is removed meanwhile.

        AccessDenied when *caller* may not see it.
        """
        self._rights.require_view(node, caller.uid)
        fd = self._backing.open(node, os.O_RDONLY | os.O_DIRECTORY)
        self._open[fd] = _Listing(node, not self._rights.is_shared(node), caller.uid)
        node.hold(fd)
        return fd

    def is_for_all(self, fh: int) -> bool:
        """Whether all who may list the directory are shown the same: the kernel may keep what it has listed for one."""
        return self._open[fh].sees_all

    def is_kept(self, fh: int) -> bool:
        """Whether nothing has changed since the directory was listed last, here or behind the mount: a listing of that
        time counts."""
        return self._open[fh].node.listed == os.fstat(fh).st_ctime_ns

    async def entries(self, fh: int, start: int) -> tuple[Node, list[bytes]]:
        """Return the directory and its names, . and .. first; read anew when *start* is 0 (rewinddir)."""
        listing = self._open[fh]
        if listing.names is None or start == 0:
            changed = os.fstat(fh).st_ctime_ns  # which nobody sets back, as rsync does the mtime
            # A change in the same tick of the clock would not be seen.
            listing.node.listed = changed if time.time_ns() - changed > _TICK_NS else None
            names = await names_in(fh)  # none of a directory that has been removed
            listing.names = [b".", b"..", *self._names.shown(listing.node, names)]
        return listing.node, listing.names

    def reader(self, fh: int) -> int:
        """Return the uid of who lists."""
        return self._open[fh].uid

    def lists(self, fh: int, node: Node, status: os.stat_result) -> bool:
        """Whether *node* is shown to who lists: in a directory that holds data of several groups, what she may see."""
        listing = self._open[fh]
        return listing.sees_all or self._rights.may_view(node, status, listing.uid)

    async def fsync(self, fh: int) -> None:
        """Wait until the names are on the disk, and the directories above."""
        await self._drops.journal.sync()
        await self._backing.unsynced.sync(self._open[fh].node, fh)

    def close(self, fh: int) -> None:
        self._drops.let_go(self._open.pop(fh).node, fh)
