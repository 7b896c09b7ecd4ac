"""The requests that are about declared sources, below `.sources`."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pyfuse3

from repofs.errors import ReadOnly
from repofs.fuse.virtual_operations import READ_ONLY, ListedOperations, caller_of
from repofs.namespace.handles import Handles
from repofs.namespace.inode_table import InodeTable
from repofs.namespace.nodes import Node
from repofs.namespace.source_tree import SourceTree
from repofs.namespace.virtual import FIRST, SOURCES

Answer = Callable[[Node, os.stat_result], pyfuse3.EntryAttributes]
"""Answers with a node of the backing tree, which the kernel refers to from then on."""


class SourceOperations(ListedOperations):
    """What is done with files of sources besides looking at them."""

    def __init__(self, sources: SourceTree, handles: Handles, table: InodeTable, answer: Answer) -> None:
        super().__init__(sources, SOURCES, 0.0)
        self._sources = sources
        self._handles = handles
        self._table = table
        self._answer = answer

    def _target(self, ino: int) -> Node:
        node = self._table.get(ino)
        if node is None or node.removed:
            raise ReadOnly(READ_ONLY) if ino >= FIRST else OSError(errno.ESTALE, "the file has been removed")
        return node

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._sources.readlink(self._nodes.get(inode), caller_of(ctx))

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        fd = await self._sources.open(self._nodes.get(inode), flags, caller_of(ctx))
        # direct_io: read to the end of this very file, whatever size the name has by now
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(SOURCES + fd), direct_io=True)

    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        return await self._handles.read(fh - SOURCES, off, size)

    async def release(self, fh: int) -> None:
        self._sources.close(fh - SOURCES)

    async def link(self, inode: int, parent: int, name: bytes, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        source = self._nodes.get(inode)
        return self._answer(*await self._sources.link(source, self._target(parent), name, caller_of(ctx)))

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
        await self._sources.rename(self._nodes.get(parent_old), name_old, target, name_new, caller_of(ctx))
