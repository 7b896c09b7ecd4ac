"""All nodes of a mount, by inode number, and the files that have none.

A file to which nothing but the kernel refers becomes a record in `_packed` when others are asked about, and a node
again when it is. Whoever keeps a node object keeps it a node: of one inode there are never two.
"""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from repofs.namespace import _packed
from repofs.namespace.nodes import ROOT_INODE, Area, Node

KEPT_NODES = 32_768  # of files that only the kernel refers to: those that were asked about last


class InodeTable:
    """All nodes, and what is packed, by inode number. A node stays while anything refers to it."""

    def __init__(self, root_device: int, root_inode: int, leads_to: Callable[[Node, bytes, int], bool]) -> None:
        """*leads_to* says whether a name in a directory leads to a backing inode."""
        self._root_inode = root_inode
        self._leads_to = leads_to
        self.device = root_device
        self.keep_open: Callable[[Node], bool] = lambda _: False  # holds what was opened past us: `Reopening`
        self._generations = itertools.count(1)
        self.root = Node(ROOT_INODE, stat.S_IFDIR, 0)
        self.root.lookups = 1
        self.root.area = Area.ROOT
        self._nodes: dict[int, Node] = {ROOT_INODE: self.root}
        self.packed = _packed.Packed(self._nodes)
        self._waiting: deque[Node] = deque()  # to be packed

    def __len__(self) -> int:
        return len(self._nodes) + len(self.packed)

    def inodes(self) -> list[int]:
        """Return the numbers of all that the kernel refers to, but for the root."""
        return [
            ino for ino, node in self._nodes.items() if node.lookups and node is not self.root
        ] + self.packed.numbers()

    def packed_below(self, top: Node) -> Iterator[int]:
        """Yield the numbers of all below *top* that are no nodes: files to which only the kernel refers."""
        for node in top.below():
            yield from self.packed.files_in(node.ino)

    def shown_inode(self, backing_inode: int) -> int:
        return ROOT_INODE if backing_inode == self._root_inode else backing_inode

    def get(self, ino: int) -> Node | None:
        """Return the node of *ino*, or None when nothing refers to it."""
        return self._nodes.get(ino) or self._unpack(ino)

    def known(self, backing_inode: int) -> Node | None:
        """Return the node of a living backing inode, or None when nothing refers to it."""
        node = self.get(self.shown_inode(backing_inode))
        return None if node is None or node.removed else node

    def intern(self, status: os.stat_result, parent: Node, name: bytes) -> Node:
        """Return the node of a backing inode that was just found as *name* in *parent*."""
        ino = self.shown_inode(status.st_ino)
        format = stat.S_IFMT(status.st_mode)
        node = self._nodes.get(ino) or self._unpack(ino, (parent, name))
        if node is not None and parent.children.get(name) is not node:
            self._lose_dead_names(node)
            node = self._nodes.get(ino)
        if node is None:
            node = self._nodes[ino] = Node(ino, format, 0)
        elif node.removed or node.format != format:
            old, node = node, Node(ino, format, next(self._generations))
            node.lookups = old.lookups  # the kernel counts by number: its FORGETs of the old come here
            self._nodes[ino] = node
        if parent.children.get(name) is not node:
            self.add_name(node, parent, name)
        return node

    def _lose_dead_names(self, node: Node) -> None:
        """Take from *node*, found by another name, those that lead to it no more: it was removed by a process of ours,
        and its number may be that of a new file. A number is not given again while somebody has the file open."""
        if node.is_file and not node.handles and node.activity is None:
            for parent, name in tuple(node.names):
                if not self._leads_to(parent, name, node.ino):
                    self.lose_name(parent, name)

    def refer(self, node: Node) -> None:
        """Count one reference of the kernel to *node*."""
        node.lookups += 1
        self._wait(node)

    def refer_to(self, status: os.stat_result, parent: Node, name: bytes) -> int:
        """Count one reference of the kernel to the regular file that was just found as *name* in *parent*.

        Returns its generation. No node is made for it unless there is one.
        """
        generation = self.packed.refer(status.st_ino, parent.ino, parent.children, name)
        if generation is not None:
            return generation
        node = self.intern(status, parent, name)
        self.refer(node)
        return node.generation

    def add_name(self, node: Node, parent: Node, name: bytes) -> None:
        """Remember that *name* in *parent* leads to *node*, and no more to what it led to before."""
        self.lose_name(parent, name)
        if node.is_directory and node.names:  # it has one name: the other is not there any more
            self.remove_name(node, *node.names[0])
        self._bind(node, parent, name)

    def _bind(self, node: Node, parent: Node, name: bytes) -> None:
        node.names.append((parent, name))
        parent.gain(name, node)

    def lose_name(self, parent: Node, name: bytes) -> None:
        """Remember that *name* in *parent* leads no more to what it led to, if anything.

        repofs itself changes names behind the mount's back: a log is written anew, a failed import undone. What is
        packed is compared with its names when it is unpacked.
        """
        before = parent.children.get(name)
        if before is not None:
            self.remove_name(before, parent, name)
            before.removed = self.is_over(before)
            self.release(before)

    def is_over(self, node: Node) -> bool:
        """Whether no name and no handle of *node* is left."""
        return not (node.names or node.handles or self.keep_open(node))

    def remove_name(self, node: Node, parent: Node, name: bytes) -> None:
        if parent.children.get(name) is node:
            node.names.remove((parent, name))
            parent.lose(name)

    def forget(self, ino: int, lookups: int) -> None:
        """Take back *lookups* references of the kernel."""
        emptied = self.packed.forget(ino, lookups)
        if emptied is not None:
            self._emptied(emptied)
            return
        node = self._nodes.get(ino)
        if node is None or node is self.root:
            return
        node.lookups = max(0, node.lookups - lookups)
        self.release(node)

    def _emptied(self, directories: Sequence[int]) -> None:
        """Nothing is packed any more in *directories*, given by number."""
        for node in [self._nodes[number] for number in directories]:
            self.release(node)

    def release(self, node: Node) -> None:
        """Drop *node*, and the directories that only it kept, unless something still refers to it."""
        pending = [node]
        while pending:
            one = pending.pop()
            if self._nodes.get(one.ino) is not one:
                continue
            if self._is_referenced(one):
                if one.lookups:
                    self._wait(one)
                continue
            self._remove(one)
            pending += [parent for parent, _ in one.names]
            one.names.clear()

    def _is_referenced(self, node: Node) -> bool:
        return bool(node.lookups) or node.busy or self.packed.is_in(node.ino) or node is self.root

    def _remove(self, node: Node) -> None:
        del self._nodes[node.ino]
        for parent, name in node.names:
            parent.lose(name)

    # --- packing --------------------------------------------------------------------------------

    def _wait(self, node: Node) -> None:
        """Have *node* packed after the next files that are asked about; the one that has waited longest is."""
        if not node.is_file or node.waits:
            return
        node.waits = True
        self._waiting.append(node)
        for _ in range(min(len(self._waiting) - KEPT_NODES, 2)):  # two: one may have to wait on
            self._pack(self._waiting.popleft())

    def _pack(self, node: Node) -> None:
        node.waits = False
        needed = node.busy or not node.lookups or not node.names or node.refusal is not None or node.aged
        if needed or any(self._nodes.get(one.ino) is not one for one in (node, *(parent for parent, _ in node.names))):
            return  # `release` comes back to it
        if _holders(node) > _ALONE + len(node.names) or max(node.lookups, node.generation) > _packed.MOST:
            node.waits = True
            self._waiting.append(node)
        else:
            places = [(parent.ino, name) for parent, name in node.names]
            self.packed.add(node.ino, node.lookups, node.generation, places)
            self._remove(node)

    def _unpack(self, ino: int, seen: tuple[Node, bytes] | None = None) -> Node | None:
        """Return a node for *ino*, if it is packed; *seen* is where it has just been found.

        A name that was taken away behind the mount's back it has not.
        """
        record = self.packed.get(ino)
        if record is None:
            return None
        if seen is not None:
            self.lose_name(*seen)
        self.packed.remove(ino)
        lookups, generation, lies = record
        node = self._nodes[ino] = Node(ino, stat.S_IFREG, generation)
        node.lookups = lookups
        places = [(self._nodes[number], name) for number, name in lies]
        for parent, name in places:
            if name not in parent.children and ((parent, name) == seen or self._leads_to(parent, name, ino)):
                self._bind(node, parent, name)
        node.removed = self.is_over(node)
        for parent, _ in places:
            self.release(parent)
        self._wait(node)
        return node


def _holders(node: Node) -> int:
    return sys.getrefcount(node)


def _holders_of_one() -> int:
    """Return what `_holders` says of a node that lies in a dict and is a variable of the caller."""
    nodes = {ROOT_INODE: Node(ROOT_INODE, stat.S_IFREG, 0)}
    node = nodes[ROOT_INODE]
    return _holders(node)


_ALONE = _holders_of_one()
