"""Names: looking them up, making, moving and removing them; and the attributes of what they lead to.

Every change of a name passes `Standing.require_changeable` first.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import replace
from typing import NamedTuple

from repofs.access import Act
from repofs.errors import NotPermitted
from repofs.model import Mark
from repofs.namespace.accounts import Entry
from repofs.namespace.backing import RENAME_EXCHANGE, RENAME_NOREPLACE, Backing, renameat2
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller, Change
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.repository.marks import ORIGINAL_BIT

_FILE_BITS = 0o777  # set-user-ID and set-group-ID of files are never kept
_NAME_BYTES = 4096  # that a new name takes, at most: an inode and its part of a directory
_DIRECTORY_BITS = 0o777 | stat.S_ISGID | stat.S_ISVTX


class _Move(NamedTuple):
    """A name that is to lead elsewhere; *gid* is the group that the file joins, None for its own."""

    node: Node
    parent: Node
    name: bytes
    new_parent: Node
    new_name: bytes
    gid: int | None


Found = tuple[Node, os.stat_result]
Opened = tuple[Node, os.stat_result, int]  # the last is the descriptor, which is also the handle


class Tree:
    """Operations on names. Each returns the node and its status where the kernel wants to know it."""

    def __init__(self, standing: Standing, rights: Rights, drops: Drops) -> None:
        self._standing = standing
        self._rights = rights
        self._backing: Backing = standing.backing
        self._table = standing.backing.table
        self._unsynced = standing.backing.unsynced
        self._drops = drops
        self._usage = drops.usage
        self._gives_away = os.geteuid() == 0  # an ordinary user's daemon makes only what is hers

    def look_up(self, parent: Node, name: bytes, caller: Caller) -> Found:
        """Find *name* in *parent* for *caller*. FileNotFoundError when there is none, AccessDenied in .repofs for
        strangers: of all other directories the kernel knows who may enter."""
        if parent.area is Area.OWN:
            self._rights.require_view(parent, caller.uid)
        return self.lookup(parent, name)

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
        return self.enter(parent, name, os.stat(name, dir_fd=fd, follow_symlinks=False))

    def enter(self, parent: Node, name: bytes, status: os.stat_result) -> Found:
        """Take in that *name* in *parent*, not a hidden one, has *status*."""
        if status.st_dev != self._table.device:
            raise OSError(errno.EXDEV, "another file system is mounted inside the repository")
        node = self._table.intern(status, parent, name)
        if node.is_directory:
            node.area = self._standing.names.area(parent, name)
        return node, status

    # --- making ---------------------------------------------------------------------------------

    def create(self, parent: Node, name: bytes, mode: int, flags: int, caller: Caller) -> Opened:
        """Make a regular file and open it. FileExistsError when there is one."""
        gid = self.require_import(parent, name, caller)
        self._usage.accounts.require_some(self._usage.entry(parent, gid))
        directory = self._backing.directory(parent)
        access = flags & os.O_ACCMODE | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, access, caller.unmasked(mode, 0o600) & _FILE_BITS, dir_fd=directory)
        try:
            self._give(fd, gid, caller)
            node, status = self.enter(parent, name, os.fstat(fd))
        except OSError:
            os.unlink(name, dir_fd=directory)
            os.close(fd)
            raise
        self._unsynced.add(parent)
        return node, status, fd

    def require_import(self, parent: Node, name: bytes, caller: Caller) -> int:
        """Refuse to make *name* in *parent*: where users make no names, and where it is not *caller*'s to import.

        Returns the group that what is made there belongs to.
        """
        self._standing.require_changeable(parent, name)
        status = self._backing.status(parent)
        self._rights.require(Act.IMPORT, parent, caller.uid, status)
        if caller.uid != 0:
            self._backing.room.take(_NAME_BYTES)
        return self._rights.shown(parent, status).gid

    def _give(self, made: int | bytes, gid: int, caller: Caller, directory: int | None = None) -> None:
        """What is new belongs to its maker, whose copying program goes on to set its times, and to the group *gid*.

        It is a descriptor, or a name in *directory*.
        """
        if self._gives_away:
            os.chown(made, caller.uid, gid, dir_fd=directory, follow_symlinks=directory is None)

    def mkdir(self, parent: Node, name: bytes, mode: int, caller: Caller) -> Found:
        """Make a directory."""
        gid = self.require_import(parent, name, caller)
        directory = self._backing.directory(parent)
        os.mkdir(name, caller.unmasked(mode, 0o700) & _DIRECTORY_BITS, dir_fd=directory)
        self._give(name, gid, caller, directory)
        node, status = self.lookup(parent, name)
        self._unsynced.add(parent, node)
        return node, status

    def symlink(self, parent: Node, name: bytes, target: bytes, caller: Caller) -> Found:
        """Make a symbolic link; it leads where the caller's own path lookup takes it."""
        gid = self.require_import(parent, name, caller)
        directory = self._backing.directory(parent)
        os.symlink(target, name, dir_fd=directory)
        self._give(name, gid, caller, directory)
        self._unsynced.add(parent)
        return self.lookup(parent, name)

    def link(self, node: Node, parent: Node, name: bytes, caller: Caller) -> Found:
        """Give *node* one more name, in the same user directory."""
        self.require_import(parent, name, caller)
        if not node.names:
            raise FileNotFoundError(errno.ENOENT, "the file has been removed")
        if self._standing.is_log(node):
            raise NotPermitted("a log is kept where it is")  # by another name it could be written
        self._standing.registered.require_free(node)
        self._require_one_user(node, parent)
        self._rights.require(Act.RENAME, node, caller.uid)
        source, old = self._backing.where(node)
        with self._drops.journal.naming(parent):
            os.link(old, name, src_dir_fd=source, dst_dir_fd=self._backing.directory(parent), follow_symlinks=False)
            self._unsynced.add(parent)
            self._table.add_name(node, parent, name)
            self._drops.touched(node)
        return node, self._backing.status(node)

    def readlink(self, node: Node) -> bytes:
        """Return what symbolic link *node* says."""
        directory, name = self._backing.where(node)
        return os.readlink(name, dir_fd=directory)

    # --- removing and moving --------------------------------------------------------------------

    def unlink(self, parent: Node, name: bytes, caller: Caller) -> None:
        """Take the name of a file away. The original that an import directory holds is not touched by it."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        of = self._rights.require_in(Act.REMOVE, parent, name, status, caller.uid)
        known = self._table.known(status.st_ino)
        node, _ = self.enter(parent, name, status)
        counted = self._usage.removing(node, status)
        has_others = known is not None and len(node.names) < status.st_nlink and not self._standing.is_original(node)
        mark = self._mark_at(parent, name, status)
        os.unlink(name, dir_fd=directory)
        self._unsynced.add(parent)
        self._rights.tell(Act.REMOVE, parent, name, of, caller.uid, mark)
        self.name_gone(node, parent, name)
        self._usage.removed(node, counted, status)
        if has_others:  # names that nobody has looked up yet: its clock goes on under one of them
            self._drops.look_again(self._standing.user_directory(parent))

    def rmdir(self, parent: Node, name: bytes, caller: Caller) -> None:
        """Remove an empty directory."""
        self._standing.require_changeable(parent, name)
        directory = self._backing.directory(parent)
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        of = self._rights.require_in(Act.REMOVE, parent, name, status, caller.uid)
        node = self._table.known(status.st_ino)
        os.rmdir(name, dir_fd=directory)
        self._unsynced.add(parent)
        self._rights.tell(Act.REMOVE, parent, name, of, caller.uid, None)
        if node is not None:
            self.name_gone(node, parent, name)

    def name_gone(self, node: Node, parent: Node, name: bytes) -> None:
        """Forget that *name* in *parent* leads to *node*: it has been removed."""
        if node.is_directory:
            self._backing.forget_directory(node)
            self._unsynced.gone(node)
        self._table.remove_name(node, parent, name)
        self._lost_a_name(node)
        self._table.release(parent)

    def rename(self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, flags: int, caller: Caller) -> Node:
        """Move a name, over another one unless *flags* (renameat2's) say otherwise; return what was moved."""
        if flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE):
            raise OSError(errno.EINVAL, "of these flags only NOREPLACE and EXCHANGE are known here")
        self._standing.require_changeable(parent, name)
        self._standing.require_changeable(new_parent, new_name)
        self._require_one_user(parent, new_parent)
        source = self._backing.directory(parent)
        target = self._backing.directory(new_parent)
        node, status = self.lookup(parent, name)
        of = self._rights.require(Act.RENAME, node, caller.uid, status)
        self._rights.require(Act.RENAME, new_parent, caller.uid)
        replaced, counted, before = self._replaceable(new_parent, new_name, flags, caller)
        gid = self._group_to_join(node, new_parent, caller)
        moves = [_Move(node, parent, name, new_parent, new_name, gid)]
        if replaced is not None and flags & RENAME_EXCHANGE:
            back = self._group_to_join(replaced, parent, caller)
            moves.append(_Move(replaced, new_parent, new_name, parent, name, back))
        mark = self._standing.mark(node) if node.is_file and status.st_nlink > 1 else None
        with self._drops.journal.renaming(*((move.node, move.new_parent, move.new_name) for move in moves)):
            rule = self._standing.names.rule(node)
            renameat2(source, name, target, new_name, flags)
            self._unsynced.add(parent, new_parent)
            if replaced is node:
                return node  # two names of one inode: rename(2) does nothing
            self._rights.tell(Act.RENAME, parent, name, of, caller.uid, mark, to=os.fsdecode(new_name))
            self._moved(moves, replaced)
            if replaced is not None:
                self._usage.removed(replaced, counted, before)
            if node.is_directory:
                self._drops.directory_renamed(node, rule, was_temporary=self._standing.names.temporary(name))
        self._table.release(parent)
        return node

    def _moved(self, moves: list[_Move], replaced: Node | None) -> None:
        """Take in that names lead elsewhere, and that *replaced* has lost the one that the first move took."""
        for move in moves:
            self._table.remove_name(move.node, move.parent, move.name)
        if replaced is not None:
            self._table.remove_name(replaced, moves[0].new_parent, moves[0].new_name)
        for move in moves:
            self._arrived(move.node, move.new_parent, move.new_name, move.gid)
        if replaced is not None and len(moves) == 1:
            self._replaced(replaced)
        directories = [(move.node, move.parent, move.name) for move in moves if move.node.is_directory]
        for directory, *_ in directories:
            self._usage.renamed(directory)
        self._standing.registered.directories_renamed(directories)
        self._drops.failed.moved(directories)

    def _mark_at(self, directory: Node, name: bytes, status: os.stat_result) -> Mark | None:
        """Return the mark of what *name* in *directory* is; a single name is no original's."""
        if not stat.S_ISREG(status.st_mode) or status.st_nlink == 1:
            return None
        return self._standing.mark(self.lookup(directory, name)[0])

    def _require_one_user(self, node: Node, directory: Node) -> None:
        """Refuse what would lead from one user directory into another (EXDEV): mv then copies, which is an import."""
        if self._standing.user_directory(node) is not self._standing.user_directory(directory):
            raise OSError(errno.EXDEV, "what lies in a user directory is its user's: copy it")

    def _replaceable(
        self, parent: Node, name: bytes, flags: int, caller: Caller
    ) -> tuple[Node | None, Entry | None, os.stat_result | None]:
        """Return what *name* is, which is to give way to another, where it is counted then no more, and its status.

        AccessDenied when it is not *caller*'s.
        """
        try:
            status = os.stat(name, dir_fd=self._backing.directory(parent), follow_symlinks=False)
        except FileNotFoundError:
            return None, None, None
        exchanged = bool(flags & RENAME_EXCHANGE)
        self._rights.require_in(Act.RENAME if exchanged else Act.REMOVE, parent, name, status, caller.uid)
        node, _ = self.enter(parent, name, status)
        return node, None if exchanged else self._usage.removing(node, status), status

    def _arrived(self, node: Node, parent: Node, name: bytes, gid: int | None) -> None:
        self._table.add_name(node, parent, name)
        if node.is_directory:
            node.area = self._standing.names.area(parent, name)
        elif node.is_file:
            if gid is not None:
                status = self._backing.status(node)
                os.chown(self._backing.target(node), -1, gid)
                self._usage.regrouped(node, status, gid)
                self._rights.changed(node)
            self._usage.found(node)
            self._drops.renamed(node)

    def _group_to_join(self, node: Node, directory: Node, caller: Caller) -> int | None:
        """Return the group that *node* gets when it is moved to *directory*; None when it keeps its own.

        A drop belongs to the group of the directory that it lies in, an original stays in its fileset's. Where *caller*
        might not chgrp the drop to that group: EXDEV, at which mv copies; NotPermitted when its user is not in it.
        """
        if not self._gives_away or not node.is_file:
            return None
        if self._standing.seal(node) is not None or self._standing.is_original(node):
            return None
        gid = self._rights.shown(directory, self._backing.status(directory)).gid
        if self._backing.status(node).st_gid == gid:
            return None
        if self._rights.is_group(gid):
            if not self._rights.may(Act.CHGRP, node, caller.uid):
                raise OSError(errno.EXDEV, "the directory is of another group: copy it")
            self._rights.require_member(node, gid)
        self._usage.require_group(node, gid)
        return gid

    def _replaced(self, node: Node) -> None:
        if node.is_directory:
            self._backing.forget_directory(node)
            self._unsynced.gone(node)
        self._lost_a_name(node)

    def _lost_a_name(self, node: Node) -> None:
        if node.names:
            self._drops.lost_a_name(node)
        else:
            self._drops.removed(node)
        self._table.release(node)

    # --- attributes -----------------------------------------------------------------------------

    def setattr(self, node: Node, change: Change, caller: Caller, fd: int | None = None) -> os.stat_result:
        """Change mode, owner, times or size of *node*; a size is its bytes, and an original's is refused.

        *fd* is the caller's descriptor that may write, if that is what the size is changed by.
        """
        status = self._backing.status(node)
        if change.uid == self._rights.shown(node, status).uid:
            change = replace(change, uid=None)  # cp -p; the inode behind it may be somebody else's, outside
        self._require_settable(node, change, status, caller)
        if change.size is not None:
            self._drops.activity(node, caller.uid)
            self._truncate(node, status, change.size, fd)
        mark = self._standing.mark(node) if change.mtime_ns is not None else None
        self._apply(node, change)
        self._backing.changed(node)
        if node.is_file:
            if change.mtime_ns is not None:
                self._drops.times_set(node, mark)
            self._drops.touched(node)
        return self._backing.status(node)

    def _require_settable(self, node: Node, change: Change, status: os.stat_result, caller: Caller) -> None:
        if self._standing.is_kept(node):
            raise NotPermitted("the repository keeps this itself")
        if change.size is not None:
            self._rights.require_writable(node, caller.uid)
        if not node.names:
            return  # removed: who has it open goes on
        if change.uid is not None:
            self._require_giving(node, status, caller)
        if (change.mode, change.atime_ns, change.mtime_ns) == (None, None, None):
            return
        owners_alone = change.mode is not None or self._standing.is_original(node)
        if owners_alone and caller.uid not in (0, self._rights.shown(node, status).uid):
            raise NotPermitted("only its owner, as stat shows, changes mode or times")
        self._rights.require(Act.SET, node, caller.uid, status)

    def _require_giving(self, node: Node, status: os.stat_result, caller: Caller) -> None:
        self._rights.require(Act.CHOWN, node, caller.uid, status)
        if self._standing.is_original(node) or (node.is_directory and node.area is Area.USER):
            raise NotPermitted("it belongs to the user in whose directory it lies")

    def _truncate(self, node: Node, status: os.stat_result, size: int, fd: int | None) -> None:
        self._usage.require_size(node, status, size)
        self._drops.writing(node, "by truncate")
        self._drops.cut(node)
        try:
            if fd is not None:
                os.ftruncate(fd, size)
            else:
                target = self._backing.target(node)
                os.truncate(b"/proc/self/fd/%d" % target if isinstance(target, int) else target, size)
            self._usage.resized(node, status, size)
        finally:
            self._drops.truncated(node)

    def _apply(self, node: Node, change: Change) -> None:
        target = self._backing.target(node)
        follow = isinstance(target, int)
        if change.uid is not None and self._gives_away:
            os.chown(target, change.uid, -1, follow_symlinks=follow)
        if change.mode is not None:
            if stat.S_ISLNK(node.format):
                raise OSError(errno.EOPNOTSUPP, "a symbolic link has no mode")
            os.chmod(target, self._kept(node, change.mode))
        if change.atime_ns is not None or change.mtime_ns is not None:
            self._set_times(node, target, change)

    def _kept(self, node: Node, mode: int) -> int:
        """Return the bits of *mode* that are kept, and the one that is not the user's to change."""
        if node.is_directory:
            return mode & _DIRECTORY_BITS
        return mode & _FILE_BITS | self._backing.status(node).st_mode & ORIGINAL_BIT

    def _set_times(self, node: Node, target: int | bytes, change: Change) -> None:
        now = self._backing.status(node)
        atime = now.st_atime_ns if change.atime_ns is None else change.atime_ns
        mtime = now.st_mtime_ns if change.mtime_ns is None else change.mtime_ns
        os.utime(target, ns=(atime, mtime), follow_symlinks=isinstance(target, int))
