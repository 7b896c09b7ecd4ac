"""Walks of the backing tree: what stands below a directory, and which drops were missed.

A walk lets the mount's other requests through every few dozen entries.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import trio

from repofs.errors import Busy
from repofs.lifecycle import State, worst
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing
from repofs.xattrs import ImportCommand

_ENTRIES_A_TURN = 64
_MOST_PROBLEMS = 100
_PROBLEMS = frozenset({State.FAILED, State.DUPLICATE, State.INCOMPLETE, State.ALTERED, State.MISSING, State.OFFLINE})


@dataclass(slots=True)
class Report:
    """States, counts and bytes of all files below one directory; a file of many names counts once."""

    counts: Counter[State] = field(default_factory=Counter)
    sizes: Counter[State] = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)
    more: int = 0  # problems that are not listed

    def add(self, path: bytes, state: State, error: str | None, size: int) -> None:
        self.counts[state] += 1
        self.sizes[state] += size
        if state not in _PROBLEMS:
            return
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.append({"path": os.fsdecode(path), "state": state, "error": error or ""})
        else:
            self.more += 1

    def summary(self) -> str:
        """Return the worst state and the counts: ``failed: 1 failed, 12 imported``; "empty" without files."""
        state = worst(dict(self.counts))
        if state is None:
            return "empty"
        counts = ", ".join(f"{self.counts[one]} {one}" for one in reversed(State) if self.counts[one])
        return f"{state}: {counts}"


class Survey:
    """Walks for one mount."""

    def __init__(self, standing: Standing, drops: Drops) -> None:
        self._standing = standing
        self._backing = standing.backing
        self._drops = drops

    async def run(self) -> None:
        """Scan the whole mount once, for what was closed while no daemon ran, then whatever is asked for."""
        await self.scan(self._backing.table.root)
        async for directory in self._drops.rescans:
            await self.scan(directory)
            directory.users -= 1
            self._backing.table.release(directory)

    async def report(self, top: Node) -> Report:
        """Return how everything at and below *top* stands."""
        report = Report()
        seen: set[int] = set()
        root = self._backing.table.root
        async for node in self._files(top):
            stands = None if node.ino in seen else self._standing.state(node)
            if stands is not None:
                seen.add(node.ino)
                size = self._backing.status(node).st_size
                report.add(self._backing.path_below(root, node), *stands, size)
        return report

    async def scan(self, top: Node) -> None:
        """Give a clock to every drop at and below *top* that is closed and has none."""
        async for node in self._files(top):
            self._drops.found(node)

    async def command(self, top: Node, command: ImportCommand, uid: int) -> None:
        """Carry out ``user.repofs.import`` on the drop *top*, or on all drops below it that nobody is writing."""
        if top.is_file:
            self._drops.command(top, command, uid)
            return
        async for node in self._files(top):
            if self._standing.state(node) is None:
                continue
            with contextlib.suppress(Busy):  # imported when its writer closes it
                self._drops.command(node, command, uid)

    async def _files(self, top: Node) -> AsyncIterator[Node]:
        """Yield the regular files at and below *top*; each node is good until the next is asked for."""
        if top.is_file:
            yield top
            return
        pending = [top]
        top.users += 1
        turn = 0
        while pending:
            directory = pending.pop()
            for entry in self._entries(directory):
                turn += 1
                if turn % _ENTRIES_A_TURN == 0:
                    await trio.lowlevel.checkpoint()
                node = self._enter(directory, entry)
                if node is None:
                    continue
                if node.is_directory:
                    node.users += 1
                    pending.append(node)
                elif node.is_file:
                    yield node
                self._backing.table.release(node)
            directory.users -= 1
            self._backing.table.release(directory)

    def _entries(self, directory: Node) -> list[bytes]:
        if directory.area is Area.OWN:
            return []
        self._backing.trim()
        try:
            fd = self._backing.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []  # removed since it was listed
        try:
            return [os.fsencode(name) for name in os.listdir(fd)]
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
        node = self._backing.table.intern(status.st_ino, status.st_mode, directory, name)
        if node.is_directory:
            node.area = self._standing.names.area(directory, name)
        return node
