"""Disks and stores that may not answer: each has a few threads of its own, and nobody waits for one for ever.

A call to a store that hangs cannot be ended, but who waits for it can be told. Its thread stays with the store: so many
calls hang at most, and further ones wait for a thread as long as the others do.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog
import trio

from repofs.threads import in_thread

_AT_A_TIME = 16  # calls that one store has

T = TypeVar("T")

log = structlog.get_logger()


class DoesNotAnswer(OSError):
    """A store has not answered in time."""

    def __init__(self, store: str, seconds: float) -> None:
        self.sentence = f"{_named(store)} has not answered for {seconds:.0f} s: have it looked at"
        super().__init__(errno.EIO, self.sentence)


class Patience:
    """What is known of the stores of one mount; each is called by the name of its source, "" the repository's own."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._limiters: defaultdict[str, trio.CapacityLimiter] = defaultdict(lambda: trio.CapacityLimiter(_AT_A_TIME))
        self._hanging: dict[str, float] = {}  # since when by time.time
        self._outside: dict[int, str] = {}  # descriptors of files outside the repository

    @property
    def hanging(self) -> frozenset[str]:
        """The stores that do not answer."""
        return frozenset(self._hanging)

    def sentences(self) -> list[str]:
        """Return what people are to know: one sentence a store that does not answer."""
        return [str(DoesNotAnswer(store, time.time() - since).sentence) for store, since in self._hanging.items()]

    async def ask(
        self, store: str, question: Callable[..., T], *arguments: object, unwanted: Callable[[T], object] | None = None
    ) -> T:
        """Return what the blocking *question* answers, in a thread of *store*. Raises as it does, and DoesNotAnswer.

        *unwanted* takes what comes when nobody waits for it any more, as a descriptor is to be closed.
        """
        began = time.time()
        call = _Call(question, arguments, unwanted)
        try:
            with trio.move_on_after(self._patience_seconds):
                await in_thread(call.run, limiter=self._limiters[store], abandon_on_cancel=True)
                self._answers(store)
                return call.take()
        finally:
            call.give_up()
        if store not in self._hanging:
            self._hanging[store] = began
            log.error("a store does not answer", store=_named(store), seconds=self._patience_seconds)
        raise DoesNotAnswer(store, time.time() - self._hanging[store])

    def opened(self, fd: int, store: str) -> int:
        """Remember that *fd*, to be ended by `close`, is of a file in *store*; return it."""
        self._outside[fd] = store
        return fd

    def close(self, fd: int) -> None:
        self._outside.pop(fd, None)
        os.close(fd)

    async def read(self, fd: int, offset: int, size: int) -> bytes:
        """Return *size* bytes from *offset*, fewer at the end of the file. Raises as `ask`."""
        return await self.ask(self._outside.get(fd, ""), os.pread, fd, size, offset)

    def _answers(self, store: str) -> None:
        since = self._hanging.pop(store, None)
        if since is not None:
            log.warning("a store answers again", store=_named(store), seconds=round(time.time() - since))


class _Call(Generic[T]):
    """One call, whose answer is taken once or disposed of."""

    def __init__(
        self, question: Callable[..., T], arguments: tuple[object, ...], unwanted: Callable[[T], object] | None
    ) -> None:
        self._question = question
        self._arguments = arguments
        self._unwanted = unwanted
        self._lock = threading.Lock()
        self._answers: list[T] = []  # one at most
        self._given_up = False

    def run(self) -> None:
        """Ask; in a thread."""
        answer = self._question(*self._arguments)
        with self._lock:
            self._answers.append(answer)
            if self._given_up:
                self._dispose()

    def take(self) -> T:
        with self._lock:
            return self._answers.pop()

    def give_up(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._given_up = True
            self._dispose()

    def _dispose(self) -> None:
        while self._answers:
            answer = self._answers.pop()
            if self._unwanted is not None:
                self._unwanted(answer)


def _named(store: str) -> str:
    return f"the source {store}" if store else "the disk of the repository"
