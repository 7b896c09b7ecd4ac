"""The requests that are about virtual trees: routed by their inode or handle number, and what is the same in each."""

from __future__ import annotations

import errno
import functools
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeVar

import pyfuse3

from repofs.errors import ReadOnly
from repofs.fuse.entry import virtual_attributes
from repofs.fuse.guard import HANDLERS
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.virtual import FIRST, VirtualNode, VirtualNodes

Door = TypeVar("Door", bound=type[pyfuse3.Operations])
Seen = tuple[VirtualNode[Any], os.stat_result]
Listed = tuple[bytes, VirtualNode[Any], os.stat_result]

_ACCESS_LIST = b"system.posix_acl_access"
_OF_NO_INODE = ("forget", "statfs")
READ_ONLY = "it is read only here"


def caller_of(ctx: pyfuse3.RequestContext) -> Caller:
    """Return who makes the request."""
    return Caller(ctx.uid, ctx.umask, ctx.pid, ctx.gid)


class VirtualTree(Protocol):
    """What a virtual tree answers."""

    nodes: VirtualNodes[Any]

    def names_in(self, directory: Node, uid: int) -> Sequence[bytes]: ...

    def top(self, directory: Node, name: bytes, uid: int) -> Seen | None: ...

    async def lookup(self, parent: VirtualNode[Any], name: bytes, caller: Caller) -> Seen: ...

    async def status(self, node: VirtualNode[Any], caller: Caller) -> os.stat_result: ...

    async def acl(self, node: VirtualNode[Any], caller: Caller) -> bytes: ...


class ListedTree(VirtualTree, Protocol):
    """One whose directories are listed whole."""

    async def entries(self, node: VirtualNode[Any], caller: Caller) -> Sequence[Listed]: ...


def routed(operations: Door) -> Door:
    """Send each request whose first number is of a virtual tree to its room; EROFS for what that does not do."""
    for name in HANDLERS:
        handler = vars(operations).get(name)
        if handler is not None and name not in _OF_NO_INODE:
            setattr(operations, name, _route(name, handler))
    return operations


def _route(name: str, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(handler)
    def routed_handler(self: Any, first: int, *args: Any) -> Awaitable[Any]:
        if first < FIRST:
            return handler(self, first, *args)
        outside = getattr(self.room_of(first), name, None)
        if outside is None:
            raise ReadOnly(READ_ONLY)
        return outside(first, *args)  # type: ignore[no-any-return]

    return routed_handler


class VirtualOperations:
    """Looking at one tree, whose numbers begin with *first*; names and signatures are pyfuse3.Operations'."""

    def __init__(self, tree: VirtualTree, first: int, cache_seconds: float) -> None:
        self.tree = tree
        self.first = first
        self._cache_seconds = cache_seconds
        self._nodes = tree.nodes
        self._numbers = itertools.count(first)

    def top(self, directory: Node, name: bytes, uid: int) -> pyfuse3.EntryAttributes | None:
        """Answer *uid*'s look-up of *name* in *directory*, when that leads into this tree."""
        found = self.tree.top(directory, name, uid)
        return None if found is None else self._entry(*found)

    def list_top(self, directory: Node, name: bytes, uid: int, token: pyfuse3.ReaddirToken, next_id: int) -> bool:
        """List the tree as *name* in *directory* for *uid*; False when the answer has no more room."""
        found = self.tree.top(directory, name, uid)
        if found is None:
            return True  # not there any more
        node, status = found
        if not pyfuse3.readdir_reply(token, name, self._attributes(node, status), next_id):
            return False
        node.lookups += 1
        return True

    def _attributes(self, node: VirtualNode[Any], status: os.stat_result) -> pyfuse3.EntryAttributes:
        return virtual_attributes(node, status, self._cache_seconds)

    def _entry(self, node: VirtualNode[Any], status: os.stat_result) -> pyfuse3.EntryAttributes:
        node.lookups += 1
        return self._attributes(node, status)

    async def lookup(self, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(*await self.tree.lookup(self._nodes.get(parent), name, caller_of(ctx)))

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        node = self._nodes.get(inode)
        return self._attributes(node, await self.tree.status(node, caller_of(ctx)))

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        if name != _ACCESS_LIST:
            raise OSError(errno.ENODATA, "no attributes are shown here")
        return await self.tree.acl(self._nodes.get(inode), caller_of(ctx))

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return []

    async def flush(self, fh: int) -> None:
        return

    async def fsync(self, fh: int, datasync: bool) -> None:
        return

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        return


class ListedOperations(VirtualOperations):
    """The same of a tree whose directories are listed whole."""

    def __init__(self, tree: ListedTree, first: int, cache_seconds: float) -> None:
        super().__init__(tree, first, cache_seconds)
        self._listed = tree
        self._listings: dict[int, Sequence[Listed]] = {}

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        listed = await self._listed.entries(self._nodes.get(inode), caller_of(ctx))
        for _, node, _ in listed:
            node.lookups += 1  # kept until the listing is closed
        fh = next(self._numbers)
        self._listings[fh] = listed
        return pyfuse3.FileHandleT(fh)

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listed = self._listings[fh]
        for number in range(start_id, len(listed)):
            name, node, status = listed[number]
            if not pyfuse3.readdir_reply(token, name, self._attributes(node, status), number + 1):
                return
            if name not in (b".", b".."):
                node.lookups += 1

    async def releasedir(self, fh: int) -> None:
        for _, node, _ in self._listings.pop(fh):
            self._nodes.forget(node.ino, 1)
