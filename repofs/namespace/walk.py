"""Walks of the backing tree. A walk lets the mount's other requests through every few dozen entries."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable

import structlog
import trio

from repofs.namespace.backing import names_in
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing

_ENTRIES_A_TURN = 64

log = structlog.get_logger()


class Walk:
    """Walks for one mount."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._backing = standing.backing

    async def files(self, top: Node, visit: Callable[[Node], None]) -> None:
        """Call *visit* with each regular file at and below *top*; what cannot be read is logged and passed over."""
        await self.all(top, lambda node: visit(node) if node.is_file else None)

    async def drops(self, top: Node, visit: Callable[[Node], None]) -> None:
        """The same as `files`, without what is in import directories."""
        await self.all(top, visit, without=Area.IMPORTS)

    async def all(self, top: Node, visit: Callable[[Node], None], *, without: Area | None = None) -> None:
        """The same, with directories and symbolic links; a directory comes before what is in it.

        What is in directories of the area *without* is left out.
        """
        pending = deque([top])  # all held, so that each is there when its turn comes
        top.users += 1
        turns = itertools.count(1)
        try:
            _attempt(visit, top)
            while top.is_directory and pending:
                for name in await self._entries(pending[0]):
                    if next(turns) % _ENTRIES_A_TURN == 0:
                        await trio.lowlevel.checkpoint()
                    node = self._enter(pending[0], name)
                    if node is None:
                        continue
                    if node.is_directory and node.area is not without:
                        node.users += 1
                        pending.append(node)
                    _attempt(visit, node)
                    self._backing.table.release(node)
                self._let_go(pending.popleft())
        finally:
            for node in pending:
                self._let_go(node)

    async def directory(self, directory: Node, visit: Callable[[Node], None]) -> None:
        """Call *visit* with *directory* and with what is in it, but not with what is below that."""
        _attempt(visit, directory)
        for number, name in enumerate(await self._entries(directory), 1):
            if number % _ENTRIES_A_TURN == 0:
                await trio.lowlevel.checkpoint()
            node = self._enter(directory, name)
            if node is not None:
                _attempt(visit, node)
                self._backing.table.release(node)

    def _let_go(self, node: Node) -> None:
        node.users -= 1
        self._backing.table.release(node)

    async def _entries(self, directory: Node) -> list[bytes]:
        if directory.area is Area.OWN:
            return []
        self._backing.trim()
        try:
            fd = self._backing.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []  # removed since it was listed
        except OSError as error:
            log.warning("a directory cannot be read", inode=directory.ino, error=str(error))
            return []
        try:
            return await names_in(fd)
        finally:
            os.close(fd)

    def _enter(self, directory: Node, name: bytes) -> Node | None:
        if self._standing.names.hidden(directory, name):
            return None
        self._backing.trim()
        try:
            status = os.stat(name, dir_fd=self._backing.directory(directory), follow_symlinks=False)
        except FileNotFoundError:
            return None  # removed since it was listed
        except OSError as error:
            log.warning("a file cannot be looked at", directory=directory.ino, name=name, error=str(error))
            return None
        node = self._backing.table.intern(status, directory, name)
        if node.is_directory:
            node.area = self._standing.names.area(directory, name)
        return node


def _attempt(visit: Callable[[Node], None], node: Node) -> None:
    try:
        visit(node)
    except OSError as error:
        log.warning("a file cannot be read", inode=node.ino, error=str(error))
