"""Originals that are opened again by who has opened them before: the door to the kernel answers by itself (`Door`).

What was decided once stands as long as the file is the same to the nanosecond of its ctime, which all changes that are
written on it change: of rights, marks, names and bytes. Whoever changes anything else that decides calls `forget_all`.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

from repofs.model import Original
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Node
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.standing import Standing

_OLD_NS = 100_000_000  # after its last change: one that followed at once may bear the same time, of the kernel's clock


class Door(Protocol):
    """What answers in our place."""

    def remember(self, root: int, path: bytes, uid: int, device: int, ino: int, ctime_ns: int) -> None:
        """Let *uid* open again what lies at *path* below the directory *root*, while it is this file."""

    def forget_all(self) -> None: ...

    def descriptor(self, ino: int) -> int | None:
        """Return a new descriptor of the file *ino* if somebody has opened it so, and not closed it."""


class Reopening:
    """For one mount; without a *door* each open is asked about."""

    def __init__(self, standing: Standing, drops: Drops, passthrough: Passthrough, door: Door | None) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._drops = drops
        self._passthrough = passthrough
        self._door = door
        self._kept: dict[int, int] = {}  # descriptors of files without names, by inode number

    def allow(self, node: Node, status: os.stat_result, uid: int) -> None:
        """*uid* has opened *node*, which bore *status* then, and may keep what she reads: if it is an original of which
        the kernel asks for each read, she may open it again."""
        if self._door is None or not node.names or time.time_ns() - status.st_ctime_ns < _OLD_NS:
            return
        if self._passthrough.wants(node, status) or self._standing.seal(node) is not None:
            return
        if isinstance(self._standing.mark(node), Original):
            path = self._backing.path_below(self._backing.table.root, node)
            self._door.remember(self._backing.root_fd, path, uid, status.st_dev, status.st_ino, status.st_ctime_ns)

    def forget_all(self) -> None:
        """Let each be asked about anew."""
        if self._door is not None:
            self._door.forget_all()

    def is_open(self, node: Node) -> bool:
        """Whether somebody has *node*, whose names are gone, open all the same; it can be reached as such then."""
        fd = None if self._door is None or not node.is_file else self._door.descriptor(node.ino)
        if fd is None:
            return False
        node.hold(fd)
        node.removed = False
        self._kept[node.ino] = fd
        return True

    def forgotten(self, ino: int) -> None:
        """The kernel has forgotten *ino*: who had it open has closed it."""
        fd = self._kept.pop(ino, None)
        node = None if fd is None else self._backing.table.get(ino)
        if fd is not None and node is not None:
            self._drops.let_go(node, fd)
