"""Reaching backing files: by a descriptor of their directory and their name, never by a joined path.

A joined path may exceed PATH_MAX and may lead elsewhere after a rename; a descriptor does neither.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections import OrderedDict
from pathlib import Path

from repofs.health import Health
from repofs.namespace.inode_table import InodeTable
from repofs.namespace.nodes import Node
from repofs.namespace.unsynced import Unsynced
from repofs.repository.room import Room
from repofs.threads import in_thread

_MOST_DESCRIPTORS = 1024
_LARGE_DIRECTORY = 1 << 19  # bytes: from about 10,000 names on, some 10 ms
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_libc = ctypes.CDLL(None, use_errno=True)


def renameat2(from_fd: int, name: bytes, to_fd: int, new_name: bytes, flags: int) -> None:
    """rename(2) with flags; Python's own has none."""
    if _libc.renameat2(from_fd, name, to_fd, new_name, ctypes.c_uint(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _list(fd: int) -> list[bytes]:
    return os.listdir(b"/proc/self/fd/%d" % fd)  # of a descriptor itself it makes strings: of a million, another 60 MB


async def names_in(fd: int) -> list[bytes]:
    """Return the names in the directory of *fd*; of a large one without holding up the loop."""
    return await in_thread(_list, fd) if os.fstat(fd).st_size > _LARGE_DIRECTORY else _list(fd)


class Backing:
    """The backing tree: directory descriptors, and system calls on a node by whichever way leads to it."""

    def __init__(self, managed: Path, reserve_bytes: int | None = None) -> None:
        self.root_fd = os.open(managed, os.O_PATH | os.O_DIRECTORY)
        status = os.fstat(self.root_fd)
        self.table = InodeTable(status.st_dev, status.st_ino, self.leads_to)
        self.health = Health()
        self.room = Room(self.root_fd, reserve_bytes)
        self.unsynced = Unsynced(self.table, self.root_fd, self.open)
        self._descriptors: OrderedDict[Node, int] = OrderedDict()

    def close(self) -> None:
        for fd in self._descriptors.values():
            os.close(fd)
        self._descriptors.clear()
        self.unsynced.close()
        os.close(self.root_fd)

    def directory(self, node: Node) -> int:
        """Return an O_PATH descriptor of directory *node*; it is good until the next `trim`.

        Raises FileNotFoundError when the directory has been removed.
        """
        missing: list[Node] = []
        while node is not self.table.root:
            fd = self._descriptors.get(node)
            if fd is not None:
                self._descriptors.move_to_end(node)
                break
            if not node.names:
                raise FileNotFoundError(errno.ENOENT, "the directory has been removed")
            missing.append(node)
            node = node.names[0][0]
        else:
            fd = self.root_fd
        for node in reversed(missing):
            fd = os.open(node.names[0][1], os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            self._descriptors[node] = fd
        return fd

    def has(self, node: Node, name: bytes) -> bool:
        """Whether there is a *name* in directory *node*."""
        try:
            os.stat(name, dir_fd=self.directory(node), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def leads_to(self, directory: Node, name: bytes, ino: int) -> bool:
        """Whether *name* in *directory* leads to the inode *ino*; what cannot be looked at counts as unchanged."""
        try:
            return os.stat(name, dir_fd=self.directory(directory), follow_symlinks=False).st_ino == ino
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True

    def trim(self) -> None:
        """Close the descriptors not used for longest. Called where an operation begins, so none is in use."""
        while len(self._descriptors) > _MOST_DESCRIPTORS:
            os.close(self._descriptors.popitem(last=False)[1])

    def forget_directory(self, node: Node) -> None:
        """Close the descriptor of a directory that was removed."""
        fd = self._descriptors.pop(node, None)
        if fd is not None:
            os.close(fd)

    def where(self, node: Node) -> tuple[int, bytes]:
        """Return (directory descriptor, name) of *node*. FileNotFoundError when it has no name any more."""
        if not node.names:
            raise FileNotFoundError(errno.ENOENT, "the file has been removed")
        parent, name = node.names[0]
        return self.directory(parent), name

    def status(self, node: Node) -> os.stat_result:
        """lstat *node*, open-unlinked files included. ESTALE when its name leads to another inode by now."""
        if node is self.table.root:
            return os.fstat(self.root_fd)
        if node.handles:
            return os.fstat(next(iter(node.handles)))
        fd, name = self.where(node)
        return self.require_same(node, os.stat(name, dir_fd=fd, follow_symlinks=False))

    @staticmethod
    def require_same(node: Node, status: os.stat_result) -> os.stat_result:
        """Return *status*, of what the name of *node* leads to. ESTALE when that is another inode by now."""
        if status.st_ino != node.ino:
            raise OSError(errno.ESTALE, "the backing file was replaced behind the mount's back")
        return status

    def target(self, node: Node) -> int | bytes:
        """Return an open descriptor of *node*, or a path whose end is not to be followed; never keep it.

        For calls that take no directory descriptor: extended attributes, times, owners.
        """
        if node is self.table.root:
            return b"/proc/self/fd/%d/." % self.root_fd
        if node.handles:
            return next(iter(node.handles))
        return b"/proc/self/fd/%d/%s" % self.where(node)

    def attribute(self, node: Node, name: bytes) -> bytes:
        """Return an extended attribute of *node*; ENODATA when it has none of that *name*."""
        target = self.target(node)
        return os.getxattr(target, name, follow_symlinks=isinstance(target, int))

    def changed(self, node: Node) -> None:
        """Heed that attributes of *node* were changed: a directory's, which no fsync of its own may follow."""
        if node.is_directory:
            self.unsynced.add(node)

    def attributes(self, node: Node) -> list[bytes]:
        """Return the names of the extended attributes of *node*."""
        target = self.target(node)
        return [os.fsencode(name) for name in os.listxattr(target, follow_symlinks=isinstance(target, int))]

    def set_attribute(self, node: Node, name: bytes, value: bytes) -> None:
        target = self.target(node)
        os.setxattr(target, name, value, follow_symlinks=isinstance(target, int))
        self.changed(node)

    def remove_attribute(self, node: Node, name: bytes) -> None:
        target = self.target(node)
        os.removexattr(target, name, follow_symlinks=isinstance(target, int))
        self.changed(node)

    def open(self, node: Node, flags: int) -> int:
        """Open *node* itself, never what a symbolic link of its name leads to."""
        if node is self.table.root:
            return os.open(b".", flags | os.O_CLOEXEC, dir_fd=self.root_fd)
        fd, name = self.where(node)
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)

    def has_hole(self, node: Node) -> bool:
        """Whether there are bytes of the file that were never written, or never reached the disk."""
        fd = self.open(node, os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            return size > 0 and os.lseek(fd, 0, os.SEEK_HOLE) < size
        finally:
            os.close(fd)

    def path_below(self, top: Node, node: Node) -> bytes:
        """Return the names from directory *top* down to *node*, joined by slashes; b"" for *top* itself."""
        parts: list[bytes] = []
        while node is not top:
            if not node.names:
                raise FileNotFoundError(errno.ENOENT, "the file has been removed")
            node, name = node.names[0]
            parts.append(name)
        return b"/".join(reversed(parts))
