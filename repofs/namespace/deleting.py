"""Deleting in the mount: `rm -r` of an import directory, and what commands have deleted disappears.

A fileset is deleted whole or not at all. What somebody removes in an import directory is remembered and hidden from
her alone; only when all of it is removed the fileset goes to the trash, by the rmdir(2) of its import directory, or
shortly after the last unlink(2). Who stops half way has removed nothing: the names are back after a while.
"""

from __future__ import annotations

import errno
import json
import os
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

import structlog
import trio

from repofs.access import Act
from repofs.errors import Busy, NotFound, NotPermitted, RepofsError
from repofs.model import Original
from repofs.namespace.backing import names_in
from repofs.namespace.nodes import Node
from repofs.namespace.request import Caller
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.tree import Tree
from repofs.threads import in_thread

QUIET_SECONDS = 2.0  # after the last name was removed: an rmdir would have come by then
PATIENCE_SECONDS = 60.0  # that a removal may pause, then the names are back
_LOOK_SECONDS = 0.5

Delete = Callable[[int, int], Awaitable[str]]
"""Has the importer delete the fileset of that number, as that uid asks; returns what it tells."""

Name = tuple[int, bytes]
"""Inode number of a directory, and a name in it."""

log = structlog.get_logger(__name__)


class Forgetful(Protocol):
    """The kernel's cache of names."""

    def names_gone(self, names: Sequence[Name]) -> None:
        """Make it forget these. Blocks while a request about one of the directories is under way."""


@dataclass(slots=True)
class _Removal:
    """What somebody has removed of one fileset so far; directories by their inode numbers, which are theirs while the
    import directory is held."""

    uid: int
    fileset: int
    top: Node  # the import directory
    since: float  # of the last name that was removed
    gone: defaultdict[int, set[bytes]] = field(default_factory=lambda: defaultdict(set))
    ending: trio.Event | None = None  # it is being carried out: set at the end, for an rmdir that comes late


class Deleting:
    """That of one mount. *changed* is called when filesets have gone or come back: tables may have lost a target."""

    def __init__(
        self,
        standing: Standing,
        rights: Rights,
        tree: Tree,
        kernel: Forgetful,
        delete: Delete,
        changed: Callable[[], None],
    ) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._table = standing.backing.table
        self._rights = rights
        self._tree = tree
        self._kernel = kernel
        self._delete = delete
        self._changed = changed
        self._removals: dict[tuple[int, int], _Removal] = {}  # by who and which fileset
        self._forgotten: list[Name] = []  # that the kernel is to hear of
        self._wake = trio.Event()

    async def run(self) -> None:
        """Bring removals to their end that no rmdir has ended, until cancelled."""
        while True:
            if not self._removals and not self._forgotten:
                self._wake = trio.Event()
                await self._wake.wait()
            names, self._forgotten = self._forgotten, []
            if names:
                await in_thread(self._kernel.names_gone, names)
            for removal in list(self._removals.values()):
                await self._look_at(removal)
            await trio.sleep(_LOOK_SECONDS)

    async def _look_at(self, removal: _Removal) -> None:
        quiet = trio.current_time() - removal.since
        if quiet < QUIET_SECONDS:
            return
        whole = await self._is_whole(removal)
        if removal.top.names and not whole and quiet < PATIENCE_SECONDS:
            return
        if whole:
            removal.ending = trio.Event()
            try:
                await self._carry_out(removal)
            except NotFound:
                log.info("a fileset whose files were removed is deleted already", fileset=removal.fileset)
            except RepofsError as error:
                log.warning(
                    "a fileset whose files were removed is not deleted", fileset=removal.fileset, error=str(error)
                )
            finally:
                removal.ending.set()
        self._over(removal)

    async def _is_whole(self, removal: _Removal) -> bool:
        """Whether all that is in the import directory was removed; what is gone, or cannot be looked at, was not."""
        try:
            return not await self._left(removal, removal.top)
        except OSError as error:
            log.info(
                "a fileset whose files were removed cannot be looked at", fileset=removal.fileset, error=str(error)
            )
            return False

    def _over(self, removal: _Removal) -> None:
        """Hide nothing any more."""
        if self._removals.pop((removal.uid, removal.fileset), None) is not None:
            removal.top.users -= 1
            self._table.release(removal.top)

    # --- what programs do ------------------------------------------------------------------------

    def hides(self, parent: Node, name: bytes, uid: int) -> bool:
        """Whether *uid* is removing *name* in *parent*."""
        return bool(self._removals) and any(
            removal.uid == uid and name in removal.gone.get(parent.ino, ()) for removal in self._removals.values()
        )

    def hides_some(self, directory: Node) -> bool:
        """Whether somebody is removing names in *directory*."""
        return bool(self._removals) and any(directory.ino in removal.gone for removal in self._removals.values())

    def unlink(self, parent: Node, name: bytes, caller: Caller) -> None:
        """Remember that *caller* removes the file *name* in an import directory.

        Raises AccessDenied when she may not delete, NotPermitted for what is no original.
        """
        node, _ = self._tree.lookup(parent, name)
        mark = self._standing.mark(node)
        if not isinstance(mark, Original) or self.hides(parent, name, caller.uid):
            self._standing.names.require_changeable(parent, name)
            raise NotPermitted("a log goes with its import directory")
        self._rights.require(Act.DELETE, node, caller.uid)
        key = (caller.uid, mark.fileset)
        if key not in self._removals:
            top = self._import_directory(parent, mark)
            top.users += 1
            self._removals[key] = _Removal(caller.uid, mark.fileset, top, 0.0)
        self._note(self._removals[key], parent, name)

    def _import_directory(self, parent: Node, mark: Original) -> Node:
        """Return the import directory that *parent* is or lies in."""
        depth = os.fsencode(mark.name).count(b"/")
        here = parent
        for _ in range(depth):
            here = here.names[0][0]
        return here

    def _note(self, removal: _Removal, parent: Node, name: bytes) -> None:
        removal.gone[parent.ino].add(name)
        removal.since = trio.current_time()
        self._wake.set()

    async def rmdir(self, parent: Node, name: bytes, caller: Caller) -> None:
        """Delete the fileset whose import directory is *name* in *parent*, or remember that a directory in it goes.

        Raises NotPermitted when *caller* has removed nothing of what is in it, OSError (ENOTEMPTY) when not all;
        RepofsErrors that say why it cannot be deleted.
        """
        node, _ = self._tree.lookup(parent, name)
        removal = next((one for one in self._removals.values() if one.uid == caller.uid and node.ino in one.gone), None)
        if removal is None:
            raise NotPermitted("an import directory is removed with what is in it: rm -r, or repofs delete")
        if removal.ending is not None:
            await self._end(removal, parent, name)
            return
        if await self._left(removal, node):
            raise OSError(errno.ENOTEMPTY, "not all in it was removed")
        if node is not removal.top:
            self._note(removal, parent, name)
            return
        self._over(removal)
        await self._carry_out(removal)

    async def _end(self, removal: _Removal, parent: Node, name: bytes) -> None:
        assert removal.ending is not None
        await removal.ending.wait()
        with suppress(FileNotFoundError):
            self._tree.lookup(parent, name)
            raise Busy("it could not be deleted just now: the log of the mount says why")

    async def _left(self, removal: _Removal, directory: Node) -> set[bytes]:
        """Return the names in *directory* that were not removed."""
        fd = self._backing.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            return set(await names_in(fd)) - removal.gone.get(directory.ino, set())
        finally:
            os.close(fd)

    async def _carry_out(self, removal: _Removal) -> None:
        """Have the importer delete the fileset. The kernel hears of the names later: it may be waiting for an rmdir."""
        told = json.loads(await self._delete(removal.fileset, removal.uid))
        self._forgotten += self._lose([os.fsencode(name) for name in told["gone"]])
        self._wake.set()
        self._changed()

    # --- what commands have done -------------------------------------------------------------------

    async def gone(self, names: Sequence[bytes]) -> None:
        """These, below the mount, are not there any more; when this returns the kernel has none of them."""
        await in_thread(self._kernel.names_gone, self._lose(names))
        for removal in [one for one in self._removals.values() if not one.top.names and one.ending is None]:
            self._over(removal)
        self._changed()

    def _lose(self, names: Sequence[bytes]) -> list[Name]:
        """Forget *names*; return those that the kernel may know."""
        lost = [(parent, os.path.basename(path)) for path in names if (parent := self._known(os.path.dirname(path)))]
        for parent, name in lost:
            if name in parent.children:
                below = list(parent.children[name].below())
                inside = set(below)
                for node in reversed(below):
                    for above, called in [*node.names]:
                        if above in inside or (above is parent and called == name):
                            self._tree.name_gone(node, above, called)
        return [(parent.ino, name) for parent, name in lost]

    def _known(self, path: bytes) -> Node | None:
        """Return the directory *path* below the mount, if anything refers to it."""
        here: Node | None = self._table.root
        for name in path.split(b"/"):
            here = here and here.children.get(name)
        return here
