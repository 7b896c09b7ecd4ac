"""Declared sources as the mount shows them, below `.sources/NAME/`: read-only, with the caller's own rights.

Nothing of it lies in the backing tree, and nothing is kept in the kernel: each look-up and each open asks the kernel of
the machine once more, as the caller. A node is a name, not an inode: a source is not ours, and may change at any time.
"""

from __future__ import annotations

import errno
import itertools
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog
import trio

from repofs.errors import NotFound
from repofs.namespace.linking import Linking
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.tree import Found, Tree
from repofs.repository import as_user
from repofs.repository.outside import look_beneath, open_beneath
from repofs.repository.sources import Sources
from repofs.threads import in_thread

FIRST = 0xFFFF << 48  # inode and handle numbers from here on are of sources: no file system gives such
NAME = b".sources"
_TOP = ""
_AT_A_TIME = 16  # a store that hangs holds these threads up, and no others
_ACL = b"system.posix_acl_access"
_SHOWN = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)

Answer = TypeVar("Answer")

log = structlog.get_logger()


@dataclass(slots=True)
class SourceNode:
    """A name in a source that the kernel refers to."""

    ino: int
    source: str  # _TOP: .sources itself
    path: bytes  # below the source
    lookups: int = 0


Listed = tuple[bytes, SourceNode, os.stat_result]


class SourceTree:
    """The sources of one mount."""

    def __init__(self, sources: Sources, rights: Rights, linking: Linking, tree: Tree) -> None:
        self._sources = sources
        self._rights = rights
        self._linking = linking
        self._tree = tree
        self._numbers = itertools.count(FIRST)
        self._by_number: dict[int, SourceNode] = {}
        self._by_place: dict[tuple[str, bytes], SourceNode] = {}
        self._limiter = trio.CapacityLimiter(_AT_A_TIME)
        self._top = self._node(_TOP, b"")
        self._top.lookups = 1  # it stays

    @property
    def is_there(self) -> bool:
        """Whether there are sources."""
        return bool(self._sources)

    def is_listed_for(self, uid: int) -> bool:
        """Whether `.sources` stands in the listing of the root that *uid* gets."""
        return self.is_there and self._rights.is_person(uid)

    def top(self, uid: int) -> tuple[SourceNode, os.stat_result]:
        """Return `.sources` itself. Raises AccessDenied for a stranger to the repository."""
        self._rights.require_person(uid)
        return self._top, _status_of_top()

    def get(self, ino: int) -> SourceNode:
        """Return the node of *ino*; ESTALE when nothing refers to it."""
        node = self._by_number.get(ino)
        if node is None:
            raise OSError(errno.ESTALE, "it was not looked up")
        return node

    def forget(self, ino: int, lookups: int) -> None:
        """Take back *lookups* references of the kernel."""
        node = self._by_number.get(ino)
        if node is None or node is self._top:
            return
        node.lookups -= lookups
        if node.lookups <= 0:
            del self._by_number[ino]
            del self._by_place[node.source, node.path]

    def _node(self, source: str, path: bytes) -> SourceNode:
        node = self._by_place.get((source, path))
        if node is None:
            node = SourceNode(next(self._numbers), source, path)
            self._by_number[node.ino] = self._by_place[source, path] = node
        return node

    async def _ask(self, question: Callable[..., Answer], *arguments: object) -> Answer:
        return await in_thread(question, *arguments, limiter=self._limiter, abandon_on_cancel=True)

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
        source, path = self._place(parent, name)
        status = await self._ask(self._status, source, path, self._who(caller))
        return self._node(source, path), status

    def _above(self, node: SourceNode) -> SourceNode:
        if node.path == b".":
            return self._top
        return self._node(node.source, os.path.dirname(node.path) or b".")

    def _place(self, parent: SourceNode, name: bytes) -> tuple[str, bytes]:
        if parent is self._top:
            source = os.fsdecode(name)
            if source not in self._sources.names():
                raise NotFound(f"{source} is no declared source")
            return source, b"."
        return parent.source, name if parent.path == b"." else parent.path + b"/" + name

    async def status(self, node: SourceNode, caller: Caller) -> os.stat_result:
        """lstat *node* as *caller*: what its name leads to by now may be another's."""
        if node is self._top:
            return _status_of_top()
        return await self._ask(self._status, node.source, node.path, self._who(caller))

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
        return await self._ask(self._readlink, node, self._who(caller))

    def _readlink(self, node: SourceNode, who: as_user.Caller) -> bytes:
        with self._sources.root(node.source) as root:
            fd = look_beneath(root, node.path, who)
        try:
            return os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)

    async def acl(self, node: SourceNode, caller: Caller) -> bytes:
        """Return the ACL of *node*, which the kernel enforces as outside. ENODATA when it has none."""
        if node is self._top:
            raise OSError(errno.ENODATA, "no ACL")
        return await self._ask(self._acl, node, self._who(caller))

    def _acl(self, node: SourceNode, who: as_user.Caller) -> bytes:
        with self._sources.root(node.source) as root:
            fd = look_beneath(root, node.path, who)
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
        names = [os.fsencode(name) for name in self._sources.names()] if node is self._top else None
        who = self._who(caller)
        found = await self._ask(self._list, node, names, who)
        above = self._above(node) if node is not self._top else node
        here = [(b".", node, _status_of_top()), (b"..", above, _status_of_top())]  # of which ls takes the names only
        return here + [(name, self._node(*self._place(node, name)), status) for name, status in found]

    def _list(
        self, node: SourceNode, names: list[bytes] | None, who: as_user.Caller
    ) -> list[tuple[bytes, os.stat_result]]:
        if names is None:
            with self._sources.root(node.source) as root, open_beneath(root, node.path, who, directory=True) as opened:
                names = [os.fsencode(name) for name in os.listdir(opened.fd)]
        found = []
        for name in sorted(names):
            try:
                found.append((name, self._status(*self._place(node, name), who)))
            except OSError as error:  # gone since it was listed, a device, another mount, a source that is away
                log.debug("left out of a listing", source=node.source, name=name, reason=str(error))
        return found

    async def open(self, node: SourceNode, flags: int, caller: Caller) -> int:
        """Return a descriptor of the file *node*, opened for reading as *caller*. EROFS for any other way."""
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise OSError(errno.EROFS, "sources are read only here")
        return await self._ask(self._open, node, self._who(caller))

    def _open(self, node: SourceNode, who: as_user.Caller) -> int:
        with self._sources.root(node.source) as root:
            return open_beneath(root, node.path, who).fd

    # --- importing ------------------------------------------------------------------------------------

    async def link(self, node: SourceNode, parent: Node, name: bytes, caller: Caller) -> Found:
        """``ln``: import *node* by a hard link as *name* in *parent*. Raises as `Linking.bring_from` does."""
        await self._linking.bring_from((node.source, node.path), parent, name, "ln", caller)
        return self._tree.lookup(parent, name)

    async def rename(self, parent: SourceNode, name: bytes, new_parent: Node, new_name: bytes, caller: Caller) -> None:
        """``mv``: the same by ``ln_rm``; the name in the source goes when its import is durable."""
        if parent is self._top:
            raise OSError(errno.EROFS, "a source is moved by nobody")
        await self._linking.bring_from(self._place(parent, name), new_parent, new_name, "ln_rm", caller)


def _status_of_top() -> os.stat_result:
    others = dict.fromkeys(("st_rdev", "st_blksize", "st_blocks", "st_atime_ns", "st_mtime_ns", "st_ctime_ns"), 0)
    return os.stat_result((stat.S_IFDIR | 0o555, FIRST, 0, 2, 0, 0, 0, 0, 0, 0), others)
