"""The requests that are about registered tables, below `Tables` of a user directory: all of it is read only."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pyfuse3

from repofs.errors import ReadOnly
from repofs.fuse.virtual_operations import READ_ONLY, ListedOperations, caller_of
from repofs.fuse.xattr_table import short
from repofs.namespace.array_files import OpenFile
from repofs.namespace.table_tree import TableTree
from repofs.namespace.virtual import TABLES
from repofs.xattrs import PREFIX


class TableOperations(ListedOperations):
    """Reading the files of tables."""

    def __init__(self, tables: TableTree, cache_seconds: float) -> None:
        super().__init__(tables, TABLES, cache_seconds)
        self._tables = tables
        self._files: dict[int, OpenFile] = {}

    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        if not name.startswith(PREFIX):
            return await super().getxattr(inode, name, ctx)
        value = await self._tables.attribute(self._nodes.get(inode), short(name), caller_of(ctx))
        if value is None:
            raise OSError(errno.ENODATA, "no such attribute")
        return value

    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> Sequence[bytes]:
        return [PREFIX + name.encode() for name in self._tables.attributes(self._nodes.get(inode), caller_of(ctx))]

    async def setxattr(self, inode: int, name: bytes, value: bytes, ctx: pyfuse3.RequestContext) -> None:
        if not name.startswith(PREFIX):
            raise ReadOnly(READ_ONLY)
        await self._tables.command(self._nodes.get(inode), short(name), value, caller_of(ctx))

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        node = self._nodes.get(inode)
        file = await self._tables.open(node, flags, caller_of(ctx))
        fh = next(self._numbers)
        self._files[fh] = file
        # direct_io: read to the end of this very file, whatever size is known of it by now
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(fh), keep_cache=node.lasting, direct_io=not node.lasting)

    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        return await self._files[fh].read(off, size)

    async def release(self, fh: int) -> None:
        self._files.pop(fh).close()
