"""Trees that the mount shows and that no backing tree has: their nodes are names, each with a number of its own.

Hardly anything of them is kept in the kernel: what stands there is another's, or differs from reader to reader.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

# Inode and handle numbers from each of these on are of one tree: no file system gives such.
SOURCES = 0xFFFF << 48
TABLES = 0xFFFE << 48
VIEWS = 0xFFFD << 48
FIRST = VIEWS
PASSING = 0xFFFC << 48  # of what gives way to something else at once: nobody will ask for such a number

Place = TypeVar("Place", bound=Hashable)


@dataclass(slots=True, eq=False)
class VirtualNode(Generic[Place]):
    """A name in a virtual tree that the kernel refers to."""

    ino: int
    place: Place
    lookups: int = 0
    format: int = 0  # S_IFMT bits, as its tree has found it last
    lasting: bool = False  # nobody changes it as long as it has this place: the kernel may keep it


class VirtualNodes(Generic[Place]):
    """The nodes of one virtual tree, whose numbers begin with *first*."""

    def __init__(self, first: int) -> None:
        self._numbers = itertools.count(first)
        self._by_number: dict[int, VirtualNode[Place]] = {}
        self._by_place: dict[Place, VirtualNode[Place]] = {}

    def __len__(self) -> int:
        return len(self._by_number)

    def all(self) -> list[VirtualNode[Place]]:
        """Return the nodes that somebody refers to."""
        return list(self._by_number.values())

    def at(self, place: Place) -> VirtualNode[Place]:
        """Return the node of *place*: who asks refers to it, or it stays for ever."""
        node = self._by_place.get(place)
        if node is None:
            node = VirtualNode(next(self._numbers), place)
            self._by_number[node.ino] = self._by_place[place] = node
        return node

    def get(self, ino: int) -> VirtualNode[Place]:
        """Return the node of *ino*; ESTALE when nothing refers to it."""
        node = self._by_number.get(ino)
        if node is None:
            raise OSError(errno.ESTALE, "it was not looked up")
        return node

    def forget(self, ino: int, lookups: int) -> None:
        """Take back *lookups* references of the kernel."""
        node = self._by_number.get(ino)
        if node is None:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._by_number[ino]
            del self._by_place[node.place]


def made_status(
    mode: int, *, uid: int = 0, gid: int = 0, size: int = 0, mtime_ns: int = 0, nlink: int = 1
) -> os.stat_result:
    """Return the status of what is not on a disk."""
    links = 2 if stat.S_ISDIR(mode) else nlink
    others = {"st_rdev": 0, "st_blksize": 4096, "st_blocks": -(-size // 512)}
    times = dict.fromkeys(("st_atime_ns", "st_mtime_ns", "st_ctime_ns"), mtime_ns)
    return os.stat_result((mode, 0, 0, links, uid, gid, size, 0, 0, 0), others | times)
