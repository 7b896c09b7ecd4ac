"""Arrays in the mount that are registered as tables: nobody changes their files and names meanwhile."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog
import trio

from repofs.errors import Busy, NotFound, NotPermitted
from repofs.namespace.backing import Backing
from repofs.namespace.nodes import Node
from repofs.registration.registry import Registry
from repofs.table import Table

REFUSAL = "it is of a registered table: unregister that first, by user.repofs.table.unregister on its array"

Tell = Callable[[Table], Awaitable[None]]
"""Tells the catalogue how a table is now. Raises Busy when it cannot be told now, NotFound when it is none any more."""

_PAUSE_SECONDS = 5.0

log = structlog.get_logger()


class Registered:
    """The registered arrays of one mount, by their paths in it."""

    def __init__(self, registry: Registry, backing: Backing) -> None:
        self._registry = registry
        self._backing = backing
        self._paths: dict[bytes, int] = {}  # with the table's id
        self._moved_in, self._moved = trio.open_memory_channel[int](math.inf)
        for table in registry.all():
            self._hear(None, table)
        registry.on_change(self._hear)

    def _hear(self, before: Table | None, after: Table | None) -> None:
        # Of two tables that change places, the second is told of when the first has its path already.
        if before is not None and self._paths.get(before.place.path) == before.id:
            del self._paths[before.place.path]
        if after is not None and after.place.kind == "mount":
            self._paths[after.place.path] = after.id

    def require_changeable(self, directory: Node, name: bytes) -> None:
        """Refuse (NotPermitted) to make, remove or rename *name* in *directory*: in an array, or the array itself."""
        if self._paths and self._is_in_one(self.path(directory, name)):
            raise NotPermitted(REFUSAL)

    def require_free(self, node: Node) -> None:
        """Refuse (NotPermitted) to change the bytes of *node*, or to give it one more name."""
        if self.has(node):
            raise NotPermitted(REFUSAL)

    def has(self, node: Node) -> bool:
        """Whether *node* lies in a registered array, by any of its names."""
        return bool(self._paths) and any(self._is_in_one(self.path(*name)) for name in node.names)

    def path(self, directory: Node, name: bytes) -> bytes:
        """Return the path of *name* in *directory*, below the mount."""
        above = self._backing.path_below(self._backing.table.root, directory)
        return above + b"/" + name if above else name

    def _is_in_one(self, path: bytes) -> bool:
        end = path.find(b"/")
        while end >= 0:
            if path[:end] in self._paths:
                return True
            end = path.find(b"/", end + 1)
        return path in self._paths

    def directories_renamed(self, moves: Sequence[tuple[Node, Node, bytes]]) -> None:
        """Let the registry know where arrays lie below directories that were renamed, each from a name in another."""
        if not self._paths:
            return
        found = [
            replace(table, place=replace(table.place, path=self.path(*node.names[0]) + table.place.path[len(old) :]))
            for node, parent, name in moves
            for old in (self.path(parent, name),)
            for table in self._registry.below(old)
        ]
        for table in found:
            self._registry.put(table)
            self._moved_in.send_nowait(table.id)

    async def run(self, tell: Tell) -> None:
        """Tell the catalogue where the arrays are that were moved along, until cancelled."""
        async for number in self._moved:
            table = self._registry.get(number)
            while table is not None:
                try:
                    await tell(table)
                    break
                except NotFound as error:  # unregistered meanwhile
                    log.info("a moved table is no table any more", table=str(table.ref), reason=error.message)
                    break
                except Busy:
                    await trio.sleep(_PAUSE_SECONDS)
                    table = self._registry.get(number)
