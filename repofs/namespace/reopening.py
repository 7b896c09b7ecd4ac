"""Originals that are opened again by who has opened them before: the door to the kernel answers by itself (`Door`).

What was decided once stands as long as the file is the same to the nanosecond of its ctime, which all changes that are
written on it change: of rights, marks, names and bytes. Whoever changes anything else that decides calls `forget_all`.
"""

from __future__ import annotations

import os
import time
from typing import Protocol

import structlog

from repofs.model import Original
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Node
from repofs.namespace.passthrough import Passthrough
from repofs.namespace.standing import Standing

_OLD_NS = 100_000_000  # after its last change: one that followed at once may bear the same time, of the kernel's clock
_SECOND_NS = 1_000_000_000  # to which the times of some file systems are cut

log = structlog.get_logger(__name__)


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
        self._backing.table.keep_open = self.keep_open

    def allow(self, node: Node, status: os.stat_result, uid: int) -> None:
        """*uid* has opened *node*, which bore *status* then, and may keep what she reads: if it is an original of which
        the kernel asks for each read, she may open it again."""
        if self._door is None or not node.names or not _is_old(status):
            return
        if self._passthrough.wants(node, status) or self._standing.seal(node) is not None:
            return
        try:
            if self._is_intact(node):
                path = self._backing.path_below(self._backing.table.root, node)
                self._door.remember(self._backing.root_fd, path, uid, status.st_dev, status.st_ino, status.st_ctime_ns)
        except OSError as error:  # it is asked about at each open, then
            log.info("an original cannot be remembered as opened", inode=node.ino, error=str(error))

    def _is_intact(self, node: Node) -> bool:
        """Whether *node* is an original, its bytes its own and as imported, by what its inode says after its status was
        taken: a mark that is known may have been written since, by who verifies."""
        self._standing.forget_mark(node)
        if not isinstance(self._standing.mark(node), Original) or self._standing.origin(node) is not None:
            return False
        self._standing.require_intact(node)
        return True

    def forget_all(self) -> None:
        """Let each be asked about anew."""
        if self._door is not None:
            self._door.forget_all()

    def keep_open(self, node: Node) -> bool:
        """Hold *node*, whose names are gone, if somebody has opened it past us; return whether."""
        fd = None if self._door is None or not node.is_file else self._door.descriptor(node.ino)
        if fd is None:
            return False
        node.hold(fd)
        self._kept[node.ino] = fd
        return True

    def forgotten(self, ino: int) -> None:
        """The kernel has forgotten *ino*: who had it open has closed it."""
        fd = self._kept.pop(ino, None)
        node = None if fd is None else self._backing.table.get(ino)
        if fd is not None and node is not None:
            self._drops.let_go(node, fd)


def _is_old(status: os.stat_result) -> bool:
    """Whether a change of the file from now on would give it another ctime."""
    coarse = status.st_ctime_ns % _SECOND_NS == 0
    return time.time_ns() - status.st_ctime_ns > (2 * _SECOND_NS if coarse else _OLD_NS)
