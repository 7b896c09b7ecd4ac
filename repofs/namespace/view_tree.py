"""Views of the catalogue in `.repofs`: read-only trees of links to originals, for who may view each.

    by-target/PROJECT/DATASET/scan.tif     a link to the original
    by-target/DATASET/scan.tif             of a dataset in no project
    by-target/Orphans/scan.tif             of an image in no dataset
    images/101/scan.tif
    thumbnails/Image-101.png               a file

Names are what one person finds, so that the kernel keeps none of them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from repofs.errors import NotFound, ReadOnly
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.view_contents import Ask, View, ViewContents, ViewPlace
from repofs.namespace.view_listing import ViewListing
from repofs.namespace.view_status import ViewStatus
from repofs.namespace.virtual import VIEWS, VirtualNode, VirtualNodes
from repofs.threads import in_thread

_TOPS = {
    b"by-target": ViewPlace(View.BY_TARGET),
    b"images": ViewPlace(View.IMAGES),
    b"thumbnails": ViewPlace(View.THUMBNAILS),
}

ViewNode = VirtualNode[ViewPlace]


class ViewTree:
    """The views of one mount."""

    def __init__(self, rights: Rights, ask: Ask, thumbnail: Callable[[int], Path]) -> None:
        """*ask* asks the catalogue; *thumbnail* returns where the thumbnail of an image is, if there is one."""
        self._rights = rights
        self._contents = ViewContents(rights, ask)
        self._status = ViewStatus(rights, thumbnail)
        self._thumbnail = thumbnail
        self.nodes: VirtualNodes[ViewPlace] = VirtualNodes(VIEWS)

    def names_in(self, directory: Node, uid: int) -> Sequence[bytes]:
        """Return the names of the views that *uid* finds in *directory*."""
        return tuple(_TOPS) if directory.is_own and self._rights.is_person(uid) else ()

    def top(self, directory: Node, name: bytes, uid: int) -> tuple[ViewNode, os.stat_result] | None:
        """Return the view that *name* in *directory* is; AccessDenied for a stranger."""
        if not directory.is_own or name not in _TOPS:
            return None
        self._rights.require_person(uid)
        status = self._status.made(_TOPS[name])
        return self.node(_TOPS[name], status), status

    def node(self, place: ViewPlace, status: os.stat_result) -> ViewNode:
        """Return the node of *place*: who asks refers to it, or forgets it."""
        node = self.nodes.at(place)
        node.format = stat.S_IFMT(status.st_mode)
        return node

    async def lookup(self, parent: ViewNode, name: bytes, caller: Caller) -> tuple[ViewNode, os.stat_result]:
        """Find *name* in *parent* as *caller*. Raises NotFound, AccessDenied, Busy; FileNotFoundError: no thumbnail."""
        self._status.require_view(parent.place, caller.uid)
        place = await self._find(parent.place, name, caller.uid)
        status = await self._status.of(place)
        return self.node(place, status), status

    async def _find(self, parent: ViewPlace, name: bytes, uid: int) -> ViewPlace:
        if name == b".":
            return parent
        if name == b"..":
            return parent.above or parent
        found = await self._contents.find(parent, name, uid)
        if found is None:
            raise NotFound(f"there is no {os.fsdecode(name)!r} that uid {uid} may view")
        return found

    async def status(self, node: ViewNode, caller: Caller) -> os.stat_result:
        """Return the status of *node*. FileNotFoundError for a thumbnail that is not there any more."""
        return await self._status.of(node.place)

    async def acl(self, node: ViewNode, caller: Caller) -> bytes:
        """Return the ACL of *node*, to everybody: the kernel asks, and decides. ENODATA when its mode says it all."""
        acl = self._status.own(node.place).acl
        if acl is None:
            raise OSError(errno.ENODATA, "no ACL")
        return acl

    async def readlink(self, node: ViewNode, caller: Caller) -> bytes:
        """Return what the link *node* says. Raises AccessDenied."""
        self._status.require_view(node.place, caller.uid)
        return node.place.path_to_target()

    def listing(self, node: ViewNode, caller: Caller) -> ViewListing:
        """Return a reading of the directory *node*. Raises AccessDenied."""
        self._status.require_view(node.place, caller.uid)
        return ViewListing(node.place, caller.uid, self._contents, self._status)

    async def open(self, node: ViewNode, flags: int, caller: Caller) -> int:
        """Return a descriptor of the thumbnail *node*. EROFS for any way but reading.

        Raises AccessDenied; FileNotFoundError when it is not there any more.
        """
        if flags & (os.O_ACCMODE | os.O_TRUNC) != os.O_RDONLY:
            raise ReadOnly("thumbnails are made by repofs itself")
        self._status.require_view(node.place, caller.uid)
        return await in_thread(os.open, self._thumbnail(node.place.number), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
