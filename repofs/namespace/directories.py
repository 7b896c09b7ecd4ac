"""Open directories: each listing is of one moment, so that no name comes twice or is skipped."""

from __future__ import annotations

import os
from dataclasses import dataclass

from repofs.namespace.backing import names_in
from repofs.namespace.drops import Drops
from repofs.namespace.names import Names
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing


@dataclass(slots=True)
class _Listing:
    node: Node
    sees_all: bool  # whether all names are for who lists
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

    async def entries(self, fh: int, start: int) -> tuple[Node, list[bytes]]:
        """Return the directory and its names, . and .. first; read anew when *start* is 0 (rewinddir)."""
        listing = self._open[fh]
        if listing.names is None or start == 0:
            names = await names_in(fh)  # none of a directory that has been removed
            listing.names = [b".", b"..", *(name for name in names if not self._names.hidden(listing.node, name))]
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
