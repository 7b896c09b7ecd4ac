"""Declared sources as the mount shows them, below `.sources/NAME/`: read-only, with the caller's own rights.

Nothing of it lies in the backing tree, and nothing is kept in the kernel: each look-up and each open asks the kernel of
the machine once more, as the caller. A node is a name, not an inode: a source is not ours, and may change at any time.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import structlog

from repofs.errors import NotFound, ReadOnly
from repofs.namespace.linking import Linking
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.tree import Found, Tree
from repofs.namespace.virtual import SOURCES, VirtualNode, VirtualNodes, made_status
from repofs.patience import Patience
from repofs.repository import as_user
from repofs.repository.outside import look_beneath, open_beneath
from repofs.repository.sources import Sources

NAME = b".sources"
_TOP = ""
_ACL = b"system.posix_acl_access"
_TOP_STATUS = made_status(stat.S_IFDIR | 0o555)
_SHOWN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)

Answer = TypeVar("Answer")

log = structlog.get_logger()


class SourcePlace(NamedTuple):
    """A name in a source."""

    source: str  # _TOP: .sources itself
    path: bytes  # below the source


SourceNode = VirtualNode[SourcePlace]
Listed = tuple[bytes, SourceNode, os.stat_result]


class SourceTree:
    """The sources of one mount."""

    def __init__(self, sources: Sources, rights: Rights, linking: Linking, tree: Tree, patience: Patience) -> None:
        self._sources = sources
        self._rights = rights
        self._linking = linking
        self._tree = tree
        self.nodes: VirtualNodes[SourcePlace] = VirtualNodes(SOURCES)
        self._patience = patience
        self._top = self.nodes.at(SourcePlace(_TOP, b""))
        self._top.lookups = 1  # it stays

    def names_in(self, directory: Node, uid: int) -> Sequence[bytes]:
        """Return the name by which *uid* finds this tree listed in *directory*, if it is there."""
        shown = directory.area is Area.ROOT and self._sources and self._rights.is_person(uid)
        return (NAME,) if shown else ()

    def top(self, directory: Node, name: bytes, uid: int) -> tuple[SourceNode, os.stat_result] | None:
        """Return `.sources` itself when that is what *name* in *directory* is; AccessDenied for a stranger."""
        if name != NAME or directory.area is not Area.ROOT or not self._sources:
            return None
        self._rights.require_person(uid)
        return self._top, _TOP_STATUS

    def _who(self, caller: Caller) -> as_user.Caller:
        """Return who asks, as the kernel judges her. Raises AccessDenied for a stranger to the repository."""
        self._rights.require_person(caller.uid)
        return as_user.caller_of(caller.task, caller.uid, caller.gid)

    # --- looking --------------------------------------------------------------------------------------

    async def lookup(self, parent: SourceNode, name: bytes, caller: Caller) -> tuple[SourceNode, os.stat_result]:
        """Find *name* in *parent* as *caller*. Raises NotFound, AccessDenied."""
        if name == b"." or (name == b".." and parent is self._top):
            return parent, await self.status(parent, caller)
        if name == b"..":
            above = self._above(parent)
            return above, await self.status(above, caller)
        place = self._place(parent, name)
        status = await self._patience.ask(place.source, self._status, *place, self._who(caller))
        return self.nodes.at(place), status

    def _above(self, node: SourceNode) -> SourceNode:
        if node.place.path == b".":
            return self._top
        return self.nodes.at(SourcePlace(node.place.source, os.path.dirname(node.place.path) or b"."))

    def _place(self, parent: SourceNode, name: bytes) -> SourcePlace:
        if parent is self._top:
            source = os.fsdecode(name)
            if source not in self._sources.names():
                raise NotFound(f"{source} is no declared source")
            return SourcePlace(source, b".")
        below = name if parent.place.path == b"." else parent.place.path + b"/" + name
        return SourcePlace(parent.place.source, below)

    async def status(self, node: SourceNode, caller: Caller) -> os.stat_result:
        """lstat *node* as *caller*: what its name leads to by now may be another's."""
        if node is self._top:
            return _TOP_STATUS
        return await self._patience.ask(node.place.source, self._status, *node.place, self._who(caller))

    def _status(self, source: str, path: bytes, who: as_user.Caller) -> os.stat_result:
        with self._sources.root(source) as root:
            fd = look_beneath(root, path, who)
        try:
            status = os.fstat(fd)
        finally:
            os.close(fd)
        if stat.S_IFMT(status.st_mode) not in _SHOWN:
            raise NotFound("FIFOs, sockets and devices are not shown")
        return status

    async def readlink(self, node: SourceNode, caller: Caller) -> bytes:
        """Return what the symbolic link *node* says."""
        return await self._patience.ask(node.place.source, self._readlink, node, self._who(caller))

    def _readlink(self, node: SourceNode, who: as_user.Caller) -> bytes:
        with self._sources.root(node.place.source) as root:
            fd = look_beneath(root, node.place.path, who)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    async def acl(self, node: SourceNode, caller: Caller) -> bytes:
        """Return the ACL of *node*, which the kernel enforces as outside. ENODATA when it has none."""
        if node is self._top:
            raise OSError(errno.ENODATA, "no ACL")
        return await self._patience.ask(node.place.source, self._acl, node, self._who(caller))

    def _acl(self, node: SourceNode, who: as_user.Caller) -> bytes:
        with self._sources.root(node.place.source) as root:
            fd = look_beneath(root, node.place.path, who)
        try:
            return os.getxattr(f"/proc/self/fd/{fd}", _ACL)
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            raise OSError(errno.ENODATA, "the file system knows no ACLs") from None
        finally:
            os.close(fd)

    # --- reading --------------------------------------------------------------------------------------

    async def entries(self, node: SourceNode, caller: Caller) -> list[Listed]:
        """Return what lies in directory *node*, as *caller* sees it; a source that is away is left out."""
        who = self._who(caller)
        if node is self._top:
            found = await self._list_top(who)
        else:
            found = await self._patience.ask(node.place.source, self._list, node, who)
        above = self._above(node) if node is not self._top else node
        here = [(b".", node, _TOP_STATUS), (b"..", above, _TOP_STATUS)]  # of which ls takes the names only
        return here + [(name, self.nodes.at(self._place(node, name)), status) for name, status in found]

    async def _list_top(self, who: as_user.Caller) -> list[tuple[bytes, os.stat_result]]:
        found = []
        for source in sorted(set(self._sources.names()) - self._patience.hanging):
            try:
                status = await self._patience.ask(source, self._status, source, b".", who)
                found.append((os.fsencode(source), status))
            except OSError as error:
                log.debug("left out of a listing", source=source, reason=str(error))
        return found

    def _list(self, node: SourceNode, who: as_user.Caller) -> list[tuple[bytes, os.stat_result]]:
        with self._sources.root(node.place.source) as root:
            with open_beneath(root, node.place.path, who, directory=True) as opened:
                names = [os.fsencode(name) for name in os.listdir(opened.fd)]
        found = []
        for name in sorted(names):
            try:
                found.append((name, self._status(*self._place(node, name), who)))
            except OSError as error:  # gone since it was listed, a device, another mount
                log.debug("left out of a listing", source=node.place.source, name=name, reason=str(error))
        return found

    async def open(self, node: SourceNode, flags: int, caller: Caller) -> int:
        """Return a descriptor of the file *node*, opened for reading as *caller*. EROFS for any other way."""
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise ReadOnly("sources are read only here")
        source = node.place.source
        fd = await self._patience.ask(source, self._open, node, self._who(caller), unwanted=os.close)
        return self._patience.opened(fd, source)

    def close(self, fd: int) -> None:
        """Close what `open` returned."""
        self._patience.close(fd)

    def _open(self, node: SourceNode, who: as_user.Caller) -> int:
        with self._sources.root(node.place.source) as root:
            return open_beneath(root, node.place.path, who).fd

    # --- importing ------------------------------------------------------------------------------------

    async def link(self, node: SourceNode, parent: Node, name: bytes, caller: Caller) -> Found:
        """``ln``: import *node* by a hard link as *name* in *parent*. Raises as `Linking.bring_from` does."""
        await self._linking.bring_from(node.place, parent, name, "ln", caller)
        return self._tree.lookup(parent, name)

    async def rename(self, parent: SourceNode, name: bytes, new_parent: Node, new_name: bytes, caller: Caller) -> None:
        """``mv``: the same by ``ln_rm``; the name in the source goes when its import is durable."""
        if parent is self._top:
            raise ReadOnly("a source is moved by nobody")
        await self._linking.bring_from(self._place(parent, name), new_parent, new_name, "ln_rm", caller)
