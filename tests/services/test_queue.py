"""Whose turn it is."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from repofs.importer.queue import FairQueue
from repofs.importer.turns import Turns


def drained(queue: FairQueue) -> list[int]:
    tokens = []
    while turn := queue.pop():
        tokens.append(turn[1])
    return tokens


def test_first_come_first_served_within_a_user() -> None:
    queue = FairQueue()
    for token in (5, 3, 9):
        queue.put(b"alice", token)
    assert drained(queue) == [5, 3, 9]


def test_in_turn_between_users() -> None:
    queue = FairQueue()
    for token in (1, 2, 3):
        queue.put(b"alice", token)
    for token in (11, 12):
        queue.put(b"bob", token)
    queue.put(b"carol", 21)
    assert drained(queue) == [1, 11, 21, 2, 12, 3]


def test_ten_thousand_drops_delay_another_user_by_one_turn() -> None:
    queue = FairQueue()
    for token in range(10_000):
        queue.put(b"alice", token)
    assert queue.pop() == (b"alice", 0)
    queue.put(b"bob", 77_777)
    assert [queue.pop(), queue.pop()] == [(b"alice", 1), (b"bob", 77_777)]
    assert drained(queue) == list(range(2, 10_000))


def test_putting_twice_keeps_the_place() -> None:
    queue = FairQueue()
    for token in (1, 2, 1):
        queue.put(b"alice", token)
    assert len(queue) == 2
    assert drained(queue) == [1, 2]


def test_removed_ones_have_no_turn() -> None:
    queue = FairQueue()
    queue.put(b"alice", 1)
    queue.put(b"bob", 2)
    queue.remove(1)
    queue.remove(99)
    assert 1 not in queue
    assert drained(queue) == [2]


def test_users_passed_over_keep_their_turn() -> None:
    queue = FairQueue()
    for token in (1, 2):
        queue.put(b"alice", token)
    queue.put(b"bob", 11)
    assert queue.pop(passed_over=[b"alice"]) == (b"bob", 11)
    assert queue.pop(passed_over=[b"alice"]) is None
    assert queue.pop() == (b"alice", 1)


@pytest.mark.trio
async def test_places_are_given_in_turn_between_users() -> None:
    turns = Turns(1)
    order: list[bytes] = []

    async def work(user: bytes) -> None:
        async with turns.turn(user):
            order.append(user)

    async with trio.open_nursery() as nursery:
        async with turns.turn(b"alice"):
            for user in (b"alice", b"alice", b"alice", b"bob"):
                nursery.start_soon(work, user)
                await trio.testing.wait_all_tasks_blocked()
            assert order == []
    assert order == [b"alice", b"bob", b"alice", b"alice"]


@pytest.mark.trio
async def test_a_cancelled_waiter_takes_no_place() -> None:
    turns = Turns(1)
    async with turns.turn(b"alice"):
        with trio.move_on_after(0):
            async with turns.turn(b"bob"):
                raise AssertionError("there was no place")
    with trio.fail_after(1):
        async with turns.turn(b"carol"):
            pass


@pytest.mark.trio
async def test_no_user_holds_all_places() -> None:
    turns, held = Turns(3), []

    async def hold(user: bytes) -> None:
        async with turns.turn(user):
            held.append(user)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(hold, b"greedy")
        await trio.testing.wait_all_tasks_blocked()
        assert held == [b"greedy"] * 2
        nursery.start_soon(hold, b"other")
        await trio.testing.wait_all_tasks_blocked()
        assert held == [b"greedy", b"greedy", b"other"]
        nursery.cancel_scope.cancel()
