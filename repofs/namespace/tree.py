"""Names: looking them up, making, moving and removing them; and the attributes of what they lead to.

Every change of a name passes `Standing.require_changeable` first.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from repofs.errors import NotPermitted
from repofs.namespace.backing import RENAME_EXCHANGE, Backing, renameat2
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing

_SETID = stat.S_ISUID | stat.S_ISGID


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: as the kernel says it of a request."""

    uid: int
    gid: int
    umask: int
    task: int  # thread id


@dataclass(frozen=True, slots=True)
class Change:
    """What setattr(2)'s family is to change; None leaves it. Times are in nanoseconds since the epoch."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None
    atime_ns: int | None = None
    mtime_ns: int | None = None


Found = tuple[Node, os.stat_result]
Opened = tuple[Node, os.stat_result, int]  # the last is the descriptor, which is also the handle


class Tree:
    """Operations on names. Each returns the node and its status where the kernel wants to know it."""

    def __init__(self, standing: Standing, drops: Drops) -> None:
        self._standing = standing
        self._backing: Backing = standing.backing
        self._table = standing.backing.table
        self._drops = drops
        self._gives_away = os.geteuid() == 0  # an ordinary user's daemon makes only what is hers

    def lookup(self, parent: Node, name: bytes) -> Found:
        """Find *name* in *parent*. FileNotFoundError when there is none."""
        if name == b".":
            return parent, self._backing.status(parent)
        if name == b"..":
            above = parent.names[0][0] if parent.names else parent
            return above, self._backing.status(above)
        if self._standing.names.hidden(parent, name):
            raise FileNotFoundError(errno.ENOENT, "no such name")
        fd = self._backing.directory(parent)
        return self._enter(parent, name, os.stat(name, dir_fd=fd, follow_symlinks=False))

    def _enter(self, parent: Node, name: bytes, status: os.stat_result) -> Found:
        if status.st_dev != self._table.device:
            raise OSError(errno.EXDEV, "another file system is mounted inside the repository")
        node = self._table.intern(status.st_ino, status.st_mode, parent, name)
        if node.is_directory:
            node.area = self._standing.names.area(parent, name)
        return node, status

    # --- making ---------------------------------------------------------------------------------

    def create(self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        """Make a regular file and open it. FileExistsError when there is one."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        wanted = mode & 0o7777 & ~caller.umask
        access = flags & os.O_ACCMODE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, access, wanted, dir_fd=directory)
        try:
            self._give(fd, parent, wanted, caller)
            node, status = self._enter(parent, name, os.fstat(fd))
        except OSError:
            os.unlink(name, dir_fd=directory)
            os.close(fd)
            raise
        return node, status, fd

    def _give(self, fd: int, parent: Node, mode: int, caller: Caller) -> None:
        """A new file belongs to its maker; its group is the directory's where that is set-group-ID."""
        if not self._gives_away:
            return
        os.fchown(fd, caller.uid, self._group(parent, caller))
        if mode & _SETID:  # chown has cleared them
            os.fchmod(fd, mode)

    def _group(self, parent: Node, caller: Caller) -> int:
        above = self._backing.status(parent)
        return above.st_gid if above.st_mode & stat.S_ISGID else caller.gid

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Found:
        """Make a directory."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        above = self._backing.status(parent)
        wanted = mode & 0o7777 & ~caller.umask | above.st_mode & stat.S_ISGID
        os.mkdir(name, wanted, dir_fd=directory)
        if self._gives_away:
            os.chown(name, caller.uid, self._group(parent, caller), dir_fd=directory, follow_symlinks=False)
            if wanted & _SETID or wanted & stat.S_ISVTX:
                os.chmod(name, wanted, dir_fd=directory)
        return self.lookup(parent, name)

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Found:
        """Make a symbolic link; it leads where the caller's own path lookup takes it."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        os.symlink(target, name, dir_fd=directory)
        if self._gives_away:
            os.chown(name, caller.uid, self._group(parent, caller), dir_fd=directory, follow_symlinks=False)
        return self.lookup(parent, name)

    def link(self, node: Node, parent: Node, name: bytes) -> Found:
        """Give *node* one more name."""
        self._standing.require_changeable(parent, name)
        if not node.names:
            raise FileNotFoundError(errno.ENOENT, "the file has been removed")
        if self._standing.is_log(node):
            raise NotPermitted("a log is kept where it is")  # by another name it could be written
        source, old = self._backing.where(node)
        os.link(old, name, src_dir_fd=source, dst_dir_fd=self._backing.directory(parent), follow_symlinks=False)
        self._table.add_name(node, parent, name)
        self._drops.touched(node)
        return node, self._backing.status(node)

    def readlink(self, node: Node) -> bytes:
        """Return what symbolic link *node* says."""
        directory, name = self._backing.where(node)
        return os.readlink(name, dir_fd=directory)

    # --- removing and moving --------------------------------------------------------------------

    def unlink(self, parent: Node, name: bytes) -> None:
        """Take the name of a file away. The original that an import directory holds is not touched by it."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        node = self._table.known(status.st_ino)
        has_others = node is not None and len(node.names) < status.st_nlink and not self._standing.is_original(node)
        os.unlink(name, dir_fd=directory)
        if node is not None:
            self._name_gone(node, parent, name)
        if has_others:  # names that nobody has looked up yet: its clock goes on under one of them
            self._drops.look_again(self._standing.user_directory(parent))

    def rmdir(self, parent: Node, name: bytes) -> None:
        """Remove an empty directory."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        node = self._table.known(os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino)
        os.rmdir(name, dir_fd=directory)
        if node is not None:
            self._backing.forget_directory(node)
            self._name_gone(node, parent, name)

    def _name_gone(self, node: Node, parent: Node, name: bytes) -> None:
        self._table.remove_name(node, parent, name)
        if not node.names:
            self._drops.removed(node)
        self._table.release(node)
        self._table.release(parent)

    def rename(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int) -> Node:
        """Move a name, over another one unless *flags* (renameat2's) say otherwise; return what was moved."""
        self._standing.require_changeable(parent, name)
        self._standing.require_changeable(new_parent, new_name)
        source = self._backing.directory(parent)
        target = self._backing.directory(new_parent)
        node, _ = self.lookup(parent, name)
        replaced = self._known(target, new_name)
        rule = self._standing.names.rule(node)
        if flags:
            renameat2(source, name, target, new_name, flags)
        else:
            os.rename(name, new_name, src_dir_fd=source, dst_dir_fd=target)
        if replaced is node:
            return node  # two names of one inode: rename(2) does nothing
        self._table.remove_name(node, parent, name)
        if replaced is not None:
            self._table.remove_name(replaced, new_parent, new_name)
        self._arrived(node, new_parent, new_name)
        if replaced is not None:
            if flags & RENAME_EXCHANGE:
                self._arrived(replaced, parent, name)
            else:
                self._replaced(replaced)
        if node.is_directory:
            self._drops.directory_renamed(node, rule, was_temporary=self._standing.names.temporary(name))
        self._table.release(parent)
        return node

    def _known(self, directory: int, name: bytes) -> Node | None:
        try:
            return self._table.known(os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino)
        except FileNotFoundError:
            return None

    def _arrived(self, node: Node, parent: Node, name: bytes) -> None:
        self._table.add_name(node, parent, name)
        if node.is_directory:
            node.area = self._standing.names.area(parent, name)
        elif node.is_file:
            self._drops.renamed(node)

    def _replaced(self, node: Node) -> None:
        if node.is_directory:
            self._backing.forget_directory(node)
        if not node.names:
            self._drops.removed(node)
        self._table.release(node)

    # --- attributes -----------------------------------------------------------------------------

    def setattr(self, node: Node, change: Change, caller: Caller, fd: int | None = None) -> os.stat_result:
        """Change mode, owner, times or size of *node*; a size is its bytes, and an original's is refused.

        *fd* is the caller's descriptor that may write, if that is what the size is changed by.
        """
        if node.is_directory and node.area in (Area.IMPORTS, Area.OWN, Area.ROOT):
            raise NotPermitted("the repository keeps this directory itself")
        if self._standing.is_log(node):
            raise NotPermitted("a log is written by the repository alone")
        if change.size is not None:
            self._standing.require_writable(node)
            self._drops.activity(node, caller.uid)
            self._truncate(node, change.size, fd)
        mark = self._standing.mark(node) if change.mtime_ns is not None else None
        self._apply(node, change)
        if node.is_file:
            if change.mtime_ns is not None:
                self._drops.times_set(node, mark)
            self._drops.touched(node)
        return self._backing.status(node)

    def _truncate(self, node: Node, size: int, fd: int | None) -> None:
        self._drops.writing(node, "by truncate")
        try:
            if fd is not None:
                os.ftruncate(fd, size)
            else:
                target = self._backing.target(node)
                os.truncate(b"/proc/self/fd/%d" % target if isinstance(target, int) else target, size)
        finally:
            self._drops.truncated(node)

    def _apply(self, node: Node, change: Change) -> None:
        target = self._backing.target(node)
        follow = isinstance(target, int)
        if (change.uid is not None or change.gid is not None) and self._gives_away:
            os.chown(target, _or_same(change.uid), _or_same(change.gid), follow_symlinks=follow)
        if change.mode is not None:
            if stat.S_ISLNK(node.format):
                raise OSError(errno.EOPNOTSUPP, "a symbolic link has no mode")
            os.chmod(target, change.mode & 0o7777)
        if change.atime_ns is not None or change.mtime_ns is not None:
            self._set_times(node, target, change)

    def _set_times(self, node: Node, target: int | bytes, change: Change) -> None:
        now = self._backing.status(node)
        atime = now.st_atime_ns if change.atime_ns is None else change.atime_ns
        mtime = now.st_mtime_ns if change.mtime_ns is None else change.mtime_ns
        os.utime(target, ns=(atime, mtime), follow_symlinks=isinstance(target, int))


def _or_same(value: int | None) -> int:
    return -1 if value is None else value
