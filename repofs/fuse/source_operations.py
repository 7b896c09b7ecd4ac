"""The requests that are about declared sources, below `.sources`: routed here by their inode or handle number."""

from __future__ import annotations

import errno
import functools
import inspect
import itertools
import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import pyfuse3

from repofs.fuse.entry import source_attributes
from repofs.namespace.handles import Handles
from repofs.namespace.nodes import InodeTable, Node
from repofs.namespace.request import Caller
from repofs.namespace.source_tree import FIRST, Listed, SourceNode, SourceTree

Door = TypeVar("Door", bound=type[pyfuse3.Operations])

Answer = Callable[[Node, os.stat_result], pyfuse3.EntryAttributes]
"""Answers with a node of the backing tree, which the kernel refers to from then on."""


def caller_of(ctx: pyfuse3.RequestContext) -> Caller:
    """Return who makes the request."""
    return Caller(uid=ctx.uid, umask=ctx.umask, task=ctx.pid, gid=ctx.gid)


def routed(operations: Door) -> Door:
    """Send each request whose first number is a source's to `operations.outside`; EROFS for what that does not do."""
    for name in vars(pyfuse3.Operations):
        handler = vars(operations).get(name)
        if inspect.iscoroutinefunction(handler) and name != "forget":
            setattr(operations, name, _route(name, handler))
    return operations


def _route(name: str, handler: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    outside = getattr(SourceOperations, name, None)

    @functools.wraps(handler)
    async def routed_handler(self: Any, *args: Any) -> Any:
        if not isinstance(args[0], int) or args[0] < FIRST:
            return await handler(self, *args)
        if outside is None:
            raise OSError(errno.EROFS, "sources are read only here")
        return await outside(self.outside, *args)

    return routed_handler


class SourceOperations:
    """Handlers of the names and signatures of pyfuse3.Operations."""

    def __init__(self, sources: SourceTree, handles: Handles, table: InodeTable, answer: Answer) -> None:
        self.tree = sources
        self._handles = handles
        self._table = table
        self._answer = answer
        self._listings: dict[int, list[Listed]] = {}
        self._numbers = itertools.count(FIRST)

    def _entry(self, node: SourceNode, status: os.stat_result) -> pyfuse3.EntryAttributes:
        node.lookups += 1
        return source_attributes(node.ino, status)

    def top(self, uid: int) -> pyfuse3.EntryAttributes:
        """Answer *uid*'s look-up of .sources."""
        return self._entry(*self.tree.top(uid))

    def _target(self, ino: int) -> Node:
        node = self._table.get(ino)
        if node is None or node.removed:
            raise OSError(errno.EROFS if ino >= FIRST else errno.ESTALE, "sources are read only here")
        return node

    async def lookup(self, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._entry(*await self.tree.lookup(self.tree.get(parent), name, caller_of(ctx)))

    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        node = self.tree.get(inode)
        return source_attributes(node.ino, await self.tree.status(node, caller_of(ctx)))

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return await self.tree.readlink(self.tree.get(inode), caller_of(ctx))

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        if name != b"system.posix_acl_access":
            raise OSError(errno.ENODATA, "no attributes of sources are shown")
        return await self.tree.acl(self.tree.get(inode), caller_of(ctx))

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return []

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        fd = await self.tree.open(self.tree.get(inode), flags, caller_of(ctx))
        # direct_io: read to the end of this very file, whatever size the name has by now
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(FIRST + fd), direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        return await self._handles.read(fh - FIRST, off, size)

    async def flush(self, fh: int) -> None:
        return

    async def fsync(self, fh: int, datasync: bool) -> None:
        return

    async def release(self, fh: int) -> None:
        os.close(fh - FIRST)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        listed = await self.tree.entries(self.tree.get(inode), caller_of(ctx))
        for _, node, _ in listed:
            node.lookups += 1  # kept until the listing is closed
        fh = next(self._numbers)
        self._listings[fh] = listed
        return pyfuse3.FileHandleT(fh)

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listed = self._listings[fh]
        for number in range(start_id, len(listed)):
            name, node, status = listed[number]
            if not pyfuse3.readdir_reply(token, name, source_attributes(node.ino, status), number + 1):
                return
            if name not in (b".", b".."):
                node.lookups += 1

    async def releasedir(self, fh: int) -> None:
        for _, node, _ in self._listings.pop(fh):
            self.tree.forget(node.ino, 1)

    async def fsyncdir(self, fh: int, datasync: bool) -> None:
        return

    async def link(self, inode: int, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        return self._answer(*await self.tree.link(self.tree.get(inode), self._target(parent), name, caller_of(ctx)))

    async def rename(
        self,
        parent_old: int,
        name_old: bytes,
        parent_new: int,
        name_new: bytes,
        flags: int,
        ctx: pyfuse3.RequestContext,
    ) -> None:
        if flags & ~1:  # RENAME_NOREPLACE is what is done
            raise OSError(errno.EINVAL, "a source's file is moved to a new name only")
        target = self._target(parent_new)
        await self.tree.rename(self.tree.get(parent_old), name_old, target, name_new, caller_of(ctx))
