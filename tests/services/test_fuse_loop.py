"""Requests that wait already are taken without a turn of the scheduler, and nobody starves by that."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pyfuse3
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from repofs.fuse.loop import BURST, Lock, Requests, in_bursts


@pytest.fixture
def waiting() -> Iterator[int]:
    """A descriptor that can always be read."""
    reader, writer = os.pipe()
    os.write(writer, b"request")
    yield reader
    os.close(reader)
    os.close(writer)


@pytest.mark.trio
async def test_other_tasks_have_a_turn_after_a_burst(waiting: int) -> None:
    requests, turns = Requests(), 0

    async def other() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        for _ in range(100 * BURST):
            await requests.wait_readable(waiting)
        nursery.cancel_scope.cancel()
    assert 50 <= turns <= 202  # one or two at each end of a burst, fewer while the other waits for its first


@pytest.mark.trio
async def test_nothing_there_is_waited_for() -> None:
    requests = Requests()
    reader, writer = os.pipe()
    try:
        with trio.move_on_after(0.05) as scope:
            await requests.wait_readable(reader)
        assert scope.cancelled_caught
        os.write(writer, b"request")
        await requests.wait_readable(reader)
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.trio
async def test_one_at_a_time_has_the_lock() -> None:
    lock, inside, most, done = Lock(), 0, 0, 0

    async def worker() -> None:
        nonlocal inside, most, done
        for _ in range(50):
            async with lock:
                inside += 1
                most = max(most, inside)
                await trio.lowlevel.checkpoint()
                inside -= 1
                done += 1

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(worker)
    assert (most, done) == (1, 250)


@pytest.mark.trio
async def test_who_is_cancelled_while_it_waits_leaves_the_lock_to_others() -> None:
    lock = Lock()

    async def worker() -> None:
        async with lock:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker)
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.05) as scope:
            async with lock:
                raise AssertionError("two have it")
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()
    async with lock:
        pass


def test_pyfuse3_has_trio_again() -> None:
    before = vars(pyfuse3)["trio"]
    with in_bursts():
        assert vars(pyfuse3)["trio"].Lock is Lock
        assert vars(pyfuse3)["trio"].lowlevel.notify_closing is trio.lowlevel.notify_closing
    assert vars(pyfuse3)["trio"] is before
