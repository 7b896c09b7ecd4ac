"""An event loop without threads, sockets and waiting."""

from __future__ import annotations

import asyncio
import threading

import pytest

from repofs.formats.ome_zarr.inline_loop import InlineLoop

# mypy counts what asyncio's base class leaves unmade as abstract.


def test_tasks_go_on_beside_each_other() -> None:
    async def count(to: int, semaphore: asyncio.Semaphore) -> int:
        for _ in range(to):
            async with semaphore:
                await asyncio.sleep(0)
        return to

    async def all_of_them() -> list[int]:
        semaphore = asyncio.Semaphore(2)
        return await asyncio.gather(*(count(n, semaphore) for n in range(20)))

    assert InlineLoop().run_until_complete(all_of_them()) == list(range(20))  # type: ignore[abstract]


def test_to_thread_makes_no_thread() -> None:
    async def where() -> int:
        return await asyncio.to_thread(threading.get_ident)

    assert InlineLoop().run_until_complete(where()) == threading.get_ident()  # type: ignore[abstract]


def test_errors_are_for_who_awaits() -> None:
    async def fail(after: int) -> None:
        for _ in range(after):
            await asyncio.sleep(0)
        await asyncio.to_thread(int, f"no number {after}")

    async def two() -> None:
        await asyncio.gather(fail(3), fail(1))

    with pytest.raises(ValueError, match="no number 1"):
        InlineLoop().run_until_complete(two())  # type: ignore[abstract]


def test_a_wait_without_end_is_told() -> None:
    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="waits for something"):
        InlineLoop().run_until_complete(wait())  # type: ignore[abstract]


def test_what_is_cancelled_does_not_run() -> None:
    ran: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(ran.append, "kept")
        loop.call_soon(ran.append, "cancelled").cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    InlineLoop().run_until_complete(main())  # type: ignore[abstract]
    assert ran == ["kept"]


def test_no_loop_is_left_running() -> None:
    async def nothing() -> None:
        """Do nothing."""

    InlineLoop().run_until_complete(nothing())  # type: ignore[abstract]
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
