"""pyfuse3.Operations: inodes and bytes in, the namespace called, attributes or an errno out.

A protocol adapter only: what a request means is decided in `namespace`, which this door never goes around.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Sequence

import pyfuse3

from repofs.errors import ReadOnly
from repofs.fuse import BACKING_SHIFT, LISTING_CACHED, LISTING_KEPT, native
from repofs.fuse.entry import entry_attributes, passing_link
from repofs.fuse.guard import guarded
from repofs.fuse.plain import PlainFiles
from repofs.fuse.source_operations import SourceOperations
from repofs.fuse.table_operations import TableOperations
from repofs.fuse.view_operations import ViewOperations
from repofs.fuse.virtual_operations import READ_ONLY, VirtualOperations, routed
from repofs.fuse.virtual_operations import caller_of as _caller
from repofs.fuse.xattr_table import XattrTable
from repofs.namespace.accounts import Accounts
from repofs.namespace.deleting import Deleting
from repofs.namespace.directories import Directories
from repofs.namespace.facts import Facts
from repofs.namespace.handles import CHANGES, Handles
from repofs.namespace.linking import Linking
from repofs.namespace.nodes import Area, Node
from repofs.namespace.own_files import OwnFiles
from repofs.namespace.regrouping import Regrouping
from repofs.namespace.reopening import Reopening
from repofs.namespace.request import Change
from repofs.namespace.rights import Rights
from repofs.namespace.source_tree import SourceTree
from repofs.namespace.standing import Standing
from repofs.namespace.table_tree import TableTree
from repofs.namespace.tree import Tree
from repofs.namespace.view_tree import ViewTree
from repofs.namespace.virtual import FIRST, PASSING

_WITH_TREES = (Area.ROOT, Area.USER, Area.OWN)  # in such directories virtual trees are shown
_DOTS = 2  # . and .., which each listing begins with and the kernel does not refer to
_STATVFS = ("f_bsize", "f_frsize", "f_blocks", "f_bfree", "f_bavail", "f_files", "f_ffree", "f_favail", "f_namemax")


@guarded
@routed
class Operations(pyfuse3.Operations):
    """The mount of one repository."""

    supports_dot_lookup = True
    enable_acl = True
    enable_writeback_cache = False

    def __init__(
        self,
        standing: Standing,
        rights: Rights,
        tree: Tree,
        handles: Handles,
        reopening: Reopening,
        directories: Directories,
        facts: Facts,
        regrouping: Regrouping,
        deleting: Deleting,
        linking: Linking,
        sources: SourceTree,
        tables: TableTree,
        views: ViewTree,
        own: OwnFiles,
        accounts: Accounts,
        cache_seconds: float,
    ) -> None:
        super().__init__()
        self._backing = standing.backing
        self.health = standing.backing.health
        self._table = standing.backing.table
        self._rights = rights
        self._tree = tree
        self._handles = handles
        self._reopening = reopening
        self._directories = directories
        self._xattrs = XattrTable(facts, standing, rights)
        self._regrouping = regrouping
        self._deleting = deleting
        self._linking = linking
        outside = SourceOperations(sources, handles, standing.backing.table, self._entry)
        # The highest numbers first.
        self._rooms: tuple[VirtualOperations, ...] = (
            outside,
            TableOperations(tables, cache_seconds),
            ViewOperations(views, handles),
        )
        self._passing = itertools.count(PASSING)
        self._looked_in = 0  # the directory, by number, in which a name was looked up last
        self._own = own
        self._accounts = accounts
        self._cache_seconds = cache_seconds

    def room_of(self, number: int) -> VirtualOperations:
        """Return who answers for an inode or a handle of a virtual tree."""
        return next(room for room in self._rooms if number >= room.first)

    def _node(self, ino: pyfuse3.InodeT) -> Node:
        self._backing.trim()
        node = self._table.get(ino)
        if ino >= FIRST:
            raise ReadOnly(READ_ONLY)
        if node is None or node.removed:
            raise OSError(errno.ESTALE, "the file has been removed")
        return node

    def _entry(self, node: Node, status: os.stat_result) -> pyfuse3.EntryAttributes:
        """Answer with *node*, which the kernel refers to once more from now on."""
        self._table.refer(node)
        return self._attributes(node, status)

    def _attributes(self, node: Node, status: os.stat_result) -> pyfuse3.EntryAttributes:
        return entry_attributes(node, status, self._rights.shown(node, status), self._keeps(node))

    def _as_read(
        self, node: Node, attributes: pyfuse3.EntryAttributes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Return *attributes* as the caller sees them: of a file in .repofs everybody has another."""
        if self._own.is_one(node):
            attributes.st_size = self._own.size(node, ctx.uid)
        return attributes

    def _keeps(self, node: Node) -> float:
        """Return how long the kernel may keep *node*: the importer replaces failure logs without a word to it."""
        area = node.area if node.is_directory else node.names[0][0].area if node.names else Area.DROPS
        return 0.0 if area is Area.OWN else self._cache_seconds

    # --- names ----------------------------------------------------------------------------------

    async def lookup(self, parent: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        directory = self._node(parent)
        if directory.area in _WITH_TREES:
            for room in self._rooms:
                top = room.top(directory, name, ctx.uid)
                if top is not None:
                    return top
        else:
            self._know(directory)
        if self._deleting.hides(directory, name, ctx.uid):
            raise FileNotFoundError(errno.ENOENT, "the caller is removing it")
        node, status = self._tree.look_up(directory, name, _caller(ctx))
        return self._as_read(node, self._entry(node, status), ctx)

    def _know(self, directory: Node) -> None:
        """Have names in *directory* looked up by the native module from now on, if the name before was in it too: who
        goes down a path asks for one in each."""
        if native is None:
            return
        if directory.ino != self._looked_in:
            self._looked_in = directory.ino
        elif not native.knows(directory.ino) and not self._deleting.hides_some(directory):
            plain = PlainFiles(directory, self._backing, self._rights, self._cache_seconds)
            fd = self._backing.directory(directory)
            native.know(fd, self._table, directory, plain.ownership, plain.own, self._cache_seconds)

    async def forget(self, inode_list: Sequence[tuple[pyfuse3.InodeT, int]]) -> None:
        for ino, lookups in inode_list:
            (self._table if ino < FIRST else self.room_of(ino).tree.nodes).forget(ino, lookups)
            self._reopening.forgotten(ino)

    async def mkdir(
        self, parent: pyfuse3.InodeT, name: bytes, mode: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(*self._tree.mkdir(self._node(parent), name, mode, _caller(ctx)))

    async def mknod(
        self, parent: pyfuse3.InodeT, name: bytes, mode: int, rdev: int, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(*self._handles.mknod(self._node(parent), name, mode, _caller(ctx)))

    async def symlink(
        self, parent: pyfuse3.InodeT, name: bytes, target: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        directory, caller = self._node(parent), _caller(ctx)
        if await self._linking.symlink(directory, name, target, caller):
            # The kernel takes nothing but a link for an answer; what is there from now on it asks for at once.
            return passing_link(next(self._passing), target, caller.uid, caller.gid)
        return self._entry(*self._tree.symlink(directory, name, target, caller))

    async def link(
        self, inode: pyfuse3.InodeT, parent: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._entry(*self._tree.link(self._node(inode), self._node(parent), name, _caller(ctx)))

    async def readlink(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> bytes:
        return self._tree.readlink(self._node(inode))

    async def unlink(self, parent: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        directory, caller = self._node(parent), _caller(ctx)
        if directory.area is Area.IMPORTS:
            self._deleting.unlink(directory, name, caller)
            self._some_are_hidden()
        else:
            self._tree.unlink(directory, name, caller)

    async def rmdir(self, parent: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        directory, caller = self._node(parent), _caller(ctx)
        if directory.area is Area.IMPORTS:
            await self._deleting.rmdir(directory, name, caller)
            self._some_are_hidden()
        else:
            self._tree.rmdir(directory, name, caller)

    @staticmethod
    def _some_are_hidden() -> None:
        """Have the kernel's next question for names in a directory asked here: some may be hidden from who asks."""
        if native is not None:
            native.forget_names()

    async def rename(
        self,
        parent_old: pyfuse3.InodeT,
        name_old: bytes,
        parent_new: pyfuse3.InodeT,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        self._tree.rename(self._node(parent_old), name_old, self._node(parent_new), name_new, flags, _caller(ctx))

    # --- attributes -----------------------------------------------------------------------------

    async def getattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        node = self._node(inode)
        return self._as_read(node, self._attributes(node, self._backing.status(node)), ctx)

    async def setattr(
        self,
        inode: pyfuse3.InodeT,
        attr: pyfuse3.EntryAttributes,
        fields: pyfuse3.SetattrFields,
        fh: pyfuse3.FileHandleT | None,
        ctx: pyfuse3.RequestContext,
    ) -> pyfuse3.EntryAttributes:
        node = self._node(inode)
        change = Change(
            mode=attr.st_mode if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            size=attr.st_size if fields.update_size else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
        )
        if fields.update_gid:
            await self._regrouping.as_owner(node, attr.st_gid, _caller(ctx))
        return self._attributes(node, self._handles.setattr(node, change, fh, _caller(ctx)))

    async def getxattr(self, inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._xattrs.answering(name).get(self._node(inode), name, _caller(ctx))

    async def setxattr(self, inode: pyfuse3.InodeT, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        await self._xattrs.answering(name).set(self._node(inode), name, value, _caller(ctx))

    async def listxattr(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return self._xattrs.listed(self._node(inode), _caller(ctx))

    async def removexattr(self, inode: pyfuse3.InodeT, name: bytes, ctx: pyfuse3.RequestContext) -> None:
        self._xattrs.answering(name).remove(self._node(inode), name, _caller(ctx))

    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        there = os.fstatvfs(self._backing.root_fd)
        answer = pyfuse3.StatvfsData()
        for field in _STATVFS:
            setattr(answer, field, getattr(there, field))
        reserved = self._backing.room.reserve(there) // there.f_frsize
        answer.f_bavail = max(there.f_bavail - reserved, 0)
        account = self._accounts.bound(ctx.uid)
        if account is not None:
            answer.f_blocks = account.limit // there.f_frsize
            answer.f_bfree = answer.f_bavail = min(account.left // there.f_frsize, answer.f_bavail)
        return answer

    # --- files ----------------------------------------------------------------------------------

    async def create(
        self, parent: pyfuse3.InodeT, name: bytes, mode: int, flags: int, ctx: pyfuse3.RequestContext
    ) -> tuple[pyfuse3.FileInfo, pyfuse3.EntryAttributes]:
        node, status, fh = self._handles.create(self._node(parent), name, mode, flags, _caller(ctx))
        direct = self._handles.is_direct(fh)
        return pyfuse3.FileInfo(fh=fh, keep_cache=not direct, direct_io=direct), self._entry(node, status)

    async def open(self, inode: pyfuse3.InodeT, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        if flags & CHANGES:
            self.health.require()
        node, caller = self._node(inode), _caller(ctx)
        fh = await self._handles.open_elsewhere(node, flags, caller)
        if fh is None:
            fh = self._handles.open(node, flags, caller)
        if self._handles.is_direct(fh):
            return pyfuse3.FileInfo(fh=fh, direct_io=True)
        number = await self._handles.pass_through(fh)
        if number:
            return pyfuse3.FileInfo(fh=fh | number << BACKING_SHIFT)
        return pyfuse3.FileInfo(fh=fh, keep_cache=self._handles.keeps_bytes(fh, caller))

    # pyfuse3 takes any buffer (PyObject_GetBuffer), whatever its stub says
    async def read(  # type: ignore[override]
        self, fh: pyfuse3.FileHandleT, off: int, size: int
    ) -> bytes | memoryview:
        return await self._handles.read(fh, off, size)

    async def write(self, fh: pyfuse3.FileHandleT, off: int, buf: bytes) -> int:
        return self._handles.write(fh, off, buf)

    async def flush(self, fh: pyfuse3.FileHandleT) -> None:
        self._handles.flush(fh)
        await self._handles.before_close(fh)

    async def fsync(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        await self._handles.fsync(fh, datasync)

    async def release(self, fh: pyfuse3.FileHandleT) -> None:
        self._handles.release(fh)

    # --- directories ----------------------------------------------------------------------------

    async def opendir(self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        node = self._node(inode)
        fh = self._directories.open(node, _caller(ctx))
        if native is None or node.area in _WITH_TREES or self._deleting.hides_some(node):
            return pyfuse3.FileHandleT(fh)
        cached = LISTING_CACHED * self._directories.is_for_all(fh)
        return pyfuse3.FileHandleT(fh | cached | LISTING_KEPT * (cached and self._directories.is_kept(fh)))

    async def readdir(self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        self._backing.trim()
        directory, names = await self._directories.entries(fh, start_id)
        reader = self._directories.reader(fh)
        rooms = self._rooms_in(directory, reader)
        if rooms:
            names = [*names, *rooms]
        plain = self._plain(fh, directory)
        end = len(names)
        if plain is not None and native is not None:
            native.list(fh, names, self._table, directory, plain.ownership, self._cache_seconds)
            if start_id < _DOTS:
                end = _DOTS  # the kernel asks on, and is answered there
        shows = self._shows(fh, directory, reader, plain)
        for number in range(start_id, end):  # no slice: the kernel asks for some two hundred names at a time
            name, next_id = names[number], number + 1
            if name in rooms:
                if rooms[name].list_top(directory, name, reader, token, next_id):
                    continue
                return
            try:
                entry = shows(name) if number >= _DOTS else self._attributes(*self._tree.lookup(directory, name))
            except FileNotFoundError:
                continue  # removed since it was listed
            if entry is not None and not pyfuse3.readdir_reply(token, name, entry, next_id):
                if number >= _DOTS:
                    self._table.forget(entry.st_ino, 1)
                return

    def _plain(self, fh: int, directory: Node) -> PlainFiles | None:
        """Return what is shown of files in *directory* that need no node, where all who may list it see the same."""
        if not self._directories.is_for_all(fh) or self._deleting.hides_some(directory):
            return None
        return PlainFiles(directory, self._backing, self._rights, self._cache_seconds)

    def _shows(
        self, fh: int, directory: Node, reader: int, plain: PlainFiles | None
    ) -> Callable[[bytes], pyfuse3.EntryAttributes | None]:
        """Return what finds the entry of a name in *directory*, to which the kernel refers once more from then on; None
        for one that is not shown to *reader*. It is good for one request."""

        def show(name: bytes) -> pyfuse3.EntryAttributes | None:
            status = os.stat(name, dir_fd=fh, follow_symlinks=False)
            entry = None if plain is None else plain.entry(name, status)
            if entry is not None:
                return entry
            node, _ = self._tree.enter(directory, name, status)
            if not self._directories.lists(fh, node, status) or self._deleting.hides(directory, name, reader):
                self._table.release(node)
                return None
            return self._entry(node, status)

        return show

    def _rooms_in(self, directory: Node, reader: int) -> dict[bytes, VirtualOperations]:
        if directory.area not in _WITH_TREES:
            return {}
        return {name: room for room in self._rooms for name in room.tree.names_in(directory, reader)}

    async def fsyncdir(self, fh: pyfuse3.FileHandleT, datasync: bool) -> None:
        await self._directories.fsync(fh)

    async def releasedir(self, fh: pyfuse3.FileHandleT) -> None:
        self._directories.close(fh)
