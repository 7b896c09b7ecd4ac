"""Work for a task that waits for it: it ends with the task, which the kernel does not let go before its answer."""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from repofs.namespace.openers import is_being_killed

_LOOK_SECONDS = 0.2

Answer = TypeVar("Answer")


async def unless_killed(task: int, work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return what *work* does; it is cancelled when *task* is being killed. Raises what it raises, OSError (EINTR)."""
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch, task)
            answer = await work()
            nursery.cancel_scope.cancel()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None
    return answer


async def _watch(task: int) -> None:
    while not is_being_killed(task):  # noqa: ASYNC110 - the kernel tells nobody
        await trio.sleep(_LOOK_SECONDS)
    raise OSError(errno.EINTR, "who waits for it is being killed")
