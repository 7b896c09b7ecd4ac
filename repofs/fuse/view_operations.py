"""The requests that are about views of the catalogue, below `.repofs`: all of it is read only."""

from __future__ import annotations

import os

import pyfuse3

from repofs.fuse.virtual_operations import VirtualOperations, caller_of
from repofs.namespace.handles import Handles
from repofs.namespace.view_listing import ViewListing
from repofs.namespace.view_tree import ViewTree
from repofs.namespace.virtual import VIEWS


class ViewOperations(VirtualOperations):
    """Following links, reading thumbnails, and listing as much as is asked for."""

    def __init__(self, views: ViewTree, handles: Handles) -> None:
        super().__init__(views, VIEWS, 0.0)
        self._views = views
        self._handles = handles
        self._listings: dict[int, ViewListing] = {}

    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        return await self._views.readlink(self._nodes.get(inode), caller_of(ctx))

    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        fd = await self._views.open(self._nodes.get(inode), flags, caller_of(ctx))
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(VIEWS + fd), keep_cache=False)

    async def read(self, fh: int, off: int, size: int) -> bytes | memoryview:
        return await self._handles.read(fh - VIEWS, off, size)

    async def release(self, fh: int) -> None:
        os.close(fh - VIEWS)

    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileHandleT:
        listing = self._views.listing(self._nodes.get(inode), caller_of(ctx))
        fh = next(self._numbers)
        self._listings[fh] = listing
        return pyfuse3.FileHandleT(fh)

    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        listing = self._listings[fh]
        while entries := await listing.after(start_id):
            for next_id, name, place, status in entries:
                node = self._views.node(place, status)
                if not pyfuse3.readdir_reply(token, name, self._attributes(node, status), next_id):
                    self._nodes.forget(node.ino, 0)
                    return
                if name not in (b".", b".."):
                    node.lookups += 1
                start_id = next_id

    async def releasedir(self, fh: int) -> None:
        del self._listings[fh]
