"""Walks of the backing tree: what stands below a directory, and which drops were missed.

A walk lets the mount's other requests through every few dozen entries.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
import trio

from repofs import access
from repofs.errors import Busy
from repofs.lifecycle import State, worst
from repofs.namespace.backing import names_in
from repofs.namespace.drops import Drops
from repofs.namespace.nodes import Area, Node
from repofs.namespace.standing import Standing
from repofs.xattrs import ImportCommand

_ENTRIES_A_TURN = 64
_MOST_PROBLEMS = 100
_PROBLEM_BYTES = 60_000  # of JSON: the kernel passes on attributes of at most 64 KiB
_PROBLEMS = frozenset({State.FAILED, State.DUPLICATE, State.INCOMPLETE, State.ALTERED, State.MISSING, State.OFFLINE})

log = structlog.get_logger()


@dataclass(slots=True)
class Report:
    """States, counts and bytes of all files below one directory; a file of many names counts once."""

    counts: Counter[State] = field(default_factory=Counter)
    sizes: Counter[State] = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)
    more: int = 0  # problems that are not listed
    _room: int = _PROBLEM_BYTES

    def count(self, state: State, size: int) -> None:
        self.counts[state] += 1
        self.sizes[state] += size

    def list_problem(self, path: bytes, state: State, error: str | None) -> None:
        """List a file that needs its owner, as far as there is room."""
        problem = {"path": os.fsdecode(path), "state": state, "error": error or ""}
        size = len(json.dumps(problem)) + 2
        if size <= self._room:
            self.problems.append(problem)
            self._room -= size
        else:
            self.more += 1

    def json(self) -> bytes:
        """Return everything as JSON that fits into one attribute."""
        return json.dumps(
            {"counts": self.counts, "bytes": self.sizes, "problems": self.problems, "more": self.more}
        ).encode()

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
        self._drops.surveyed = True
        async for directory in self._drops.rescans:
            await self.scan(directory)
            directory.users -= 1
            self._backing.table.release(directory)

    async def report(self, top: Node, uid: int = 0) -> Report:
        """Return how everything at and below *top* stands; only problems that *uid* may view are listed."""
        report = Report()
        seen: set[int] = set()
        root = self._backing.table.root

        def add(node: Node) -> None:
            stands = None if node.ino in seen else self._standing.state(node)
            if stands is None or (stands[0] is State.INCOMPLETE and self._left_alone(node)):
                return
            seen.add(node.ino)
            status = self._backing.status(node)
            report.count(stands[0], status.st_size)
            if stands[0] not in _PROBLEMS:
                return
            if access.may_view(uid, status.st_uid) and len(report.problems) < _MOST_PROBLEMS:
                report.list_problem(self._backing.path_below(root, node), *stands)
            else:
                report.more += 1

        await self._visit(top, add)
        return report

    def _left_alone(self, node: Node) -> bool:
        unit = self._standing.names.unit(node)
        return unit is not None and self._standing.left_alone(unit)

    async def scan(self, top: Node) -> None:
        """Give a clock to every drop at and below *top* that is closed and has none."""
        await self._visit(top, self._drops.found)

    async def command(self, top: Node, command: ImportCommand, uid: int) -> None:
        """Carry out ``user.repofs.import`` on the drop *top*, or on all drops below it that nobody is writing."""
        if top.is_file:
            self._drops.command(top, command, uid)
            return

        def carry_out(node: Node) -> None:
            if self._standing.state(node) is not None:
                with contextlib.suppress(Busy):  # imported when its writer closes it
                    self._drops.command(node, command, uid)

        await self._visit(top, carry_out)

    async def _visit(self, top: Node, visit: Callable[[Node], None]) -> None:
        """Call *visit* with each regular file at and below *top*; what cannot be read is logged and passed over."""
        pending = deque([top])  # all held, so that each is there when its turn comes
        top.users += 1
        turns = itertools.count(1)
        try:
            if top.is_file:
                _attempt(visit, top)
                return
            while pending:
                for name in await self._entries(pending[0]):
                    if next(turns) % _ENTRIES_A_TURN == 0:
                        await trio.lowlevel.checkpoint()
                    node = self._enter(pending[0], name)
                    if node is None:
                        continue
                    if node.is_directory:
                        node.users += 1
                        pending.append(node)
                    elif node.is_file:
                        _attempt(visit, node)
                    self._backing.table.release(node)
                self._let_go(pending.popleft())
        finally:
            for node in pending:
                self._let_go(node)

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
        node = self._backing.table.intern(status.st_ino, status.st_mode, directory, name)
        if node.is_directory:
            node.area = self._standing.names.area(directory, name)
        return node


def _attempt(visit: Callable[[Node], None], node: Node) -> None:
    try:
        visit(node)
    except OSError as error:
        log.warning("a file cannot be read", inode=node.ino, error=str(error))
