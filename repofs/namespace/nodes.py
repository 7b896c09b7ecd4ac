"""Nodes: what the mount knows of the backing inodes that the kernel, an open file or a drop refers to.

The inode number that users see is the backing file system's own (the root of the mount is 1), so that it stays the
same over a remount. A backing file system gives the number of a removed file to a new one at once: the kernel tells
the two apart by `generation`.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from enum import Enum

from repofs.model import Mark, Origin
from repofs.namespace.activity import Activity

ROOT_INODE = 1


class Area(Enum):
    """Which rules hold for the names in a directory."""

    ROOT = "root"  # user directories; made by the administrator only
    USER = "user"  # the user directory itself: import directories and drops side by side
    DROPS = "drops"  # anything that users make
    IMPORTS = "imports"  # import directories: only the importer changes them
    OWN = "own"  # .repofs: shown, never changed through the mount


class Unknown(Enum):
    UNKNOWN = 0


UNKNOWN = Unknown.UNKNOWN


class Node:
    """One inode. `names` are the (directory, name) pairs known to lead to it; a removed file has none."""

    __slots__ = (
        "activity",
        "aged",
        "area",
        "children",
        "format",
        "generation",
        "handles",
        "ino",
        "listed",
        "lookups",
        "mark",
        "names",
        "origin",
        "refusal",
        "removed",
        "settings",
        "users",
        "waits",
    )

    def __init__(self, ino: int, format: int, generation: int) -> None:
        self.ino = ino
        self.format = format  # S_IFMT bits of the mode
        self.generation = generation
        self.lookups = 0  # the kernel's references: given by LOOKUP, CREATE…, taken back by FORGET
        self.users = 0  # walks and requests that hold it for a while
        self.names: list[tuple[Node, bytes]] = []
        self.children: dict[bytes, Node] = _NO_CHILDREN  # the other way: node.children[name] has (node, name) in names
        self.area = Area.DROPS  # of directories only
        self.handles: set[int] | None = None  # descriptors of open files and directories
        self.activity: Activity | None = None  # set while something of a drop's life is known
        self.mark: Mark | Unknown | None = UNKNOWN  # as on the backing inode, once it was read
        self.origin: Origin | Unknown | None = UNKNOWN  # as on the backing inode, once it was read
        self.refusal: str | None = None  # why the last attribute set on it was refused
        self.settings: dict[bytes, bytes | None] | None = None  # of directories, once they were read
        self.aged = False  # of a file: the kernel may have pages of it that are older than its bytes
        self.listed: int | None = None  # the ctime in ns of a directory when its names were read last
        self.removed = False  # no name and no handle is left: the backing inode number may be given again
        self.waits = False  # to be packed

    @property
    def is_directory(self) -> bool:
        return self.format == stat.S_IFDIR

    @property
    def is_own(self) -> bool:
        """Whether this is .repofs itself."""
        return self.area is Area.OWN and bool(self.names) and self.names[0][0].area is Area.ROOT

    @property
    def is_file(self) -> bool:
        return self.format == stat.S_IFREG

    def hold(self, fd: int) -> None:
        """Remember *fd* as an open handle: the way to this inode even when its names are gone."""
        if self.handles is None:
            self.handles = set()
        self.handles.add(fd)

    def gain(self, name: bytes, node: Node) -> None:
        if self.children is _NO_CHILDREN:
            self.children = {}
        self.children[name] = node

    def lose(self, name: bytes) -> None:
        del self.children[name]
        if not self.children:
            self.children = _NO_CHILDREN  # the memory of a dict that was large is given back with it alone

    @property
    def busy(self) -> bool:
        """Whether anything but the kernel's lookups refers to it."""
        return bool(self.users or self.children or self.handles or self.activity)

    def below(self) -> Iterator[Node]:
        """Yield this node and all nodes that are known to lie below it."""
        pending = [self]
        while pending:
            node = pending.pop()
            yield node
            pending += node.children.values()


_NO_CHILDREN: dict[bytes, Node] = {}  # of all that has none; never changed
