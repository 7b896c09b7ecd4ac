"""The daemon's side of `repofs.tables.process`: a child of its own for each task."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import TypeVar

from repofs import children
from repofs.children import Gone, environment, how_it_ended
from repofs.errors import InvalidValue, Unreachable
from repofs.tables import exchange
from repofs.tables.exchange import ANSWER_BYTES, TASK_BYTES, Answer, Job, Refused, Task

PROGRAM = ("-P", "-m", "repofs.tables.process")

_WHAT = "the process that reads arrays"

Expected = TypeVar("Expected", bound=Answer)


class Crashed(InvalidValue):
    """The child was ended by a fault of its libraries."""


class Parent(children.Parent):
    """The process that forks a child for each task."""

    def __init__(self) -> None:
        """Start it, as any such parent."""
        more = environment(
            ARROW_DEFAULT_MEMORY_POOL="system",
            JE_ARROW_MALLOC_CONF="background_thread:false",
            MALLOC_ARENA_MAX="2",  # each takes 64 MiB of the address space that a child may have
            AWS_EC2_METADATA_DISABLED="true",  # no host is asked but the store's
        )
        super().__init__(PROGRAM, _WHAT, more)

    async def child(self, given: Sequence[int]) -> Child:
        """Have a child made that gets copies of the descriptors *given*. Raises Unreachable when we are too late."""
        return Child(await self.fork(given))


class Child:
    """A process for one task. *usable* is true only after a whole answer."""

    def __init__(self, process: children.Child) -> None:
        self._process = process
        self._begun = False
        self.usable = False

    @property
    def ended(self) -> bool:
        return self._process.ended

    async def answer(self, task: Task, job: Job, expected: type[Expected]) -> Expected:
        """Have *job* of *task* done. Raises the RepofsError that is its answer; InvalidValue when there is none, of
        which Crashed is one."""
        self.usable = False
        asked = exchange.pack(job, TASK_BYTES)
        try:
            await self._process.send(asked if self._begun else exchange.pack(task, TASK_BYTES) + asked)
            self._begun = True
            header = await self._process.receive(exchange.HEADER.size)
            body = await self._process.receive(exchange.body_bytes(header, ANSWER_BYTES))
        except Gone as gone:
            raise _death(gone.exit_code) from None
        answer = exchange.read_answer(body)
        self.usable = True
        if isinstance(answer, Refused):
            raise answer.error()
        if not isinstance(answer, expected):
            raise InvalidValue("the array cannot be read: its reader answers something else")
        return answer

    def end(self) -> None:
        """Have the process ended, if it has not by itself."""
        self._process.end()


def _death(exit_code: int | None) -> InvalidValue | Unreachable:
    if exit_code is None:
        return Unreachable(f"{_WHAT} has ended: try again")
    kind = Crashed if -exit_code in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT) else InvalidValue
    return kind(f"the array cannot be read: its reader {how_it_ended(exit_code)}")
