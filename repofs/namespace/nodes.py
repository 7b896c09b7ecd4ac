"""Nodes: what the mount knows of the backing inodes that the kernel, an open file or a drop refers to.

The inode number that users see is the backing file system's own (the root of the mount is 1), so that it stays the
same over a remount. A backing file system gives the number of a removed file to a new one at once: the kernel tells
the two apart by `generation`.
"""

from __future__ import annotations

import itertools
import stat
from collections.abc import Iterator
from enum import Enum

from repofs.model import Mark
from repofs.namespace.activity import Activity

ROOT_INODE = 1


class Area(Enum):
    """Which rules hold for the names in a directory."""

    ROOT = "root"  # user directories; made by the administrator only
    USER = "user"  # the user directory itself: import directories and drops side by side
    DROPS = "drops"  # anything that users make
    IMPORTS = "imports"  # import directories: only the importer changes them
    OWN = "own"  # .repofs: shown, never changed through the mount


class _Unknown(Enum):
    UNKNOWN = 0


UNKNOWN = _Unknown.UNKNOWN


class Node:
    """One inode. `names` are the (directory, name) pairs known to lead to it; a removed file has none."""

    __slots__ = (
        "activity",
        "area",
        "format",
        "generation",
        "handles",
        "ino",
        "lookups",
        "mark",
        "names",
        "removed",
        "users",
    )

    def __init__(self, ino: int, format: int, generation: int) -> None:
        self.ino = ino
        self.format = format  # S_IFMT bits of the mode
        self.generation = generation
        self.lookups = 0  # the kernel's references: given by LOOKUP, CREATE…, taken back by FORGET
        self.users = 0  # child nodes that reach their names through this directory
        self.names: list[tuple[Node, bytes]] = []
        self.area = Area.DROPS  # of directories only
        self.handles: set[int] | None = None  # descriptors of open files and directories
        self.activity: Activity | None = None  # set while something of a drop's life is known
        self.mark: Mark | _Unknown | None = UNKNOWN  # as on the backing inode, once it was read
        self.removed = False  # no name and no handle is left: the backing inode number may be given again

    @property
    def is_directory(self) -> bool:
        return self.format == stat.S_IFDIR

    @property
    def is_file(self) -> bool:
        return self.format == stat.S_IFREG

    def hold(self, fd: int) -> None:
        """Remember *fd* as an open handle: the way to this inode even when its names are gone."""
        if self.handles is None:
            self.handles = set()
        self.handles.add(fd)

    @property
    def referenced(self) -> bool:
        return bool(self.lookups or self.users or self.handles or self.activity)


class InodeTable:
    """All nodes, by inode number. A node stays while anything refers to it."""

    def __init__(self, root_device: int, root_inode: int) -> None:
        self._root_inode = root_inode
        self.device = root_device
        self._generations = itertools.count(1)
        self.root = Node(ROOT_INODE, stat.S_IFDIR, 0)
        self.root.lookups = 1
        self.root.area = Area.ROOT
        self._nodes: dict[int, Node] = {ROOT_INODE: self.root}

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes.values())

    def __len__(self) -> int:
        return len(self._nodes)

    def shown_inode(self, backing_inode: int) -> int:
        return ROOT_INODE if backing_inode == self._root_inode else backing_inode

    def get(self, ino: int) -> Node | None:
        """Return the node of *ino*, or None when nothing refers to it."""
        return self._nodes.get(ino)

    def known(self, backing_inode: int) -> Node | None:
        """Return the node of a living backing inode, or None when nothing refers to it."""
        node = self._nodes.get(self.shown_inode(backing_inode))
        return None if node is None or node.removed else node

    def intern(self, backing_inode: int, mode: int, parent: Node, name: bytes) -> Node:
        """Return the node of a backing inode that was just found as *name* in *parent*."""
        ino = self.shown_inode(backing_inode)
        format = stat.S_IFMT(mode)
        node = self._nodes.get(ino)
        if node is None:
            node = self._nodes[ino] = Node(ino, format, 0)
        elif node.removed or node.format != format:
            old, node = node, Node(ino, format, next(self._generations))
            node.lookups = old.lookups  # the kernel counts by number: its FORGETs of the old come here
            self._nodes[ino] = node
        if (parent, name) not in node.names:
            self.add_name(node, parent, name)
        return node

    def add_name(self, node: Node, parent: Node, name: bytes) -> None:
        node.names.append((parent, name))
        parent.users += 1

    def remove_name(self, node: Node, parent: Node, name: bytes) -> None:
        if (parent, name) in node.names:
            node.names.remove((parent, name))
            parent.users -= 1

    def forget(self, ino: int, lookups: int) -> None:
        """Take back *lookups* references of the kernel."""
        node = self._nodes.get(ino)
        if node is None or node is self.root:
            return
        node.lookups = max(0, node.lookups - lookups)
        self.release(node)

    def release(self, node: Node) -> None:
        """Drop *node*, and the directories that only it kept, unless something still refers to it."""
        pending = [node]
        while pending:
            one = pending.pop()
            if one.referenced or one is self.root or self._nodes.get(one.ino) is not one:
                continue
            del self._nodes[one.ino]
            for parent, _ in one.names:
                parent.users -= 1
                pending.append(parent)
            one.names.clear()
