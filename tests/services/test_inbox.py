"""The way of a drop to the importer process and back."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
import trio
import trio.testing

from repofs.errors import DaemonUnreachable
from repofs.events import News
from repofs.health import Health
from repofs.importer import inbox as inbox_module
from repofs.importer.inbox import SHARE, WINDOW, Inbox
from repofs.importer.wire import TOGETHER, Done, Failed, Growing, Handed, Happened, Stop
from repofs.lifecycle import State
from repofs.model import Outcome
from tests.helpers.inbox import ALICE, BOB, SETTLE_SECONDS, Accountant, FakeMount, FakeProcess, Lives, Rights, running

pytestmark = pytest.mark.trio


async def test_quiet_for_its_settle_time_then_handed_over(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        began = trio.current_time()
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        await world.after(SETTLE_SECONDS - 0.1)
        assert world.lives.last.tokens == []
        await world.after(0.2)
        assert world.lives.last.tokens == [1]
        assert world.mount.claimed[0][1] == pytest.approx(began + SETTLE_SECONDS)
        await world.lives.last.done(1)
        assert world.mount.outcomes == [Outcome(1, State.IMPORTED)]


async def test_every_change_restarts_the_clock(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for _ in range(5):
            world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
            await world.after(2.0)
        assert world.lives.last.tokens == []
        await world.after(1.5)
        assert world.lives.last.tokens == [1]


async def test_gone_is_never_claimed(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        world.inbox.gone(1)
        world.inbox.gone(2)
        await world.after(60)
        assert world.mount.claimed == []


async def test_what_is_no_drop_any_more_is_passed_over(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.mount.no_drop.add(1)
        world.inbox.dropped(1, ALICE, 1.0)
        world.inbox.dropped(2, ALICE, 1.0)
        await world.after(2)
        assert world.lives.last.tokens == [2]


async def test_a_claim_that_fails_is_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.mount.unreadable.add(1)
        world.inbox.dropped(1, ALICE, 1.0)
        await world.after(1.5)
        assert world.lives.last.tokens == []
        world.mount.unreadable.clear()
        await world.after(1.0)
        assert world.lives.last.tokens == [1]


async def test_a_fault_of_the_source_costs_one_drop_and_not_the_mount(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 1.0)
        await world.after(1.5)
        world.mount.faulty = True
        await world.lives.last.done(1)
        world.inbox.dropped(2, ALICE, 1.0)
        await world.after(1.5)
        world.mount.faulty = False
        world.inbox.dropped(3, ALICE, 1.0)
        await world.after(1.5)
        assert world.lives.last.tokens == [1, 3]


async def test_dropped_again_during_its_import(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for state, again in ((State.IMPORTED, False), (State.FAILED, True), (State.SETTLING, True)):
            token = 1 + len(world.lives.last.tokens)
            world.inbox.dropped(token, ALICE, 0.0)
            await world.after(0.1)
            world.inbox.dropped(token, ALICE, SETTLE_SECONDS)
            await world.lives.last.done(token, state)
            before = len(world.lives.last.tokens)
            await world.after(SETTLE_SECONDS + 1)
            assert world.lives.last.tokens[before:] == ([token] if again else []), state
            if again:
                await world.lives.last.done(token)


async def test_failed_waits_for_a_word_and_settling_tries_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        world.inbox.dropped(2, ALICE, SETTLE_SECONDS)
        await world.after(SETTLE_SECONDS + 0.1)
        await world.lives.last.done(1, State.FAILED)
        await world.lives.last.done(2, State.SETTLING)
        await world.after(60)
        assert world.lives.last.tokens == [1, 2, 2]


async def test_gone_during_its_import_is_not_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        world.inbox.gone(1)
        await world.lives.last.done(1, State.SETTLING)
        await world.after(60)
        assert world.lives.last.tokens == [1]


async def test_ten_thousand_drops_of_one_user_leave_room_for_another(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in range(10_000):
            world.inbox.dropped(token, ALICE, 0.0)
        await world.after(0.1)
        assert len(world.lives.last.tokens) == SHARE
        world.inbox.dropped(77_777, BOB, 0.0)
        await world.after(0.1)
        assert world.lives.last.tokens[-1] == 77_777


async def test_drops_that_are_due_together_are_handed_over_together(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in range(2 * TOGETHER + 1):
            world.inbox.dropped(token, ALICE, 1.0)
        world.mount.no_drop.add(3)
        world.mount.unreadable.add(5)
        await world.after(1.5)
        handed = [message for message in world.lives.last.messages if isinstance(message, Handed)]
        assert [len(message.drops) for message in handed] == [TOGETHER - 2, TOGETHER, 1]
        assert world.lives.last.tokens == [token for token in range(2 * TOGETHER + 1) if token not in (3, 5)]


async def test_no_more_than_the_window_is_in_hand(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in range(4 * WINDOW):
            world.inbox.dropped(token, b"user%d" % (token % 3), 0.0)
        await world.after(0.1)
        assert len(world.lives.last.tokens) == WINDOW
        await world.lives.last.done(world.lives.last.tokens[0])
        assert len(world.lives.last.tokens) == WINDOW + 1


async def test_after_a_death_what_was_in_hand_comes_again_one_by_one(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        for token in (1, 2, 3):
            world.inbox.dropped(token, ALICE, 0.0)
        await world.after(0.1)
        world.inbox.dropped(4, BOB, 100.0)
        world.lives.last.die()
        await world.after(1)
        assert world.mount.outcomes == [Outcome(token, State.SETTLING) for token in (1, 2, 3)]
        second = world.lives.last
        for tokens in ([1], [1, 2], [1, 2, 3]):
            assert second.tokens == tokens
            await second.done(tokens[-1])
        await world.after(100)
        assert second.tokens == [1, 2, 3, 4]


async def test_what_only_recovery_can_tell_of_stays_in_hand(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        await world.lives.last.channel.send(Done((Outcome(1, State.SETTLING, undecided=True),)))
        await world.after(60)
        assert world.mount.outcomes == [] and world.lives.last.tokens == [1]
        world.lives.last.die()
        await world.after(1)
        assert world.mount.outcomes == [Outcome(1, State.SETTLING)] and world.lives.last.tokens == [1]


async def test_what_a_dead_process_had_in_hand_waits_for_the_recovery_of_the_next(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        world.lives.refuse = 3
        world.lives.last.die()
        await world.after(0.5)
        assert world.mount.outcomes == []  # it may be imported: nobody knows
        await world.after(60)
        assert world.mount.outcomes == [Outcome(1, State.SETTLING)]


async def test_a_process_that_keeps_dying_is_started_more_and_more_seldom(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        starts = []
        while trio.current_time() < 120:
            if len(world.lives.all) > len(starts):
                starts.append(trio.current_time())
                world.lives.last.die()
            world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
            await world.after(0.05)
    pauses = [after - before for before, after in itertools.pairwise(starts)]
    assert pauses[0] < 1
    assert min(pauses[-5:]) >= inbox_module.PAUSE_SECONDS[1]


async def test_after_an_error_of_the_disk_nothing_is_handed_over_and_the_process_is_told(
    autojump_clock: trio.abc.Clock,
) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, SETTLE_SECONDS)
        await world.after(0.1)
        world.health.fail("the disk has failed")
        await world.after(100)
        assert world.lives.last.messages == [Failed("the disk has failed")]
        assert world.mount.claimed == []
        world.lives.last.die()  # and is of no use any more
        await world.after(100)
        assert len(world.lives.all) == 1


async def test_what_the_process_says_of_the_disk_counts_in_the_mount(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        await world.lives.last.channel.send(Failed("the catalogue: disk I/O error"))
        await world.after(0.1)
        assert world.health.failure == "the catalogue: disk I/O error"


async def test_what_found_no_room_rests_as_long_as_the_process_says(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        await world.lives.last.channel.send(Done((Outcome(1, State.SETTLING, "full", again_seconds=30.0),)))
        await world.after(29)
        assert world.lives.last.tokens == [1]
        await world.after(2)
        assert world.lives.last.tokens == [1, 1]


async def test_the_first_start_that_fails_is_the_daemons(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        lives.refuse = 1
        with pytest.raises(DaemonUnreachable, match="damaged"):
            await Inbox(mount, lives, Rights().adopt, mount.hear, Health(), Accountant()).run()


async def test_later_starts_that_fail_are_tried_again(autojump_clock: trio.abc.Clock) -> None:
    async with running() as world:
        world.inbox.dropped(1, ALICE, 0.0)
        await world.after(0.1)
        world.lives.refuse = 3
        world.lives.last.die()
        await world.after(60)
        assert len(world.lives.all) == 2
        assert world.lives.last.tokens == [1]


async def test_stop_ends_when_the_process_has_finished(autojump_clock: trio.abc.Clock) -> None:
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        inbox = Inbox(mount, lives, Rights().adopt, mount.hear, Health(), Accountant())
        await nursery.start(inbox.run)
        inbox.dropped(1, ALICE, 100.0)
        inbox.stop()
    assert isinstance(lives.last.messages[-1], Stop)
    assert mount.claimed == []


async def test_stop_does_not_wait_for_a_process_that_hangs(
    autojump_clock: trio.abc.Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeProcess, "die", lambda self: None)
    async with trio.open_nursery() as nursery:
        mount, lives = FakeMount(), Lives(nursery)
        inbox = Inbox(mount, lives, Rights().adopt, mount.hear, Health(), Accountant())
        await nursery.start(inbox.run)
        inbox.dropped(1, ALICE, 0.0)
        await trio.sleep(0.1)
        began = trio.current_time()
        inbox.stop()
    assert trio.current_time() - began == pytest.approx(inbox_module.STOP_SECONDS)
    assert mount.outcomes == []  # what it has made of the drop only recovery can tell


async def test_news_of_the_process_are_heard(autojump_clock: trio.abc.Clock) -> None:
    news = News(1, 1, "2026", State.FAILED, "alice", ALICE, 100, 1000, b"a.tif", None, None, "broken", b"log")
    async with running() as world:
        await world.lives.last.channel.send(Happened((news,)))
        await world.after(0.1)
        assert world.mount.heard == [news]


async def test_a_growing_file_is_told_of_at_once(autojump_clock: trio.abc.Clock, tmp_path: Path) -> None:
    (tmp_path / "scan.tif").touch()
    async with running() as world:
        fd = os.open(tmp_path / "scan.tif", os.O_RDONLY)
        world.inbox.grows(fd)
        await trio.testing.wait_all_tasks_blocked()
        assert world.lives.last.messages == [Growing()]
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
