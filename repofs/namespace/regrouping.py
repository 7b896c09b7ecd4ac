"""chgrp: a directory and what is in it move to another group of its user, with what was imported from there.

The group of a drop or directory is its backing inode's. That of an original is its fileset's, which the catalogue knows
too: the importer moves filesets, whole.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence

import trio

from repofs.access import Act
from repofs.errors import AccessDenied, Busy, NotPermitted
from repofs.model import Original
from repofs.namespace.failed import Failed
from repofs.namespace.names import Alone
from repofs.namespace.nodes import Area, Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.usage import Usage
from repofs.namespace.walk import Walk

_PATIENCE_SECONDS = 60.0  # for imports that are under way
_PAUSE_SECONDS = 0.1

Move = Callable[[Sequence[int], int, int, bytes], Awaitable[None]]
"""Has the importer move these filesets, which may be none, to the group of that gid, as that uid asks for that path."""


class Regrouping:
    """chgrp in one mount."""

    def __init__(self, standing: Standing, rights: Rights, failed: Failed, usage: Usage, move: Move) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._rights = rights
        self._failed = failed
        self._usage = usage
        self._walk = Walk(standing)
        self._move = move

    async def chgrp(self, node: Node, gid: int, caller: Caller) -> None:
        """Move *node* and what is in it to the group *gid*; one that is no group of the repository means nothing here.

        Raises AccessDenied, NotPermitted (also for a group that its user is not in), QuotaExceeded, Busy when an import
        below does not come to its end.
        """
        if not node.names or not self._rights.is_group(gid):
            return  # rsync -a and cp -a pass on whatever group the source had
        self._require_movable(node, gid, caller)
        await self._require_room(node, gid, caller)
        path = self._backing.path_below(self._backing.table.root, node)
        filesets = await self._give(node, gid, caller)
        await self._move(sorted(filesets), gid, caller.uid, path)
        await self._rights.let_count()

    async def as_owner(self, node: Node, gid: int, caller: Caller) -> None:
        """chgrp(2), which the kernel lets pass for whom `stat` shows as the owner, a maker that may not move it, too.

        To her it answers as to any copying program: the group that it has is no change, another one NotPermitted.
        """
        if node.names and not self._rights.may(Act.CHGRP, node, caller.uid):
            status = self._backing.status(node)
            if self._rights.shown(node, status).gid == gid:
                return  # cp -p puts owner and group in one call, and takes only EPERM for a matter of course
        try:
            await self.chgrp(node, gid, caller)
        except AccessDenied as refusal:
            raise NotPermitted(refusal.message) from None

    def _require_movable(self, node: Node, gid: int, caller: Caller) -> None:
        self._rights.require(Act.CHGRP, node, caller.uid)
        if not self._is_users(node):
            raise NotPermitted("the repository keeps this itself: chgrp the directory that it was dropped in")
        whole = self._standing.names.rule(node)
        if whole is not None and not isinstance(whole, Alone) and whole is not node:
            raise NotPermitted("it is part of a directory that is one fileset: chgrp that")
        self._rights.require_member(node, gid)

    async def _require_room(self, top: Node, gid: int, caller: Caller) -> None:
        """Refuse (QuotaExceeded) what the group has no room for, before anything of it is moved."""
        there = self._usage.entry(top, gid)
        if not there.group.is_limited:
            return
        sizes: dict[int, int] = {}

        def visit(node: Node) -> None:
            if node.ino not in sizes and self._rights.may(Act.CHGRP, node, caller.uid):
                sizes[node.ino] = self._usage.moving(node, there)

        await self._walk.files(top, visit)
        self._usage.accounts.require(there, sum(sizes.values()), of_user=0)

    def _is_users(self, node: Node) -> bool:
        """Whether *node* is what users make: a directory in a user directory, a file by any of its names."""
        if node.is_directory:
            return node.area is Area.DROPS
        return any(parent.area in (Area.USER, Area.DROPS) for parent, _ in node.names)

    async def _give(self, top: Node, gid: int, caller: Caller) -> set[int]:
        """Give all that is not imported to the group; return the filesets that are to be moved there.

        What *caller* may not move stays where it is: a directory may hold data of groups that its user is no longer in.
        All other filesets are returned, those of the group too: an importer that died may have left one half moved.
        """
        deadline = trio.current_time() + _PATIENCE_SECONDS
        while True:
            filesets: set[int] = set()
            under_way: list[Node] = []

            def visit(node: Node, filesets: set[int] = filesets, under_way: list[Node] = under_way) -> None:
                if not self._rights.may(Act.CHGRP, node, caller.uid):
                    return
                mark = self._standing.mark(node)
                if isinstance(mark, Original):
                    filesets.add(mark.fileset)
                elif self._standing.seal(node) is not None:
                    under_way.append(node)
                else:
                    target = self._backing.target(node)
                    status = self._backing.status(node)
                    os.chown(target, -1, gid, follow_symlinks=isinstance(target, int))
                    self._backing.changed(node)
                    self._usage.regrouped(node, status, gid)
                    self._failed.changed(node)

            await self._walk.all(top, visit)
            if not under_way:
                return filesets
            if trio.current_time() > deadline:
                raise Busy("an import below it does not come to its end: try again later")
            await trio.sleep(_PAUSE_SECONDS)
