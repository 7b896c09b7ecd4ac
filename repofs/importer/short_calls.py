"""Blocking calls of a fraction of a millisecond, on the repository's own disk: those that come while others are being
made share a trip to a thread. A trip of its own would cost each more than the call, and many threads more than one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import trio

from repofs.importer.commits import Groups

T = TypeVar("T")


class ShortCalls:
    """They are made in the order in which they come."""

    def __init__(self) -> None:
        self._groups: Groups[Callable[[], Any], Any] = Groups(_made, linger_seconds=0)

    async def run(self) -> None:
        """Make calls until cancelled."""
        await self._groups.run()

    async def make(self, fn: Callable[..., T], *args: object) -> T:
        """Return what *fn* returns; raises what it raises, BrokenResourceError when `run` has ended.

        Not to be cancelled: what *args* stand for is in use until then.
        """
        with trio.CancelScope(shield=True):
            result = await self._groups.do(functools.partial(fn, *args))
        return cast(T, result)


def _made(calls: Sequence[Callable[[], Any]]) -> Sequence[Any]:
    return [_result(call) for call in calls]


def _result(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 -- raised again where it is waited for
        return error
