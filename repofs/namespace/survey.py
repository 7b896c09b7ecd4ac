"""What stands below a directory, and which drops were missed."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from repofs.access import Act
from repofs.errors import Busy
from repofs.lifecycle import State, worst
from repofs.namespace.drops import Drops
from repofs.namespace.journal import Restless
from repofs.namespace.nodes import Area, Node
from repofs.namespace.rights import Rights
from repofs.namespace.standing import Standing
from repofs.namespace.walk import Walk
from repofs.patience import Patience
from repofs.xattrs import ImportCommand

_MOST_PROBLEMS = 100
_PROBLEM_BYTES = 60_000  # of JSON: the kernel passes on attributes of at most 64 KiB
_PROBLEMS = frozenset({State.FAILED, State.DUPLICATE, State.INCOMPLETE, State.ALTERED, State.MISSING, State.OFFLINE})


@dataclass(slots=True)
class Report:
    """States, counts and bytes of all files below one directory; a file of many names counts once."""

    counts: Counter[State] = field(default_factory=Counter)
    sizes: Counter[State] = field(default_factory=Counter)
    problems: list[dict[str, str]] = field(default_factory=list)
    more: int = 0  # problems that are not listed
    verification: dict[str, Any] | None = None  # of all originals, for who may see them all
    passthrough: dict[str, object] | None = None  # of a whole mount: whether the kernel reads originals by itself
    read_only: str | None = None  # why nothing can be changed any more
    hanging: list[str] = field(default_factory=list)  # which disks and sources do not answer
    _room: int = _PROBLEM_BYTES

    def count(self, state: State, size: int) -> None:
        self.counts[state] += 1
        self.sizes[state] += size

    def list_problem(self, path: bytes, state: State, error: str | None) -> None:
        """List a file that needs its owner, or waits, as far as there is room."""
        problem = {"path": os.fsdecode(path), "state": state, "error": error or ""}
        size = len(json.dumps(problem)) + 2
        if size <= self._room:
            self.problems.append(problem)
            self._room -= size
        else:
            self.more += 1

    def json(self) -> bytes:
        """Return everything as JSON that fits into one attribute."""
        told = {
            "counts": self.counts,
            "bytes": self.sizes,
            "problems": self.problems,
            "more": self.more,
            "read_only": self.read_only,
            "hanging": self.hanging,
        }
        if self.passthrough is not None:
            told["passthrough"] = self.passthrough
        if self.verification is not None:
            told["verification"] = self.verification
        return json.dumps(told).encode()

    def summary(self) -> str:
        """Return the worst state and the counts: ``failed: 1 failed, 12 imported``; "empty" without files."""
        state = worst(dict(self.counts))
        if state is None:
            return "empty"
        counts = ", ".join(f"{self.counts[one]} {one}" for one in reversed(State) if self.counts[one])
        return f"{state}: {counts}"


class Survey:
    """Looks for one mount."""

    def __init__(
        self, standing: Standing, rights: Rights, drops: Drops, patience: Patience, resume: Callable[[Node], None]
    ) -> None:
        """*resume* is called once with each directory that there is."""
        self._standing = standing
        self._rights = rights
        self._backing = standing.backing
        self._drops = drops
        self._patience = patience
        self._resume = resume
        self._walk = Walk(standing)

    async def run(self) -> None:
        """Look where something went on when the last daemon ended, then wherever is asked for."""
        journal = self._drops.journal
        if journal.machine_went_down:  # before anything gets a clock
            for restless in journal.left:
                await self._look(restless, self._drops.check_bytes)
            journal.looked_for_lost_bytes()
        for restless in journal.left:
            await self._look(restless, self._first_look)
            journal.let_go(restless)
        self._drops.surveyed = True
        async for directory in self._drops.rescans:
            asked = self._drops.to_rescan.pop(directory)
            await self.scan(directory)
            journal.let_go(asked)

    async def _look(self, restless: Restless, visit: Callable[[Node], None]) -> None:
        look = self._walk.all if restless.below else self._walk.directory
        await look(restless.node, visit)

    def _first_look(self, node: Node) -> None:
        if node.is_directory:
            self._resume(node)
        elif node.is_file:
            self._drops.found(node)

    async def report(self, top: Node, uid: int) -> Report:
        """Return how everything at and below *top* that *uid* may see stands."""
        report = Report(read_only=self._backing.health.failure, hanging=self._patience.sentences())
        seen: set[int] = set()
        waiting: list[tuple[bytes, State, str | None]] = []
        root = self._backing.table.root

        def add(node: Node) -> None:
            stands = None if node.ino in seen else self._standing.state(node)
            if stands is None or (stands[0] is State.INCOMPLETE and self._left_alone(node)):
                return
            seen.add(node.ino)
            status = self._backing.status(node)
            if not self._rights.may_view(node, status, uid):
                return
            report.count(stands[0], status.st_size)
            waits = stands[0] is State.SETTLING and stands[1] is not None
            if stands[0] not in _PROBLEMS and not waits:
                return
            if len(waiting if waits else report.problems) >= _MOST_PROBLEMS or not self._reaches(node, uid):
                report.more += 1
            elif waits:
                waiting.append((self._backing.path_below(root, node), *stands))
            else:
                report.list_problem(self._backing.path_below(root, node), *stands)

        await self._walk.files(top, add)
        self._list_arrivals(report, top, uid)
        for wait in waiting:  # what failed comes first
            report.list_problem(*wait)
        return report

    def _list_arrivals(self, report: Report, top: Node, uid: int) -> None:
        """List what has failed and has no file at or below *top*: its log, in that user's directory and in the root."""
        if top is not self._backing.table.root and not (top.is_directory and top.area is Area.USER):
            return
        user = top.names[0][1] if top.names else None
        for whose, gid, error, path in self._drops.failed.logs(user):
            if self._rights.may_view_in(whose, gid, uid):
                report.list_problem(path, State.FAILED, error)

    def _reaches(self, node: Node, uid: int) -> bool:
        """Whether *uid* may see all directories above *node*, so that its path tells her nothing new."""
        here = node.names[0][0]
        while here.names and self._rights.may_view(here, self._backing.status(here), uid):
            here = here.names[0][0]
        return not here.names

    def _left_alone(self, node: Node) -> bool:
        unit = self._standing.names.unit(node)
        return unit is not None and self._standing.left_alone(unit)

    async def scan(self, top: Node) -> None:
        """Give a clock to every drop at and below *top* that is closed and has none."""
        await self._walk.files(top, self._drops.found)

    async def command(self, top: Node, command: ImportCommand, uid: int) -> None:
        """Carry out ``user.repofs.import`` on the drop *top*, or on all drops below it that nobody is writing."""
        if top.is_file:
            self._drops.command(top, command, uid)
            return

        def carry_out(node: Node) -> None:
            if self._standing.names.unit(node) is not None and self._rights.may(Act.SET, node, uid):
                with contextlib.suppress(Busy):  # imported when its writer closes it
                    self._drops.command(node, command, uid)

        await self._walk.files(top, carry_out)
