"""Group commit: what many imports want done at the same moment is done once, for all of them.

While one group is on its way to the disk the next gathers, so that a lone import waits for nobody and a thousand
share a commit. A group that fails is done again one by one: only the culprits fail, never their neighbours.
"""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

import trio

from repofs.catalog.engine import Connection, Engine, end_writing
from repofs.errors import StoreFailed
from repofs.health import Health
from repofs.threads import in_thread

LINGER_SECONDS = 0.005  # a commit costs as much
FULL_SECONDS = 30.0  # before what found no room is tried again
GROUP = 256  # items at most: bounds a transaction, and how long other writers of the catalogue wait for it

Item = TypeVar("Item")
Result = TypeVar("Result")

Act = Callable[[Connection, Sequence[Item]], Sequence[Result | Exception]]
"""Does something for many items in one transaction; returns a result for each, or the exception that it deserves."""


class _Slot(Generic[Item, Result]):
    """One item on its way, and whoever waits for it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.done = trio.Event()
        self.result: Result | Exception | None = None

    def settle(self, result: Result | Exception) -> None:
        """Let the waiter go on, if it has not already."""
        if not self.done.is_set():
            self.result = result
            self.done.set()


class Groups(Generic[Item, Result]):
    """Gathers single items into groups and has *work* do each in a thread, one group at a time; the first of a group
    waits *linger_seconds* for others.

    *work* returns a result, or an exception, for each item; an exception that it raises is everybody's, unless it
    comes again for an item alone.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        linger_seconds: float = LINGER_SECONDS,
    ) -> None:
        self._work = work
        self._linger_seconds = linger_seconds
        self._waiting: deque[_Slot[Item, Result]] = deque()  # as many as the inbox hands over at a time, no more
        self._arrived = trio.Event()
        self._ended = False

    async def do(self, item: Item) -> Result:
        """Have *item* done with others and return its result; raises what was raised for it.

        Once begun it is done, even if the waiter is cancelled. Raises BrokenResourceError when `run` has ended.
        """
        if self._ended:
            await trio.lowlevel.checkpoint()  # who is cancelled with `run` is told that
            raise trio.BrokenResourceError
        slot: _Slot[Item, Result] = _Slot(item)
        self._waiting.append(slot)
        self._arrived.set()
        await slot.done.wait()
        if isinstance(slot.result, Exception):
            raise slot.result
        return cast(Result, slot.result)

    async def run(self) -> None:
        """Do group after group until cancelled."""
        group: list[_Slot[Item, Result]] = []
        try:
            while True:
                await self._arrived.wait()
                await trio.sleep(self._linger_seconds)
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                if not self._waiting:
                    self._arrived = trio.Event()
                results = await in_thread(self._all, [slot.item for slot in group])
                for slot, result in zip(group, results, strict=True):
                    slot.settle(result)
        finally:
            self._ended = True
            for slot in (*group, *self._waiting):
                slot.settle(trio.BrokenResourceError())

    def _all(self, items: Sequence[Item]) -> Sequence[Result | Exception]:
        try:
            return self._work(items)
        except StoreFailed as error:  # not once more: the disk tells it once, and has lost what it tells of
            return [error] * len(items)
        except Exception as error:  # noqa: BLE001 -- raised again where the item is waited for
            if len(items) == 1:
                return [error]
            return [result for item in items for result in self._all([item])]


class Bell:
    """Wakes all who wait for what happens next. Who takes `next` before she looks what there is misses nothing."""

    def __init__(self) -> None:
        self.next = trio.Event()

    def ring(self) -> None:
        self.next.set()
        self.next = trio.Event()


class Commits:
    """The one writer of the catalogue in this process."""

    def __init__(self, engine: Engine) -> None:
        self.committed = Bell()  # rings at each
        self.health = Health()
        self.health.on_failure(functools.partial(end_writing, engine))
        self._engine = engine
        self._groups: Groups[tuple[Act[Any, Any], Any], Any] = Groups(self._transaction)

    async def run(self) -> None:
        """Commit until cancelled."""
        await self._groups.run()

    async def write(self, act: Act[Item, Result], item: Item) -> Result:
        """Return what *act* gives for *item*, committed; raises what it raises for it, StoreFull, StoreFailed."""
        with self.health.heeding("the catalogue"):
            result: Result = await self._groups.do((act, item))
        self.committed.ring()
        return result

    def _transaction(self, items: Sequence[tuple[Act[Any, Any], Any]]) -> Sequence[Any]:
        by_act: dict[Act[Any, Any], list[int]] = defaultdict(list)
        for position, (act, _) in enumerate(items):
            by_act[act].append(position)
        results: list[Any] = [None] * len(items)
        with self._engine.begin() as conn:
            for act, positions in by_act.items():
                answers = act(conn, [items[position][1] for position in positions])
                for position, answer in zip(positions, answers, strict=True):
                    results[position] = answer
        return results
